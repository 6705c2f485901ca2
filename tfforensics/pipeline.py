"""Shards -> tf.data: endless training batches from any step, and every face once to evaluate.

Training draws by position. Which face stands at position p of the run is a formula of (seed,
p): classes alternate by their share, manipulations take turns, and each pool of faces is gone
through in an order that is shuffled anew each time round. A record is read alone, at the
place that the manifest's lengths give. So a run starts at any step without reading what came
before, the shuffle is over all faces instead of over a buffer, and nothing of it depends on
the number of threads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfforensics import (
    augmentation,
    command,
    degradation,
    example,
    jpeg,
    manifest,
    selfblend,
    staging,
)
from tfforensics.clips import REAL
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config
from tfforensics.manifest import Manifest, Shard

_AHEAD = 4  # batches kept ready: a few, since at 380 px each face takes half a megabyte
# Of the shuffle's cipher. TensorFlow's own 4 leave runs of neighbours in small pools, whose faces
# are those of one clip.
_ROUNDS = 24


@dataclass(frozen=True)
class Pools:
    """Where each face of a split lies: pool 0 is real, the others one manipulation each.

    Attributes:
        names: the pools' manipulations, (P,).
        counts: faces in each pool, int64 (P,).
        starts: where each pool begins in `shard` and `offset`, int64 (P,).
        paths: files, (F,).
        shard: file of each face, int32 (N,).
        offset: where its record's frame begins in that file, int64 (N,).
    """

    names: tuple[str, ...]
    counts: np.ndarray
    starts: np.ndarray
    paths: tuple[str, ...]
    shard: np.ndarray
    offset: np.ndarray


def pools(
    folder: Path,
    split: str,
    level: str,
    manipulations: tuple[str, ...] = (),
    *,
    real_only: bool = False,
) -> Pools:
    """Finds every face of a split at a stored level.

    Args:
        folder: written by `tfforensics.records`.
        manipulations: those to take; empty takes all.
        real_only: take none of them, and do without.

    Raises:
        UsageError: no such level or manipulation in the records.
        DataError: a shard is missing or cut off, or one of the classes has no face.
    """
    records = manifest.load(folder)
    names = (REAL,) if real_only else (REAL, *selected(records, manipulations))
    shards = {name: list(_shards(records, folder, split, level, name)) for name in names}
    flat = [shard for name in names for shard in shards[name]]
    counts = np.array([sum(s.count for s in shards[name]) for name in names], np.int64)
    if not counts[0] or not (real_only or counts[1:].any()):
        lacking = REAL if not counts[0] else "manipulated"
        raise DataError(f"{folder}: no {lacking} face in the {split} split at level {level}")
    full = counts > 0
    offsets = [np.cumsum([0, *(np.array(s.lengths) + 16)])[:-1] for s in flat]
    return Pools(
        names=tuple(name for name, some in zip(names, full, strict=True) if some),
        counts=counts[full],
        starts=np.cumsum([0, *counts[full]])[:-1].astype(np.int64),
        paths=tuple(str(folder / s.path) for s in flat),
        shard=np.repeat(np.arange(len(flat), dtype=np.int32), [s.count for s in flat]),
        offset=np.concatenate(offsets).astype(np.int64),
    )


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


@dataclass(frozen=True)
class Share:
    """What one process takes of each batch, of which several make one step together.

    Attributes:
        part: its number.
        parts: equal ones, of consecutive faces, that a batch has.
        pieces: equal ones, one after the other, that the part comes in, for that many devices.
    """

    part: int = 0
    parts: int = 1
    pieces: int = 1

    def of(self, batch: int) -> int:
        """The faces of the part."""
        return batch // self.parts


WHOLE = Share()


def training_batches(config: Config, start: int = 0, share: Share = WHOLE) -> tf.data.Dataset:
    """Endless training batches from step `start` on.

    Args:
        share: of each batch; its number of faces divides the batch.

    Returns:
        A dataset of (x, y): x["image"] uint8 (B, S, S, 3) RGB; x["seed"] int32 (B, 2), each
        example's own seed for random decisions of the model; y float32 (B,), 1 = manipulated.

    Raises:
        UsageError, DataError: as `pools`.
    """
    numbered = numbered_batches(config, numbers(start), share)
    return numbered.map(lambda number, x, y: (x, y)).prefetch(_AHEAD * share.pieces)


def numbers(start: int = 0) -> tf.data.Dataset:
    """The numbers of the batches from step `start` on."""
    return tf.data.Dataset.range(start, 2**40)  # positions stay within int64 at any batch size


def numbered_batches(
    config: Config, numbers: tf.data.Dataset, share: Share = WHOLE, *, calls: int | None = None
) -> tf.data.Dataset:
    """The training batches of these numbers (int64 scalars), each a function of its own alone.

    Args:
        share: as of `training_batches`; each piece comes with its batch's number.
        calls: faces made at a time; None: as many as keep this machine busy.

    Returns:
        A dataset of (number, x, y), x and y as of `training_batches`.

    Raises:
        UsageError, DataError: as `pools`.
    """
    data = config.data
    # A process with another working directory may read it.
    folder = staging.local(data.records).absolute()
    real_only = data.selfblend == 1
    faces_of = pools(folder, "train", data.level, data.manipulations, real_only=real_only)
    place = _placer(faces_of, config)
    side = manifest.load(folder).settings.size
    degrade = degradation.degrader(config.degrade)
    augment = augmentation.augmenter(config.augment)
    faces_in_share = share.of(data.batch)

    def face(
        record: tf.Tensor, seed: tf.Tensor, blended: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        fields = example.parse(record, ("encoded", "label", "landmarks"))
        drawn = degradation.draw(seed)
        image = tf.ensure_shape(jpeg.decode_in_graph(fields["encoded"]), (side, side, 3))
        if data.selfblend:
            image = selfblend.present(image, fields["landmarks"], seed, blended)
        image = degrade(image, drawn)
        if side != data.size:
            image = tf.ensure_shape(degradation.resize(image, data.size), (data.size,) * 2 + (3,))
        if augment is not None:
            image = augment(image, drawn)
        label = tf.maximum(tf.cast(fields["label"], tf.float32), tf.cast(blended, tf.float32))
        return {"image": image, "seed": seed}, label

    def places_of(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        # A batch at a time: the formula's price is that of its ops, not of its faces.
        first = number * data.batch + share.part * faces_in_share
        path, offset, drawn = place(first + tf.range(faces_in_share, dtype=tf.int64))
        return path, offset, (tf.fill((faces_in_share,), number), *drawn)

    places = numbers.map(places_of).unbatch()
    # Under op determinism a function with any other stateful op than these sources in it takes
    # all parallelism and prefetching from the whole pipeline: so reading stands alone.
    records = places.flat_map(
        lambda path, offset, drawn: tf.data.Dataset.zip((_read(path, offset), _one(drawn)))
    )
    faces = records.map(
        lambda record, drawn: (drawn[0], *face(record, *drawn[1:])),
        # More than cores, so that none rests while a face waits for its turn to be handed on.
        num_parallel_calls=2 * command.cores() if calls is None else calls,
    )
    batches = faces.batch(faces_in_share // share.pieces, drop_remainder=True)
    return batches.map(lambda number, x, y: (number[0], x, y))


def evaluation_batches(
    folder: Path,
    split: str,
    level: str,
    *,
    size: int,
    batch: int,
    encoder: str = "turbo",
    manipulations: tuple[str, ...] = (),
    real_only: bool = False,
) -> tf.data.Dataset:
    """Every face of a split once, at one level, in the order in which they are stored.

    A level that is stored with this encoder is read; a turbo level that is not is made from
    c0, which gives the same image; a MozJPEG level has to be stored.

    Returns:
        A dataset of dicts: `image` uint8 (B, S, S, 3) RGB, `label` int64 (B,), and the other
        fields of `example.Face`.

    Raises:
        UsageError: a manipulation that is not there, or a level that is neither there nor can
            be made.
        DataError: a shard is missing or cut off, or the split has no face.
    """
    records = manifest.load(folder)
    quality = jpeg.quality_of(level)
    stored = level in records.levels and (level == "c0" or records.settings.encoder == encoder)
    if not stored and encoder != "turbo":
        raise UsageError(
            f"levels: {level} by {encoder} is not in {folder}, which holds "
            f"{', '.join(records.levels)} by {records.settings.encoder}; "
            f"write it with tfforensics.records --encoder {encoder} --levels {level}"
        )
    names = (REAL,) if real_only else (REAL, *selected(records, manipulations))
    source = level if stored else "c0"
    shards = [s for name in names for s in _shards(records, folder, split, source, name)]
    if not sum(shard.count for shard in shards):
        raise DataError(f"{folder}: no face in the {split} split")
    side = records.settings.size

    def face(record: tf.Tensor) -> dict[str, tf.Tensor]:
        fields: dict[str, Any] = example.parse(record)
        image = tf.ensure_shape(jpeg.decode_in_graph(fields.pop("encoded")), (side, side, 3))
        if not stored:
            image = tf.ensure_shape(jpeg.degrade_in_graph(image, quality), (side, side, 3))
        if side != size:
            image = tf.ensure_shape(degradation.resize(image, size), (size, size, 3))
        return fields | {"image": image, "level": tf.constant(level)}

    files = [str(folder / shard.path) for shard in shards if shard.count]
    faces = tf.data.TFRecordDataset(files).map(face, num_parallel_calls=tf.data.AUTOTUNE)
    return faces.batch(batch).prefetch(tf.data.AUTOTUNE)


def damage(folder: Path) -> str:
    """One line that names the damaged shards of a record folder; slow, reads every byte."""
    found = manifest.find_damage(folder, manifest.load(folder).shards)
    return "; ".join(found[:3]) or f"{folder}: every shard is as it was written"


def _shards(
    records: Manifest, folder: Path, split: str, level: str, manipulation: str
) -> list[Shard]:
    if level not in records.levels:
        raise UsageError(
            f"data.level: expected one of {', '.join(records.levels)}, which {folder} holds, "
            f"got {level!r}"
        )
    shards = [s for s in records.select(split, level) if s.manipulation == manipulation]
    for shard in shards:
        path = folder / shard.path
        size = path.stat().st_size if path.is_file() else -1
        if size != shard.bytes:
            found = "missing" if size < 0 else f"{size} bytes"
            raise DataError(f"{path}: expected {shard.bytes} bytes, found {found}")
    return shards


def _placer(faces: Pools, config: Config) -> Any:
    """The formula from positions (B,) to the files and offsets of the faces that stand there, and
    what is drawn for each: its seed, and whether it is to be blended with itself."""
    share = Fraction(config.data.real_share).limit_denominator(1000)
    blends = Fraction(config.data.selfblend).limit_denominator(1000)
    seed = config.train.seed
    key = np.frombuffer(hashlib.sha256(f"{seed} faces".encode()).digest()[:4], np.int32)[0]
    manipulations = max(1, len(faces.counts) - 1)

    def place(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        # Real faces before this position, so that any stretch of positions has its share.
        real = position * share.numerator // share.denominator
        is_real = (position + 1) * share.numerator // share.denominator > real
        manipulated = position - real
        # The same again within the manipulated ones: those that are made from real faces.
        made = manipulated * blends.numerator // blends.denominator
        above = (manipulated + 1) * blends.numerator // blends.denominator > made
        blended = ~is_real & above
        manipulated -= made
        pool = tf.where(is_real | blended, tf.zeros_like(real), 1 + manipulated % manipulations)
        turn = tf.where(is_real, real, tf.where(blended, made, manipulated // manipulations))
        count = tf.gather(faces.counts, pool)
        # Real faces that are blended have an order of their own.
        key_of_pool = tf.where(blended, tf.cast(len(faces.counts), tf.int64), pool)
        order = tf.stack([seed * tf.ones_like(pool), key_of_pool, turn // count], axis=-1)
        # tf.random.experimental.index_shuffle takes one seed for all.
        index = tf.gather(faces.starts, pool) + tf.raw_ops.RandomIndexShuffle(
            index=turn % count, seed=order, max_index=count - 1, rounds=_ROUNDS
        )
        path = tf.gather(faces.paths, tf.gather(faces.shard, index))
        # Two halves of 31 bits, the higher one moved by the run's key.
        halves = [position // 2**31 + key, position % 2**31]
        seeds = tf.cast(tf.stack(halves, axis=-1), tf.int32)
        return path, tf.gather(faces.offset, index), (seeds, blended)

    return place


def _one(element: tuple[tf.Tensor, ...]) -> tf.data.Dataset:
    """A dataset of one element; from_tensors would be stateful to TensorFlow."""
    return tf.data.Dataset.from_tensor_slices(tuple(part[tf.newaxis] for part in element))


def _read(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
    """One record, its checksums verified, and read without what comes after it.

    tf.data's Python class does not pass byte offsets on.
    """
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=0, byte_offsets=[offset]
    )
    dataset = tf.data.experimental.from_variant(records, tf.TensorSpec((), tf.string))
    return dataset.take(1)
