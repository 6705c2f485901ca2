"""Clips -> the shards of one part of a dataset: the plan, and the writer of one part.

A part is a few clips of one manipulation and split. Each part becomes one shard at each
level, so parts can be written in any order, by any number of workers, on any machine, and
give the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics import jpeg
from tfforensics.clips import REAL, Clip
from tfforensics.files import sync
from tfforensics.manifest import ClipReport, Settings, Shard, sha256_of
from tfforensics.media import MediaError

if TYPE_CHECKING:
    from tfforensics.faces import Crop, FaceFinder

CLIPS_A_PART = 8  # 256 faces: some 25 MB of 380 px canonical crops


@dataclass(frozen=True)
class Part:
    """Clips that are written together, and their place among the parts of their kind."""

    manipulation: str
    split: str
    index: int
    total: int
    clips: tuple[Clip, ...]

    def path(self, level: str) -> str:
        """The shard's path below the record folder."""
        name = f"{self.split}-{self.index:05d}-of-{self.total:05d}.tfrecord"
        return f"{self.manipulation}/{level}/{name}"

    @property
    def name(self) -> str:
        """A file name that no other part of the dataset has."""
        return f"{self.manipulation}-{self.split}-{self.index:05d}-of-{self.total:05d}"


@dataclass(frozen=True)
class WrittenPart:
    """The shards of a part and what became of its clips."""

    shards: tuple[Shard, ...]
    clips: tuple[ClipReport, ...]


def plan(clips: Iterable[Clip]) -> list[Part]:
    """Divides clips into parts; the same clips give the same plan in whatever order they come."""
    groups: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in sorted(clips):
        groups[clip.manipulation, clip.split].append(clip)
    parts = []
    for (manipulation, split), members in sorted(groups.items()):
        blocks = [members[i : i + CLIPS_A_PART] for i in range(0, len(members), CLIPS_A_PART)]
        parts += [
            Part(manipulation, split, index, len(blocks), tuple(block))
            for index, block in enumerate(blocks)
        ]
    return parts


def write(part: Part, folder: Path, settings: Settings, finder: FaceFinder) -> WrittenPart:
    """Finds the faces of a part's clips and writes them at every level.

    Each shard is written under a temporary name in its own folder, fsynced and renamed. A clip
    that cannot be read is counted with its reason, and so is a frame without a face.

    Raises:
        OSError: the disk is full or the folder cannot be written; nothing is then left under
            a final name, and temporary files are removed.
    """
    import tensorflow as tf

    lengths: dict[str, list[int]] = {level: [] for level in settings.levels}
    partial = {level: _partial(folder / part.path(level)) for level in settings.levels}
    reports = []
    try:
        writers = {}
        for level, path in partial.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            writers[level] = tf.io.TFRecordWriter(str(path))
        for clip in part.clips:
            crops, report = _read(clip, settings, finder)
            reports.append(report)
            for crop in crops:
                for level, record in _records(clip, crop, settings):
                    writers[level].write(record)
                    lengths[level].append(len(record))
        for writer in writers.values():
            writer.close()
        shards = []
        for level, path in partial.items():
            sync(path)
            final = part.path(level)
            shards.append(
                Shard(
                    path=final,
                    manipulation=part.manipulation,
                    level=level,
                    split=part.split,
                    lengths=tuple(lengths[level]),
                    sha256=sha256_of(path),
                )
            )
        for level, path in partial.items():
            path.replace(folder / part.path(level))
            sync(path.parent)
    except tf.errors.OpError as error:
        # What TensorFlow's file system says of a full disk or a folder that cannot be written.
        raise OSError(f"{folder}: {error.message}") from error
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)
    return WrittenPart(tuple(shards), tuple(reports))


def _read(
    clip: Clip, settings: Settings, finder: FaceFinder
) -> tuple[tuple[Crop, ...], ClipReport]:
    from tfforensics.faces import extract

    asked = settings.frames_of(clip.manipulation)
    try:
        extraction = extract(
            clip.path,
            finder,
            frames=asked,
            margin=settings.margin,
            size=settings.size,
            every=settings.every_face,
        )
        crops, asked, skipped = extraction.crops, extraction.asked, extraction.skipped
    except MediaError as error:
        crops, skipped = (), {error.reason: asked}
    return crops, ClipReport(
        manipulation=clip.manipulation,
        name=clip.name,
        split=clip.split,
        target=clip.target,
        source=clip.source,
        source_group=clip.source_group,
        source_compression=clip.source_compression,
        asked=asked,
        found=len(crops),
        skipped=dict(sorted(skipped.items())),
    )


def _records(clip: Clip, crop: Crop, settings: Settings) -> Iterable[tuple[str, bytes]]:
    """The crop at each level, as serialised Examples."""
    from tfforensics.example import Face, serialise

    canonical = jpeg.encode_canonical(crop.pixels)
    pixels = jpeg.decode(canonical)
    for level in settings.levels:
        encoder = "turbo" if level == "c0" else settings.encoder
        encoded = (
            canonical if level == "c0" else jpeg.encode(pixels, jpeg.quality_of(level), encoder)
        )
        yield (
            level,
            serialise(
                Face(
                    encoded=encoded,
                    level=level,
                    encoder=encoder,
                    label=int(clip.manipulation != REAL),
                    manipulation=clip.manipulation,
                    split=clip.split,
                    clip=clip.name,
                    target=clip.target,
                    source=clip.source,
                    source_compression=clip.source_compression,
                    frame=crop.frame,
                    track=crop.track,
                    box=crop.box,
                    confidence=crop.confidence,
                    margin=settings.margin,
                    padded=crop.padded,
                    landmarks=crop.landmarks,
                )
            ),
        )


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
