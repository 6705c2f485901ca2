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

from tfforensics import manifest, stored
from tfforensics.clips import REAL
from tfforensics.command import DataError
from tfforensics.config import Config

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
    names = (REAL,) if real_only else (REAL, *stored.selected(records, manipulations))
    shards = {name: list(stored.shards(records, folder, split, level, name)) for name in names}
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


def placer(faces: Pools, config: Config) -> Any:
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
