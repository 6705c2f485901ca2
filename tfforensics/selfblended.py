"""The self-blended faces of a split: what validates and calibrates a run that learns from such."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfforensics import degradation, jpeg, manifest, pipeline, selfblend
from tfforensics.config import Config
from tfforensics.jpeg import Level


def batches(config: Config, records: Path, split: str, level: Level) -> tf.data.Dataset:
    """Each real face of a split twice: as training shows it, and blended with itself.

    A function of the run's seed: every look is at the same faces, at each level by turbo.

    Returns:
        A dataset as `pipeline.evaluation_batches` gives it; the blended faces have the
        manipulation `selfblend.NAME` and the label 1.

    Raises:
        DataError: a shard is missing or cut off, or the split has no real face.
    """
    data = config.data
    quality = jpeg.quality_of(level)
    side = manifest.load(records).settings.size
    digest = hashlib.sha256(f"{config.train.seed} {split} blends".encode()).digest()
    key = int(np.frombuffer(digest[:4], np.int32)[0])

    def pair(number: tf.Tensor, face: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(key), tf.cast(number, tf.int32)])
        image = tf.ensure_shape(face["image"], (side, side, 3))
        plain = selfblend.around(image, seed)
        shown = [plain, selfblend.blend(plain, image, face["landmarks"], seed)]
        both = {name: tf.stack([value, value]) for name, value in face.items()}
        return both | {
            "image": tf.stack([_degraded(version, level, quality, data.size) for version in shown]),
            "label": tf.constant([0, 1], tf.int64),
            "manipulation": tf.stack([face["manipulation"], selfblend.NAME]),
            "level": tf.fill((2,), level),
        }

    faces = pipeline.evaluation_batches(
        records, split, "c0", size=side, batch=data.batch, real_only=True
    )
    pairs = faces.unbatch().enumerate().map(pair, num_parallel_calls=tf.data.AUTOTUNE)
    return pairs.unbatch().batch(data.batch).prefetch(tf.data.AUTOTUNE)


def _degraded(image: tf.Tensor, level: Level, quality: int, size: int) -> tf.Tensor:
    side = image.shape[0]
    if level != "c0":
        image = tf.ensure_shape(jpeg.degrade_in_graph(image, quality), (side, side, 3))
    if side != size:
        image = degradation.resize(image, size)
    return tf.ensure_shape(image, (size, size, 3))
