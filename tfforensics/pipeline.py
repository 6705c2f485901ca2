"""Shards -> tf.data: endless training batches from any step, and every face once to evaluate.

Training draws by position: which face stands there is a formula (places.py), and its record is
read alone, at the place that the manifest's lengths give. So a run starts at any step without
reading what came before, the shuffle is over all faces instead of over a buffer, and nothing of
it depends on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfforensics import (
    augmentation,
    command,
    degradation,
    example,
    jpeg,
    manifest,
    places,
    selfblend,
    staging,
    stored,
)
from tfforensics.clips import REAL
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config

_AHEAD = 4  # batches kept ready: a few, since at 380 px each face takes half a megabyte


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
        UsageError, DataError: as `places.pools`.
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
        UsageError, DataError: as `places.pools`.
    """
    data = config.data
    # A process with another working directory may read it.
    folder = staging.local(data.records).absolute()
    records = manifest.load(folder)
    side = records.settings.size
    faces_of = places.pools(
        records, folder, "train", data.level, data.manipulations, real_only=data.selfblend == 1
    )
    place = places.placer(faces_of, config)
    degrade = degradation.degrader(config.degrade)
    augment = augmentation.augmenter(config.augment)
    faces_in_share = share.of(data.batch)
    wanted = ("encoded", "label", *(("landmarks",) if data.selfblend else ()))

    def face(
        record: tf.Tensor, seed: tf.Tensor, blended: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        fields = example.parse(record, wanted)
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

    def records_of(number: tf.Tensor, offsets: tf.Tensor) -> tf.data.Dataset:
        # A batch at a time: the formula's price is that of its ops, not of its faces.
        first = number * data.batch + share.part * faces_in_share
        path, offset, drawn = place(first + tf.range(faces_in_share, dtype=tf.int64), offsets)
        drawn = (tf.fill((faces_in_share,), number), *drawn)
        return tf.data.Dataset.zip((_read(path, offset), tf.data.Dataset.from_tensor_slices(drawn)))

    # Eight bytes a face. As an element they stay where they are, whatever is made of the graph.
    offsets = tf.data.Dataset.from_tensors(faces_of.offsets)
    # Under op determinism a function with any other stateful op than these sources in it takes
    # all parallelism and prefetching from the whole pipeline: so reading stands alone.
    numbered = numbers.flat_map(lambda number: tf.data.Dataset.zip((_one(number), offsets)))
    faces = numbered.flat_map(records_of).map(
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
    is_stored = level in records.levels and (level == "c0" or records.settings.encoder == encoder)
    if not is_stored and encoder != "turbo":
        raise UsageError(
            f"levels: {level} by {encoder} is not in {folder}, which holds "
            f"{', '.join(records.levels)} by {records.settings.encoder}; "
            f"write it with tfforensics.records --encoder {encoder} --levels {level}"
        )
    names = (REAL,) if real_only else (REAL, *stored.selected(records, manipulations))
    source = level if is_stored else "c0"
    shards = [s for name in names for s in stored.shards(records, folder, split, source, name)]
    if not sum(shard.count for shard in shards):
        raise DataError(f"{folder}: no face in the {split} split")
    side = records.settings.size

    def face(record: tf.Tensor) -> dict[str, tf.Tensor]:
        fields: dict[str, Any] = example.parse(record)
        image = tf.ensure_shape(jpeg.decode_in_graph(fields.pop("encoded")), (side, side, 3))
        if not is_stored:
            image = tf.ensure_shape(jpeg.degrade_in_graph(image, quality), (side, side, 3))
        if side != size:
            image = tf.ensure_shape(degradation.resize(image, size), (size, size, 3))
        return fields | {"image": image, "level": tf.constant(level)}

    files = [str(folder / shard.path) for shard in shards if shard.count]
    faces = tf.data.TFRecordDataset(files).map(face, num_parallel_calls=tf.data.AUTOTUNE)
    return faces.batch(batch).prefetch(tf.data.AUTOTUNE)


def _one(number: tf.Tensor) -> tf.data.Dataset:
    """A dataset of one element; from_tensors would be stateful to TensorFlow."""
    return tf.data.Dataset.from_tensor_slices(number[tf.newaxis])


def _read(paths: tf.Tensor, offsets: tf.Tensor) -> tf.data.Dataset:
    """The records at these places, (B,), checksums verified, each read without what comes after it.

    Each is a dataset of its own, since tf.data's Python class does not pass byte offsets on. They
    are made together, since a function's call for each would cost as much as reading it.
    """
    record = tf.TensorSpec((), tf.string)
    places_of_each = zip(*(tf.split(part, part.shape[0]) for part in (paths, offsets)), strict=True)
    alone = [
        tf.data.experimental.from_variant(
            tf.raw_ops.TFRecordDatasetV2(
                filenames=path, compression_type="", buffer_size=0, byte_offsets=offset
            ),
            record,
        ).take(1)
        for path, offset in places_of_each
    ]
    variants = tf.stack([tf.data.experimental.to_variant(dataset) for dataset in alone])
    return tf.data.Dataset.from_tensor_slices(variants).flat_map(
        lambda variant: tf.data.experimental.from_variant(variant, record)
    )
