"""Faces as any JPEG compression leaves them: the levels that records do not hold, and the sweep.

Everything starts from the canonical crop c0, as the record writer does, so a level made here
and the same level in a record are the same image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfforensics import degradation, example, jpeg, manifest
from tfforensics.clips import REAL
from tfforensics.command import DataError
from tfforensics.jpeg import Encoder, Subsampling
from tfforensics.manifest import Manifest, Shard
from tfforensics.stored import selected

# Of the first of two compressions: what libjpeg takes where nobody asks for another.
FIRST_QUALITY = 75


@dataclass(frozen=True)
class Compression:
    """What happens to a canonical crop before a detector sees it.

    Attributes:
        encoder: of every compression.
        quality: of the last compression, 1 to 100.
        subsampling: of the chrominance, in every compression.
        twice: a compression at FIRST_QUALITY on the same grid of blocks comes first, as in a
            picture that was posted and posted again.
        halved: it is shrunk to half its side before the compressions and grown back after.
    """

    encoder: Encoder
    quality: int
    subsampling: Subsampling = "4:2:0"
    twice: bool = False
    halved: bool = False

    @property
    def level(self) -> str:
        """The level that this quality is, "c50" of 50; faces that were compressed have one."""
        return f"c{100 - self.quality}"

    @property
    def name(self) -> str:
        """Distinct for distinct compressions, and fit for a file's name."""
        parts = [self.encoder, f"q{self.quality}", self.subsampling.replace(":", "")]
        return "-".join(parts + ["twice"] * self.twice + ["halved"] * self.halved)


def in_graph(compression: Compression) -> Callable[[tf.Tensor], tf.Tensor]:
    """The compression as a function of tensors: uint8 (S, S, 3) to uint8 (S, S, 3), S known.

    That of "mozjpeg" calls back into Python: for evaluation, within `threads_share_mozjpeg`.
    """

    def once(image: tf.Tensor, quality: int) -> tf.Tensor:
        if compression.encoder == "turbo":
            encoded = tf.io.encode_jpeg(
                image, quality=quality, chroma_downsampling=compression.subsampling == "4:2:0"
            )
            return tf.ensure_shape(jpeg.decode_in_graph(encoded), image.shape)

        def encode(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
            data = jpeg.encode(pixels, quality, "mozjpeg", compression.subsampling)
            return jpeg.decode(data)

        return tf.ensure_shape(tf.numpy_function(encode, [image], tf.uint8), image.shape)

    def compress(image: tf.Tensor) -> tf.Tensor:
        side = image.shape[0]
        if compression.halved:
            half = side // 2
            image = tf.ensure_shape(degradation.resize(image, half), (half, half, 3))
        if compression.twice:
            image = once(image, FIRST_QUALITY)
        image = once(image, compression.quality)
        if compression.halved:
            image = tf.ensure_shape(degradation.resize(image, side), (side, side, 3))
        return image

    return compress


@contextlib.contextmanager
def threads_share_mozjpeg() -> Iterator[None]:
    """Lets several threads of this process call `jpeg.encode` for MozJPEG at once.

    jpeglib's choice of a library is the process's: a thread that sets it back when it is done
    would take it from one that is not. Within this block it is MozJPEG before and after.
    """
    import jpeglib

    with jpeglib.version("mozjpeg403"):
        yield


def batches(
    folder: Path,
    split: str,
    compression: Compression,
    *,
    size: int,
    batch: int,
    manipulations: tuple[str, ...] = (),
    rows: npt.NDArray[np.int64] | None = None,
) -> tf.data.Dataset:
    """Faces of a split after a compression, in the order in which they are stored.

    Args:
        folder: written by `tfforensics.records`.
        size: side of the images in pixels; a crop of another side is resized at the end.
        manipulations: those to take beside the real faces; empty takes all.
        rows: (K,) numbers of the faces to take, as they are stored; None takes all.

    Returns:
        A dataset of dicts: `image` uint8 (B, size, size, 3) RGB, and the fields of
        `example.Face` with `level` that of the compression.

    Raises:
        UsageError: a manipulation that is not there.
        DataError: the split has no face.
    """
    records = manifest.load(folder)
    side = records.settings.size
    stored = shards(records, split, manipulations)
    taken = np.zeros(sum(shard.count for shard in stored), bool)
    if not len(taken):
        raise DataError(f"{folder}: no face in the {split} split")
    taken[slice(None) if rows is None else rows] = True
    compress = in_graph(compression)

    def face(record: tf.Tensor) -> dict[str, tf.Tensor]:
        fields: dict[str, Any] = example.parse(record)
        image = tf.ensure_shape(jpeg.decode_in_graph(fields.pop("encoded")), (side, side, 3))
        image = compress(image)
        if side != size:
            image = tf.ensure_shape(degradation.resize(image, size), (size, size, 3))
        return fields | {"image": image, "level": tf.constant(compression.level)}

    files = [str(folder / shard.path) for shard in stored if shard.count]
    chosen = tf.data.TFRecordDataset(files).enumerate().filter(lambda row, _: tf.gather(taken, row))
    faces = chosen.map(lambda _, record: face(record), num_parallel_calls=tf.data.AUTOTUNE)
    return faces.batch(batch).prefetch(tf.data.AUTOTUNE)


def shards(records: Manifest, split: str, manipulations: tuple[str, ...] = ()) -> list[Shard]:
    """The shards of the canonical crops of a split, in the order in which faces are evaluated.

    Raises:
        UsageError: a manipulation that is not there.
    """
    return [
        shard
        for name in (REAL, *selected(records, manipulations))
        for shard in records.select(split, "c0")
        if shard.manipulation == name
    ]


def spread(
    folder: Path, split: str, frames: int, manipulations: tuple[str, ...] = ()
) -> npt.NDArray[np.int64]:
    """(K,) the numbers of at most `frames` evenly spaced faces of each video, as stored.

    Raises:
        UsageError: a manipulation that is not there.
        DataError: the split has no face.
    """
    files = [str(folder / s.path) for s in shards(manifest.load(folder), split, manipulations)]
    if not files:
        raise DataError(f"{folder}: no face in the {split} split")

    def video(records: tf.Tensor) -> tf.Tensor:
        fields = example.parse(records, ("manipulation", "clip"))
        return tf.strings.join([fields["manipulation"], fields["clip"]], separator="/")

    videos = tf.data.TFRecordDataset(files).batch(256).map(video, num_parallel_calls=1)
    names = np.concatenate(list(videos.as_numpy_iterator()))
    rows = []
    for name in np.unique(names):
        (of_video,) = np.nonzero(names == name)
        even = np.linspace(0, len(of_video) - 1, min(frames, len(of_video)))
        rows.append(of_video[even.round().astype(np.int64)])
    return np.sort(np.concatenate(rows))
