"""What a record folder holds of what is asked for, and whether its files are whole."""

from __future__ import annotations

from pathlib import Path

from tfforensics import manifest
from tfforensics.command import DataError, UsageError
from tfforensics.manifest import Manifest, Shard


def selected(records: Manifest, manipulations: tuple[str, ...]) -> tuple[str, ...]:
    """The manipulations to take: those named, or all.

    Raises:
        UsageError: one that the records do not have.
    """
    for name in manipulations:
        if name not in records.manipulations:
            raise UsageError(
                f"manipulations: expected some of {', '.join(records.manipulations)}, got {name!r}"
            )
    return manipulations or records.manipulations


def shards(
    records: Manifest, folder: Path, split: str, level: str, manipulation: str
) -> list[Shard]:
    """The shards of one manipulation, their files there and as long as they should be.

    Args:
        records: the manifest.
        folder: where it is.
        split: "train", "val" or "test".
        level: one that is stored.
        manipulation: or "real".

    Raises:
        UsageError: no such level in the records.
        DataError: a file is missing or cut off.
    """
    if level not in records.levels:
        raise UsageError(
            f"data.level: expected one of {', '.join(records.levels)}, which {folder} holds, "
            f"got {level!r}"
        )
    found = [s for s in records.select(split, level) if s.manipulation == manipulation]
    for shard in found:
        path = folder / shard.path
        size = path.stat().st_size if path.is_file() else -1
        if size != shard.bytes:
            there = "missing" if size < 0 else f"{size} bytes"
            raise DataError(f"{path}: expected {shard.bytes} bytes, found {there}")
    return found


def damage(folder: Path) -> str:
    """One line that names the damaged shards of a record folder; slow, reads every byte."""
    found = manifest.find_damage(folder, manifest.load(folder).shards)
    return "; ".join(found[:3]) or f"{folder}: every shard is as it was written"
