"""The faces that a detector is most wrong about, to be looked at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfforensics import compression, example, figures, jpeg
from tfforensics.example import Face
from tfforensics.findings import Findings
from tfforensics.manifest import Shard


@dataclass(frozen=True, eq=False)
class Mistake:
    """One face on the wrong side of the threshold.

    Attributes:
        level: at which the detector saw it.
        face: its record; the canonical crop.
        image: what the detector saw, uint8 (H, W, 3), before it is resized to the input.
        probability: corrected P(manipulated).
    """

    level: str
    face: Face
    image: npt.NDArray[np.uint8]
    probability: float

    @property
    def caption(self) -> str:
        name = self.face.manipulation if self.face.label else "real"
        return f"{name} {self.face.clip}, P {self.probability:.2f}"


def worst(found: Findings, each: int = 4) -> list[Mistake]:
    """The worst mistakes at each level: real faces first, then manipulated, one face a video.

    Args:
        each: how many of each class at most; there may be fewer mistakes.
    """
    shards = compression.shards(found.held, found.scores.split, tuple(found.scores.manipulations))
    decided = found.calibrator.probabilities(found.scores)
    mistakes = []
    for level in found.scores.levels:
        faces = decided.at_level(level)
        for label in (0, 1):
            wrong = np.flatnonzero(
                (faces.label == label) & ((faces.probability >= 0.5) == (label == 0))
            )
            surest = wrong[np.argsort(-np.abs(faces.probability[wrong] - 0.5), kind="stable")]
            videos: set[tuple[str, str]] = set()
            for row in surest.tolist():
                video = (faces.manipulation[row], faces.clip[row])
                if video not in videos and len(videos) < each:
                    videos.add(video)
                    face = _read(found.records, shards, row)
                    image = jpeg.decode(face.encoded)
                    if level != "c0":
                        quality = jpeg.quality_of(level)
                        image = jpeg.decode(jpeg.encode(image, quality, found.encoder))
                    mistakes.append(Mistake(level, face, image, float(faces.probability[row])))
    return mistakes


def sheet(mistakes: Sequence[Mistake]) -> bytes:
    """The mistakes as one PNG."""
    images = np.stack([mistake.image for mistake in mistakes])
    captions = [f"{mistake.level}, {mistake.caption}" for mistake in mistakes]
    out = io.BytesIO()
    Image.fromarray(figures.face_grid(images, captions, columns=8)).save(out, "PNG")
    return out.getvalue()


def _read(folder: Path, shards: Sequence[Shard], row: int) -> Face:
    """The record number `row` of shards, one after the other."""
    for shard in shards:
        if row < shard.count:
            with (folder / shard.path).open("rb") as file:
                # 16 bytes frame each record, of which 12 come before it.
                file.seek(sum(shard.lengths[:row]) + 16 * row + 12)
                return example.deserialise(file.read(shard.lengths[row]))
        row -= shard.count
    raise IndexError(f"{folder}: no record {row} beyond its shards")
