"""Keeps a server of TensorFlow's to this machine.

tf.data service listens on every interface, whatever it is told, asks for no password, and runs any
graph that it is sent; graphs read and write files. So the kernel is told to drop what reaches the
listening socket from elsewhere: a classic BPF filter, for which Linux asks no privilege. It is
attached right after the server began to listen; the connections that it accepts inherit it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
_NETWORK = 0xFFF00000  # SKF_NET_OFF: offsets are those of the IP header
_BYTE, _WORD, _SHIFT, _IF_EQUAL, _RETURN = 0x30, 0x20, 0x74, 0x15, 0x06  # BPF's opcodes
_KEEP, _DROP = 0xFFFFFFFF, 0

# Opcode, instructions to skip if true, if false, operand. From 127.0.0.0/8 or ::1, or dropped.
_PROGRAM = (
    (_BYTE, 0, 0, _NETWORK),  # IP's version is the upper half of its first byte
    (_SHIFT, 0, 0, 4),
    (_IF_EQUAL, 0, 2, 4),
    (_BYTE, 0, 0, _NETWORK + 12),
    (_IF_EQUAL, 10, 9, 127),
    (_IF_EQUAL, 0, 8, 6),
    (_WORD, 0, 0, _NETWORK + 8),
    (_IF_EQUAL, 0, 6, 0),
    (_WORD, 0, 0, _NETWORK + 12),
    (_IF_EQUAL, 0, 4, 0),
    (_WORD, 0, 0, _NETWORK + 16),
    (_IF_EQUAL, 0, 2, 0),
    (_WORD, 0, 0, _NETWORK + 20),
    (_IF_EQUAL, 1, 0, 1),
    (_RETURN, 0, 0, _DROP),
    (_RETURN, 0, 0, _KEEP),
)


def keep(port: int) -> None:
    """Drops what comes from other machines to this process's server.

    Args:
        port: on which it listens already.

    Raises:
        OSError: this system has no such filter; the server is open.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _PROGRAM))
    program = struct.pack("HP", len(_PROGRAM), ctypes.addressof(code))
    found = 0
    for listening in _listening(port):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        found += 1
    if not found:
        raise OSError(f"port {port}: no listening socket found to keep to this machine")


def _listening(port: int) -> Iterator[socket.socket]:
    """This process's sockets that listen on a port."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if not str(link.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(link.name))) as there:
                if (
                    there.family in (socket.AF_INET, socket.AF_INET6)
                    and there.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    and there.getsockname()[1] == port
                ):
                    yield there
