"""manifest.json: what a record folder holds, by shard and by clip, and how it was made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfforensics import files
from tfforensics.command import DataError, UsageError
from tfforensics.storage import Folder, Remote

SCHEMA_VERSION = 1  # of manifest and Examples; raised when either changes
NAME = "manifest.json"


@dataclass(frozen=True)
class Settings:
    """What the bytes of the records follow from, beside the media.

    Attributes:
        levels: stored JPEG levels, c0 first.
        encoder: of every level but c0.
        frames: asked from each video, by manipulation; "" is for those not named.
        margin: side of the crop over the larger side of the face box.
        size: side of the crop in pixels.
        every_face: every track of a clip, not the largest persistent face alone.
    """

    levels: tuple[str, ...] = ("c0",)
    encoder: str = "mozjpeg"
    frames: tuple[tuple[str, int], ...] = (("", 32),)
    margin: float = 1.3
    size: int = 380
    every_face: bool = False

    def frames_of(self, manipulation: str) -> int:
        """Frames asked from a clip of this manipulation."""
        asked = dict(self.frames)
        return asked.get(manipulation, asked[""])


@dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
        path: below the record folder, `<manipulation>/<level>/<split>-SSSSS-of-NNNNN.tfrecord`.
        lengths: bytes of each record, in order; with the 16 bytes of framing around each they
            give every record's place, so that any record can be read alone. Kept as an array.
        sha256: of the file.
    """

    path: str
    manipulation: str
    level: str
    split: str
    lengths: Sequence[int] = field(hash=False)
    sha256: str

    def __post_init__(self) -> None:
        # Four bytes each, where a tuple takes forty; a protocol buffer ends at 2 GiB.
        object.__setattr__(self, "lengths", array("I", self.lengths))

    @property
    def count(self) -> int:
        """Records in the shard."""
        return len(self.lengths)

    @property
    def bytes(self) -> int:
        """Size of the file; TFRecord frames a record by 12 bytes before and 4 after it."""
        return sum(self.lengths) + 16 * len(self.lengths)


@dataclass(frozen=True)
class ClipReport:
    """What became of one clip.

    Attributes:
        asked: frames asked.
        found: faces written at each level.
        skipped: frames (or the whole clip, counted as the frames asked) by reason.
    """

    manipulation: str
    name: str
    split: str
    target: str
    source: str
    source_group: str
    source_compression: str
    asked: int
    found: int
    skipped: dict[str, int]


@dataclass(frozen=True)
class Manifest:
    """A whole record folder.

    Attributes:
        notes: what a reader should be told about the dataset, one line each.
        notice: what has to be said wherever figures of these records are shown, such as that
            they are imitations; empty where there is nothing to say.
    """

    dataset: str
    settings: Settings
    shards: tuple[Shard, ...]
    clips: tuple[ClipReport, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    notice: str = ""

    def select(self, split: str, level: str) -> Iterator[Shard]:
        """Shards of a split at a level, in the order in which they are written."""
        return (s for s in self.shards if s.split == split and s.level == level)

    @property
    def manipulations(self) -> tuple[str, ...]:
        """Names other than "real", in order."""
        return tuple(sorted({s.manipulation for s in self.shards} - {"real"}))

    @property
    def levels(self) -> tuple[str, ...]:
        """Stored levels, in order of falling quality."""
        return self.settings.levels


def load(folder: Folder) -> Manifest:
    """Reads the manifest of a record folder.

    Raises:
        UsageError: no records there, or not finished.
        DataError: not a manifest, or of another schema version.
    """
    path = folder / NAME
    if not path.is_file():
        state = "not finished: run tfforensics.records again" if folder.is_dir() else "not there"
        if isinstance(folder, Remote):
            state += ", or not to be read with these credentials"
        raise UsageError(f"records {folder}: {state} (no {NAME})")
    try:
        data = json.loads(path.read_text(), object_hook=_compact)
        version = data["schema_version"]
        if version != SCHEMA_VERSION:
            raise DataError(f"{path}: expected schema version {SCHEMA_VERSION}, got {version}")
        return Manifest(
            dataset=data["dataset"],
            settings=settings_from(data["settings"]),
            shards=tuple(shard_from(shard) for shard in data["shards"]),
            clips=tuple(ClipReport(**clip) for clip in data["clips"]),
            notes=tuple(data["notes"]),
            versions=data["versions"],
            notice=data.get("notice", ""),
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a manifest: {error!r}") from error


def save(manifest: Manifest, folder: Folder) -> None:
    """Writes manifest.json, whole or not at all."""
    files.write(folder / NAME, to_text(manifest))


def to_text(manifest: Manifest) -> str:
    """What manifest.json holds."""
    return json.dumps({"schema_version": SCHEMA_VERSION} | to_json(manifest), indent=1)


def to_json(value: Any) -> Any:
    """A dataclass of this module as plain values."""
    plain = dataclasses.asdict(value)
    if isinstance(value, Manifest):
        plain["shards"] = [to_json(shard) for shard in value.shards]
    if isinstance(value, Shard):
        plain |= {"lengths": list(value.lengths), "count": value.count, "bytes": value.bytes}
    return plain


def shard_from(plain: dict[str, Any]) -> Shard:
    """The shard that `to_json` wrote; its count and size follow from the lengths."""
    fields = {k: v for k, v in plain.items() if k not in ("count", "bytes")}
    return Shard(**fields)


def _compact(plain: dict[str, Any]) -> dict[str, Any]:
    """Packs a shard's lengths as soon as they are read, so that those of one shard at a time are
    Python's integers."""
    return plain | {"lengths": array("I", plain["lengths"])} if "lengths" in plain else plain


def settings_from(plain: dict[str, Any]) -> Settings:
    """The settings that `to_json` wrote."""
    frames = tuple((name, count) for name, count in plain["frames"])
    return Settings(**plain | {"levels": tuple(plain["levels"]), "frames": frames})


def write_json(path: Folder, body: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    files.write(path, json.dumps(body, indent=1))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_damage(folder: Path, shards: Iterable[Shard]) -> list[str]:
    """Shards that are missing or whose bytes are not those that were written; one line each."""
    damage = []
    for shard in shards:
        path = folder / shard.path
        if not path.is_file():
            damage.append(f"{path}: missing")
        elif path.stat().st_size != shard.bytes:
            damage.append(f"{path}: {path.stat().st_size} bytes, expected {shard.bytes}")
        elif sha256_of(path) != shard.sha256:
            damage.append(f"{path}: SHA-256 differs from the manifest's")
    return damage
