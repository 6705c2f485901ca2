"""Which face stands at each position of a training run, and where it lies in the shards.

Position p of a run is a formula of (seed, p): classes alternate by their share, manipulations take
turns, and each pool of faces is gone through in an order that is shuffled anew each time round.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfforensics import stored
from tfforensics.clips import REAL
from tfforensics.command import DataError
from tfforensics.config import Config
from tfforensics.manifest import Manifest

# Of the shuffle's cipher. TensorFlow's own 4 leave runs of neighbours in small pools, whose faces
# are those of one clip.
_ROUNDS = 24


@dataclass(frozen=True)
class Pools:
    """Where each face of a split lies: pool 0 is real, the others one manipulation each.

    Attributes:
        names: the pools' manipulations, (P,).
        counts: faces in each pool, int64 (P,).
        starts: the first face of each pool, int64 (P,).
        paths: files, (F,).
        bases: bytes of the files before each, int64 (F,).
        offsets: where each face's record begins, were all files one, and where that file would
            end, int64 (N + 1,).
    """

    names: tuple[str, ...]
    counts: np.ndarray
    starts: np.ndarray
    paths: tuple[str, ...]
    bases: np.ndarray
    offsets: tf.Tensor


def pools(
    records: Manifest,
    folder: Path,
    split: str,
    level: str,
    manipulations: tuple[str, ...] = (),
    *,
    real_only: bool = False,
) -> Pools:
    """Finds every face of a split at a stored level.

    Args:
        records: the folder's manifest.
        folder: written by `tfforensics.records`.
        manipulations: those to take; empty takes all.
        real_only: take none of them, and do without.

    Raises:
        UsageError: no such level or manipulation in the records.
        DataError: a shard is missing or cut off, or one of the classes has no face.
    """
    names = (REAL,) if real_only else (REAL, *stored.selected(records, manipulations))
    shards = {name: list(stored.shards(records, folder, split, level, name)) for name in names}
    flat = [shard for name in names for shard in shards[name] if shard.count]
    counts = np.array([sum(s.count for s in shards[name]) for name in names], np.int64)
    if not counts[0] or not (real_only or counts[1:].any()):
        lacking = REAL if not counts[0] else "manipulated"
        raise DataError(f"{folder}: no {lacking} face in the {split} split at level {level}")
    full = counts > 0
    # In place: at a million faces each further array is eight megabytes that stay with the process.
    offsets = np.zeros(1 + counts.sum(), np.int64)
    np.concatenate([shard.lengths for shard in flat], out=offsets[1:])
    offsets[1:] += 16
    np.cumsum(offsets, out=offsets)
    return Pools(
        names=tuple(name for name, some in zip(names, full, strict=True) if some),
        counts=counts[full],
        starts=_before(counts[full]),
        paths=tuple(str(folder / shard.path) for shard in flat),
        bases=_before(np.array([shard.bytes for shard in flat])),
        offsets=tf.constant(offsets),
    )


def _before(sizes: np.ndarray) -> np.ndarray:
    """The sum of all before each."""
    return np.cumsum(sizes) - sizes


def placer(faces: Pools, config: Config) -> Any:
    """The formula from positions (B,) and `faces.offsets` to the files and offsets of the faces
    that stand there, and what is drawn for each: its seed, and whether it is to be blended with
    itself. The offsets are handed in: what a function contains, TensorFlow copies many times."""
    share = Fraction(config.data.real_share).limit_denominator(1000)
    blends = Fraction(config.data.selfblend).limit_denominator(1000)
    seed = config.train.seed
    key = np.frombuffer(hashlib.sha256(f"{seed} faces".encode()).digest()[:4], np.int32)[0]
    manipulations = max(1, len(faces.counts) - 1)
    counts, starts, paths, bases = faces.counts, faces.starts, faces.paths, faces.bases

    def place(
        position: tf.Tensor, offsets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
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
        count = tf.gather(counts, pool)
        # Real faces that are blended have an order of their own.
        key_of_pool = tf.where(blended, tf.cast(len(counts), tf.int64), pool)
        order = tf.stack([seed * tf.ones_like(pool), key_of_pool, turn // count], axis=-1)
        # tf.random.experimental.index_shuffle takes one seed for all.
        index = tf.gather(starts, pool) + tf.raw_ops.RandomIndexShuffle(
            index=turn % count, seed=order, max_index=count - 1, rounds=_ROUNDS
        )
        offset = tf.gather(offsets, index)
        file = tf.searchsorted(bases, offset, side="right") - 1
        # Two halves of 31 bits, the higher one moved by the run's key.
        halves = [position // 2**31 + key, position % 2**31]
        seeds = tf.cast(tf.stack(halves, axis=-1), tf.int32)
        return tf.gather(paths, file), offset - tf.gather(bases, file), (seeds, blended)

    return place
