"""Folders in object storage: s3://, gs://, az:// and hdfs://, through tensorflow-io.

An object store has no rename and no lock. What it has is a put that is whole or not there, so
whatever is published here is made on this machine first and then put in one piece.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tfforensics.command import ArgumentTypeError, UsageError

SCHEMES = ("s3", "gs", "az", "hdfs")
_PATIENCE = 10.0  # seconds that S3_ENDPOINT has to answer


@dataclass(frozen=True)
class Remote:
    """A folder or an object in object storage; what is done with it looks like `Path`'s.

    Every method raises OSError, in one line with the address, where the store refuses.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, below: str) -> Remote:
        return Remote(f"{self.address}/{below}")

    @property
    def name(self) -> str:
        return self.address.rsplit("/", 1)[-1]

    def is_file(self) -> bool:
        with _told(self.address):
            return bool(_gfile().exists(self.address)) and not self.is_dir()

    def is_dir(self) -> bool:
        with _told(self.address):
            return bool(_gfile().isdir(self.address))

    def size(self) -> int:
        """Bytes of an object."""
        with _told(self.address):
            return int(_gfile().stat(self.address).length)

    def below(self, depth: int) -> Iterator[Remote]:
        """What lies so many folders below this one; nothing where there is no such folder."""
        if not self.is_dir():
            return
        with _told(self.address):
            names = sorted(name.rstrip("/") for name in _gfile().listdir(self.address))
        for name in names:
            if depth:
                yield from (self / name).below(depth - 1)
            else:
                yield self / name

    def files(self) -> list[str]:
        """The objects below this folder by their paths in it; none where it is not there."""
        if not self.is_dir():
            return []
        with _told(self.address):
            found = [
                f"{folder.rstrip('/')}/{name}"
                for folder, _, names in _gfile().walk(self.address)
                for name in names
            ]
        return sorted(path.removeprefix(f"{self.address}/") for path in found)

    def read_bytes(self) -> bytes:
        """A whole object, in a few large requests (a file of TensorFlow's would take many)."""
        import tensorflow as tf

        _gfile()
        with _told(self.address):
            content: bytes = tf.io.read_file(self.address).numpy()
        return content

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def put(self, file: Path) -> None:
        """Makes a file of this machine visible under this address, whole or not at all."""
        with _told(self.address):
            _gfile().copy(str(file), self.address, overwrite=True)

    def write_bytes(self, content: bytes) -> None:
        """As `put`, from memory."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self.put(Path(file.name))

    def check_writable(self, argument: str) -> None:
        """Writes a little below this folder and removes it, before work begins whose end it is.

        Raises:
            UsageError: the store refuses; the argument is named.
        """
        try:
            (self / ".probe/empty").write_bytes(b"")
            (self / ".probe").remove()
        except OSError as error:
            raise UsageError(
                f"{argument}: expected a folder that these credentials may write, got {error}"
            ) from error

    def remove(self) -> None:
        """Removes an object, or a folder with all that is in it, where there is one."""
        with _told(self.address):
            if self.is_dir():
                _gfile().rmtree(self.address)
            elif _gfile().exists(self.address):
                _gfile().remove(self.address)


Folder: TypeAlias = Path | Remote


def folder(place: str | Path, argument: str) -> Folder:
    """A folder on this machine, or one in object storage where the place is an address.

    Raises:
        UsageError: another scheme, no folder in a bucket, or tensorflow-io is not installed.
    """
    if not _is_address(place):
        return Path(place)
    parts = urlsplit(str(place))
    if parts.scheme not in SCHEMES or not parts.netloc or not parts.path.strip("/"):
        raise UsageError(
            f"{argument}: expected a folder, or SCHEME://BUCKET/FOLDER with one of the schemes "
            f"{', '.join(SCHEMES)}, got {place}"
        )
    if importlib.util.find_spec("tensorflow_io") is None:
        raise UsageError(
            f"{argument}: {place} needs tensorflow-io, which the extra io has and this "
            "environment has not: make venv-io, then .venv-io/bin/python -m ..."
        )
    return Remote(str(place).rstrip("/"))


def here(place: str) -> Path:
    """A path on this machine: the type of arguments that cannot lie in object storage.

    Raises:
        ArgumentTypeError: an address.
    """
    if _is_address(place):
        raise ArgumentTypeError(
            f"expected a path on this machine, got {place}; in object storage can lie records, "
            "the runs of train, and exports"
        )
    return Path(place)


def _is_address(place: str | Path) -> bool:
    return "://" in str(place)


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """TensorFlow's errors as an OSError of one line."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        lines = error.message.replace("[Op:", "\n").splitlines()
        said = lines[0].rsplit("}} ", 1)[-1].strip(" :") if lines else ""
        raise OSError(f"{address}: {said or type(error).__name__}") from error


def _gfile() -> Any:
    """TensorFlow's files, once tensorflow-io has taught them object storage."""
    import tensorflow as tf

    _load()
    return tf.io.gfile


@cache
def _load() -> None:
    # AWS's own client tries a silent server ten times, a minute in all, and then says that there
    # is no such object.
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "3")
    if endpoint := os.environ.get("S3_ENDPOINT"):
        _check(endpoint)
    import tensorflow_io  # noqa: F401

    # Its S3 client is torn down while its threads still run, which aborts the process after all is
    # done ("pure virtual method called", status 134). `_exit` with the status that the process
    # ends with, called first of what the C library calls then, leaves before that; Python has run
    # its own exit handlers and flushed its files by then.
    libc = ctypes.CDLL(None)
    libc.on_exit(libc._exit, None)


def _check(endpoint: str) -> None:
    """Whether a server answers, in the protocol that the client will speak: else it only hangs."""
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    tls = parts.scheme != "http"
    try:
        with socket.create_connection(
            (parts.hostname, parts.port or (443 if tls else 80)), _PATIENCE
        ) as connection:
            if tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.wrap_socket(connection, server_hostname=parts.hostname).close()
    except ssl.SSLError as error:
        raise UsageError(
            f"S3_ENDPOINT: {endpoint} does not speak TLS; for a server without it write "
            f"http://{parts.netloc}"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"S3_ENDPOINT: nothing answers at {endpoint} ({error})") from error
