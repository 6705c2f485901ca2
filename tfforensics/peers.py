"""The other processes of a training: that they have come, what they say, that they are gone.

The chief listens at its address of TF_CONFIG until every other worker has come, each by a
connection that stays open: the system closes it however a process ends, which is how the others
learn of it. TensorFlow's own traffic begins after that, at the same addresses.

Messages are JSON behind four bytes that say how long they are. Like TensorFlow's, they are neither
encrypted nor authenticated: workers belong in a network that one trusts.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tfforensics.cluster import Cluster
from tfforensics.command import UsageError

AGAIN = 75  # exit status after a worker was lost: start all again (EX_TEMPFAIL of sysexits.h)
_PATIENCE = 600.0  # seconds that workers wait for each other at the start
_ANSWER = 10.0  # seconds for what a process that has just come has to say
_GRACE = 5.0  # seconds in which a process may end by itself after another is gone
_LONGEST = 1 << 24  # bytes of a message


class PeerLostError(Exception):
    """Another worker is gone, so that no further step can be made."""


class Peers:
    """Waits for every worker of the cluster and checks that it trains the same.

    Args:
        cluster: of TF_CONFIG.
        about: what has to be the same everywhere, JSON values by name.
        patience: seconds to wait for the others; _PATIENCE if None.

    Raises:
        UsageError: this worker's port is taken, another one does not come or differs.
        PeerLostError: another one ended meanwhile.
    """

    def __init__(
        self, cluster: Cluster, about: Mapping[str, Any], *, patience: float | None = None
    ) -> None:
        self._cluster = cluster
        self._deadline = time.monotonic() + (_PATIENCE if patience is None else patience)
        self._over = threading.Event()
        # By index, the chief's to all others, another's to the chief alone.
        self._connections: dict[int, socket.socket] = {}
        with contextlib.ExitStack() as unless_all_came:
            unless_all_came.callback(self._close)
            if cluster.chief:
                self._gather(about)
            else:
                self._join(about)
            unless_all_came.pop_all()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> Peers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._close()

    def exchange(self, value: Any) -> list[Any]:
        """What each worker says, a JSON value, by index; answered when all have called it.

        Raises:
            PeerLostError: another worker is gone.
        """
        if not self._cluster.chief:
            self._send(0, value)
            return self._receive(0)
        values = [value, *(self._receive(index) for index in sorted(self._connections))]
        for index in self._connections:
            self._send(index, values)
        return values

    def check(self, seconds: float = _GRACE) -> None:
        """Raises PeerLostError where another worker is gone, or goes within that time."""
        end = time.monotonic() + seconds
        while not (lost := self._gone()):
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        raise self._lost(lost[0])

    def _gather(self, about: Mapping[str, Any]) -> None:
        """The chief's part: all come, and none is another kind."""
        others = range(1, len(self._cluster.workers))
        with _listen(self._cluster) as server:
            while missing := [index for index in others if index not in self._connections]:
                server.settimeout(max(0.1, min(1.0, self._deadline - time.monotonic())))
                with contextlib.suppress(TimeoutError):
                    self._take(server.accept()[0], about)
                if lost := self._gone():
                    raise self._lost(lost[0])
                if time.monotonic() > self._deadline:
                    who = ", ".join(map(self._cluster.name, missing))
                    raise self._refuse(f"expected {who} to come, which did not in time")
        for index in others:
            self._send(index, None)

    def _take(self, connection: socket.socket, about: Mapping[str, Any]) -> None:
        """Takes in a process that has come; one that speaks otherwise is sent away."""
        connection.settimeout(_ANSWER)
        try:
            index, theirs = _read(connection)
            known = index in range(1, len(self._cluster.workers)) and isinstance(theirs, dict)
        except (OSError, ValueError, TypeError):
            known = False
        if not known:
            connection.close()
            return
        if index in self._connections:
            _write(connection, f"TF_CONFIG: expected one {self._cluster.name(index)}, got two")
            connection.close()
            return
        self._keep(index, connection)
        wrong = [
            f"{name} {theirs.get(name)} in place of {about.get(name)}"
            for name in sorted(about.keys() | theirs.keys())
            if about.get(name) != theirs.get(name)
        ]
        if wrong:
            raise self._refuse(
                f"expected {self._cluster.name(index)} to train what worker 0 trains, "
                f"got {'; '.join(wrong[:3])}"
            )

    def _refuse(self, why: str) -> UsageError:
        """Tells all that are here why there is no training."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                _write(connection, f"TF_CONFIG: {why}")
        return UsageError(f"TF_CONFIG: {why}")

    def _join(self, about: Mapping[str, Any]) -> None:
        """The part of all others: the chief comes and agrees."""
        with _listen(self._cluster):
            pass  # the port is free
        while True:
            try:
                connection = socket.create_connection(self._cluster.address(0), _ANSWER)
                break
            except OSError as error:
                if time.monotonic() > self._deadline:
                    raise UsageError(
                        f"TF_CONFIG: expected {self._cluster.name(0)} to come, which did not in "
                        f"time ({error})"
                    ) from error
                time.sleep(0.5)
        self._keep(0, connection)
        self._send(0, [self._cluster.index, about])
        refusal = self._receive(0)
        if refusal is not None:
            raise UsageError(refusal)

    def _keep(self, index: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        # A machine that is gone closes nothing: it is asked every few seconds.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._connections[index] = connection

    def _send(self, index: int, value: Any) -> None:
        try:
            _write(self._connections[index], value)
        except OSError as error:
            raise self._lost(index) from error

    def _receive(self, index: int) -> Any:
        try:
            return _read(self._connections[index])
        except (OSError, ValueError) as error:
            raise self._lost(index) from error

    def _lost(self, index: int) -> PeerLostError:
        return PeerLostError(f"{self._cluster.name(index)} is gone, and training ends on all")

    def _gone(self) -> list[int]:
        """Those whose connection is closed, whatever they said before."""
        return [index for index, connection in self._connections.items() if _is_closed(connection)]

    def _watch(self) -> None:
        """Ends this process where another is gone and TensorFlow waits for it.

        It does so within C++, some of the time for ever, so the process ends in the middle of
        whatever it does, as by a kill.
        """
        while not self._over.wait(1.0):
            if lost := self._gone():
                if not self._over.wait(_GRACE):
                    os.write(2, f"{self._lost(lost[0])}; run the same command again\n".encode())
                    os._exit(AGAIN)
                return

    def _close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def _listen(cluster: Cluster) -> socket.socket:
    """A socket at this worker's port.

    Raises:
        UsageError: another program listens there.
    """
    port = cluster.address(cluster.index)[1]
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise UsageError(
            f"TF_CONFIG: expected a free port for worker {cluster.index}, got {port} "
            f"({error.strerror})"
        ) from error


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _write(connection: socket.socket, value: Any) -> None:
    body = json.dumps(value).encode()
    connection.sendall(struct.pack(">I", len(body)) + body)


def _read(connection: socket.socket) -> Any:
    (length,) = struct.unpack(">I", _exactly(connection, 4))
    if length > _LONGEST:
        raise ValueError(f"a message of {length} bytes")
    return json.loads(_exactly(connection, length))


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionResetError
        parts += part
    return bytes(parts)
