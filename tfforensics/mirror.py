"""A folder in object storage, worked on in a copy on this machine.

Checkpoints, event files and SavedModels are written in pieces and get their names by renames, and
an object store has none. So a run that lies there is worked on here, and its files are put there
whenever there is something to keep. A reader finds what the last `publish` left, whole: it goes by
a list of files (`INDEX`), put in one piece after the files, and before those that are gone go.

There are no locks either, so the list says who wrote it: the process that opens a folder last has
it, and the one before finds that out at its next `publish` and ends without having written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tfforensics import lock, staging
from tfforensics.command import DataError, UsageError
from tfforensics.storage import Remote

INDEX = ".published.json"
GRAPH = "saved_model.pb"
_STREAMS = 8  # objects on their way at a time


@dataclass(frozen=True)
class _Index:
    """Who published last, and the files that are part of it."""

    writer: str
    files: list[str]


class Mirror:
    """A folder in object storage and its copy here.

    Files and folders whose name begins with a dot are not part of it.

    Args:
        place: the folder; there may be nothing yet.
        folder: the copy, to be made.
    """

    def __init__(self, place: Remote, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self._writer = f"process {os.getpid()} on {socket.gethostname()}, {secrets.token_hex(4)}"
        self._published: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Makes the copy what was published last.

        Raises:
            OSError: the store refuses.
            DataError: the list of files is damaged.
        """
        index = self._index()
        while True:
            refused = None
            try:
                self._get(_published(index, self._there()))
            except OSError as error:
                refused = error
            before, index = index, self._index()
            if index == before:
                break
            # Published meanwhile: what was fetched may be of both, and what failed may be gone.
        if refused is not None:
            raise refused
        self._published = _stamps(self.folder)

    def own(self) -> None:
        """Makes this process the one that publishes, and removes what a killed one left."""
        there = self._there()
        listed = _published(self._index(), there)
        self._write_index(listed)
        self._remove(there - listed)

    def publish(self) -> None:
        """Puts what has changed in the copy, and removes what is gone.

        Raises:
            DataError: another process has taken the folder over; nothing is written.
            OSError: the store refuses; what was published before is there.
        """
        held = self._index()
        if held is None or held.writer != self._writer:
            by = "nobody" if held is None else held.writer
            raise DataError(f"{self.place}: taken over meanwhile (by {by}); this process ends")
        found = _stamps(self.folder)
        changed = [name for name in found if self._published.get(name) != found[name]]
        put(self.folder, changed, self.place)
        self._write_index(found)
        self._remove(self._published.keys() - found)
        self._published = found

    def _index(self) -> _Index | None:
        place = self.place / INDEX
        if not place.is_file():
            return None
        try:
            held = json.loads(place.read_text())
            return _Index(str(held["writer"]), [str(name) for name in held["files"]])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{place}: cannot be read: {error!r}") from error

    def _there(self) -> set[str]:
        return set(_visible(self.place.files()))

    def _write_index(self, names: Iterable[str]) -> None:
        index = asdict(_Index(self._writer, sorted(names)))
        (self.place / INDEX).write_bytes(json.dumps(index, indent=1).encode())

    def _get(self, names: Iterable[str]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

        def get(name: str) -> None:
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((self.place / name).read_bytes())

        _each(get, names)

    def _remove(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            (self.place / name).remove()


def put(folder: Path, names: Collection[str], place: Remote) -> None:
    """Puts files of a folder below an address; graphs last, by which TF Serving knows a version."""
    graphs = [name for name in names if name.rsplit("/", 1)[-1] == GRAPH]
    for some in ([name for name in names if name not in graphs], graphs):
        _each(lambda name: (place / name).put(folder / name), some)


@contextlib.contextmanager
def copy_of(place: Remote) -> Iterator[Mirror]:
    """A copy of what is there, once it is fetched, for as long as the block takes."""
    with scratch() as folder:
        yield Mirror(place, folder / place.name)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this process's own beside the copies of records; those of killed ones go."""
    root = staging.cache_folder() / "copies"
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with (root / ".lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)  # none is taken for left before it is held
            for left in (path for path in root.iterdir() if path.is_dir()):
                with contextlib.suppress(UsageError), lock.hold(left):
                    shutil.rmtree(left)
            folder = held.enter_context(tempfile.TemporaryDirectory(dir=root))
            held.enter_context(lock.hold(folder))
        yield Path(folder)


def _each(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_STREAMS) as pool:
        for _ in pool.map(work, names):
            pass


def _published(index: _Index | None, there: set[str]) -> set[str]:
    """What of it was published: where another tool brought the folder, all of it."""
    return there if index is None else there & set(index.files)


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not any(part[0] == "." for part in name.split("/"))]


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file."""
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    states = {name: files[name].stat() for name in _visible(files)}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}
