"""Versions of an export: each appears whole or not at all, and is never written over.

TF Serving serves the highest number among the folders below a model's base path, and takes
up a new one within seconds, so a folder must be complete when it gets its number. In object
storage, where nothing is renamed, a version is there when its graph is, which is put last.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tfforensics import lock, manifest, mirror
from tfforensics.command import DataError, UsageError
from tfforensics.files import sync
from tfforensics.mirror import GRAPH
from tfforensics.storage import Folder, Remote

HASHES = "assets/hashes.json"
_PARTIAL = ".exporting-"


def versions(base: Folder) -> list[int]:
    """The versions below a base path, oldest first."""
    if not base.is_dir():
        return []
    if isinstance(base, Remote):
        names = [path.name for path in base.below(0) if (path / GRAPH).is_file()]
    else:
        names = [path.name for path in base.iterdir()]
    return sorted(int(name) for name in names if name.isdecimal())


def resolve(path: Folder) -> Folder:
    """The version folder of an export: the path itself, or the newest version below it.

    Raises:
        UsageError: neither.
    """
    if (path / GRAPH).is_file():
        return path
    found = versions(path)
    if not found:
        raise UsageError(
            f"{path}: expected what `python -m tfforensics.export` wrote, found no version there"
        )
    return path / str(found[-1])


@contextlib.contextmanager
def here(path: Folder) -> Iterator[Path]:
    """What `resolve` finds, or a copy of it where it lies in object storage.

    Raises:
        UsageError: as `resolve`.
        OSError: the store refuses.
    """
    found = resolve(path)
    if isinstance(found, Path):
        yield found
        return
    with mirror.copy_of(found) as copy:
        copy.fetch()
        yield copy.folder


def new_version(
    base: Folder,
) -> contextlib.AbstractContextManager[tuple[Path, Folder]]:
    """A folder to fill, and the next version of `base` that it becomes when the block ends well.

    Its files are hashed and fsynced first. Where the block raises, or the process is killed,
    there is no new version; what a killed one left is removed by the next. In object storage,
    where there are no locks, one process at a time may export to a base path.

    Raises:
        UsageError: another process is exporting there, or it cannot be written to.
        DataError: it could not be written.
    """
    return _put_version(base) if isinstance(base, Remote) else _rename_version(base)


@contextlib.contextmanager
def _rename_version(base: Path) -> Iterator[tuple[Path, Folder]]:
    with lock.hold(base):
        for left in base.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left)
        version = base / str(max(versions(base), default=0) + 1)
        folder = base / f"{_PARTIAL}{version.name}"
        try:
            folder.mkdir()
            yield folder, version
            _write_hashes(folder)
            for path in [folder, *folder.rglob("*")]:
                sync(path)
            folder.rename(version)
            sync(base)
        except OSError as error:
            raise DataError(f"{base}: nothing was exported ({error.strerror or error})") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _put_version(base: Remote) -> Iterator[tuple[Path, Folder]]:
    base.check_writable("OUT")
    version = base / str(max(versions(base), default=0) + 1)
    with mirror.scratch() as scratch:
        folder = scratch / version.name
        folder.mkdir()
        yield folder, version
        _write_hashes(folder)
        try:
            version.remove()  # what a killed one left
            mirror.put(folder, sorted({*_files(folder), HASHES}), version)
        except OSError as error:
            raise DataError(f"{base}: nothing was exported ({error})") from error


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a version, by its path in it.

    Raises:
        DataError: they are missing or damaged themselves.
    """
    try:
        digests = json.loads((folder / HASHES).read_text(encoding="utf-8"))["sha256"]
        return {str(name): str(digest) for name, digest in digests.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / HASHES}: cannot be read: {error}") from error


def damage(folder: Path) -> list[str]:
    """What of a version is not as it was written; one line each, by the path in it.

    Raises:
        DataError: as `hashes`.
    """
    files = hashes(folder)
    found = _files(folder)
    lines = [f"{name}: not part of the export" for name in sorted(found - files.keys())]
    for name, digest in files.items():
        if name not in found:
            lines.append(f"{name}: missing")
        elif manifest.sha256_of(folder / name) != digest:
            lines.append(f"{name}: SHA-256 differs from the one in {HASHES}")
    return lines


def _write_hashes(folder: Path) -> None:
    digests = {name: manifest.sha256_of(folder / name) for name in sorted(_files(folder))}
    (folder / HASHES).write_text(json.dumps({"sha256": digests}, indent=1) + "\n")


def _files(folder: Path) -> set[str]:
    """Every file of a version but that of the hashes."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in paths} - {HASHES}
