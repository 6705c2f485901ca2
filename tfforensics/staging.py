"""Records that lie in object storage, copied to this machine to be read.

Training reads single records from all over the shards, and evaluation reads each several times.
From object storage each record would take six requests, one after the other; so a shard is
fetched once, whole, checked against the manifest's SHA-256, and read from here.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

from tfforensics import files, manifest, storage
from tfforensics.command import DataError, UsageError
from tfforensics.manifest import Manifest, Shard
from tfforensics.storage import Remote

_STREAMS = 8  # shards fetched at a time, each of which is held in memory

_log = logging.getLogger("tfforensics.staging")


def local(records: str | Path, argument: str = "data.records") -> Path:
    """The record folder itself, or its copy on this machine where it lies in object storage.

    The copy is named after the hash of its manifest, so other records under the same address are
    another copy; one that was cut short goes on with what is missing. It lies below
    TFFORENSICS_CACHE, by default ~/.cache/tfforensics.

    Raises:
        UsageError: no records there, or none that can be reached from here.
        DataError: a shard is not the one that was written.
        OSError: the store refuses, or the disk is full; run again to go on.
    """
    place = storage.folder(records, argument)
    return place if isinstance(place, Path) else _copied(place)


def find(records: str | Path) -> Path | None:
    """As `local`, and None where the records are not there or cannot be reached."""
    try:
        folder = local(records)
    except (UsageError, OSError):
        return None
    return folder if (folder / manifest.NAME).is_file() else None


def find_manifest(records: str | Path) -> Manifest | None:
    """The manifest alone, and None where it is not there or cannot be reached."""
    try:
        place = storage.folder(records, "data.records")
        return manifest.load(place) if (place / manifest.NAME).is_file() else None
    except (UsageError, OSError):
        return None


@cache
def _copied(place: Remote) -> Path:
    held = manifest.load(place)
    content = manifest.to_text(held)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    copy = cache_folder() / digest / place.name
    copy.mkdir(parents=True, exist_ok=True)
    with (copy / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process that fetches them is waited for
        _complete(copy, place, held)
        files.write(copy / manifest.NAME, content)
    return copy


def _complete(copy: Path, place: Remote, held: Manifest) -> None:
    missing = [shard for shard in held.shards if not _is_there(copy / shard.path, shard)]
    if not missing:
        return
    size = sum(shard.bytes for shard in missing) / 1e6
    _log.info("%s: %d shards, %.1f MB, copied to %s", place, len(missing), size, copy)
    for folder in {(copy / shard.path).parent for shard in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_STREAMS) as pool:
        for _ in pool.map(partial(_fetch, place, copy), missing):
            pass


def _is_there(path: Path, shard: Shard) -> bool:
    return path.is_file() and path.stat().st_size == shard.bytes


def _fetch(place: Remote, copy: Path, shard: Shard) -> None:
    content = (place / shard.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        raise DataError(f"{place / shard.path}: SHA-256 differs from the manifest's")
    files.write(copy / shard.path, content)


def cache_folder() -> Path:
    """Where copies of what lies in object storage are kept."""
    return Path(os.environ.get("TFFORENSICS_CACHE") or Path.home() / ".cache" / "tfforensics")
