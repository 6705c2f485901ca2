"""What the audit knows of each face: who it is, and the facts of its file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from tfforensics import example, jpeg, quality, stored
from tfforensics.audit.duplicates import thumbnail
from tfforensics.command import DataError
from tfforensics.manifest import Manifest

# What a file tells of how it was made, without a look at what it shows.
FACTS = (
    "bytes",
    "quantisation tables",
    "estimated quality",
    "blockiness",
    "size of the face box",
)


@dataclass(frozen=True)
class Seen:
    """A face at one level.

    Attributes:
        facts: by the names of FACTS.
        thumbnail: as `duplicates.thumbnail` makes it; of canonical crops alone.
    """

    level: str
    label: int
    manipulation: str
    split: str
    clip: str
    target: str
    source: str
    source_compression: str
    frame: int
    facts: dict[str, float]
    thumbnail: npt.NDArray[np.float32] | None


def faces(folder: Path, held: Manifest, frames: int) -> list[Seen]:
    """At most `frames` evenly spaced faces of each clip, at each stored level.

    Raises:
        DataError: damaged records, or none with a face.
    """
    seen: list[Seen] = []
    total = sum(shard.count for shard in held.shards)
    with tqdm(total=total, unit="face", desc="audit", mininterval=1) as bar:
        for shard in held.shards:
            path = folder / shard.path
            try:
                columns = _columns(path)
            except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
                raise DataError(stored.damage(folder)) from error
            if len(columns["label"]) != shard.count:
                raise DataError(stored.damage(folder))
            clips = columns["clip"]
            for clip in dict.fromkeys(clips.tolist()):
                (of_clip,) = np.nonzero(clips == clip)
                even = np.linspace(0, len(of_clip) - 1, min(frames, len(of_clip)))
                for row in of_clip[even.round().astype(int)]:
                    seen.append(_look({name: v[row] for name, v in columns.items()}, path))
            bar.update(shard.count)
    if not seen:
        raise DataError(f"{folder}: no face in the records")
    return seen


def _columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The fields of a shard's faces, texts as object arrays; of no face, empty ones."""
    batches = list(tf.data.TFRecordDataset([str(path)]).batch(64).map(example.parse))
    names = batches[0] if batches else {"label": None, "clip": None}
    columns = {n: np.concatenate([b[n].numpy() for b in batches] or [np.zeros(0)]) for n in names}
    for name, values in columns.items():
        if name != "encoded" and values.dtype == object:
            columns[name] = np.array([value.decode() for value in values], object)
    return columns


def _look(face: dict[str, Any], path: Path) -> Seen:
    encoded = face["encoded"]
    try:
        pixels = jpeg.decode(encoded)
        with Image.open(io.BytesIO(encoded)) as image:
            tables = image.quantization
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: clip {face['clip']}, frame {face['frame']}: {error}") from error
    trace = quality.from_pixels(pixels)
    facts = {
        "bytes": float(len(encoded)),
        "quantisation tables": float(np.mean([np.mean(table) for table in tables.values()])),
        # Without a trace a crop is as good as never compressed.
        "estimated quality": 100.0 if trace is None else float(trace.quality),
        "blockiness": blockiness(pixels),
        "size of the face box": float(face["box"][2] / face["margin"]),
    }
    texts = ("level", "manipulation", "split", "clip", "target", "source", "source_compression")
    return Seen(
        **{name: face[name] for name in texts},
        label=int(face["label"]),
        frame=int(face["frame"]),
        facts=facts,
        thumbnail=thumbnail(pixels) if face["level"] == "c0" else None,
    )


def blockiness(pixels: npt.NDArray[np.uint8]) -> float:
    """The mean jump across the borders of 8 x 8 blocks over that elsewhere; 1 without blocks.

    Args:
        pixels: uint8 (H, W, 3).
    """
    grey = pixels.astype(np.float32).mean(axis=2)
    ratios = []
    for lines in (grey, grey.T):
        jump = np.abs(np.diff(lines, axis=1)).mean(axis=0)
        border = np.arange(len(jump)) % 8 == 7
        ratios.append(jump[border].mean() / max(jump[~border].mean(), 1e-6))
    return float(np.mean(ratios))
