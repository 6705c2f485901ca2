"""One process a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tfforensics.command import UsageError


@contextlib.contextmanager
def hold(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a folder for this process, so that two never write into it; makes it if need be.

    The lock is the kernel's (flock): it ends with the process that holds it, however that
    process ends, so a file left by a killed one is no lock.

    Raises:
        UsageError: another process holds it, or the folder cannot be made or written to.
    """
    path = Path(folder) / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot write here ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UsageError(
                f"{folder}: process {holder} is writing here; wait for it, or name another folder"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
