"""JPEG degradation of one face on the fly, as TensorFlow ops.

Every decision comes from a seed that the example carries, so what a face looks like in training
is a function of (run seed, position) alone.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import tensorflow as tf

from tfforensics import jpeg
from tfforensics.config import Degrade

UNCOMPRESSED = 0  # the "quality" of c0: the canonical crop, not compressed again


class Decision(IntEnum):
    """What is drawn for a face, each in a place of its own, so that one more changes no other."""

    FIRST_QUALITY = 0
    TWICE = 1
    QUALITY = 2
    SCALE = 3
    RESIZE = 4
    FLIP = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    SATURATION = 8
    HUE = 9


def draw(seed: tf.Tensor) -> tf.Tensor:
    """Uniform numbers in [0, 1), float32, by Decision; all at once, since each call has its price.

    Args:
        seed: int32 (2,), the example's.
    """
    return tf.random.stateless_uniform((len(Decision),), seed, alg="philox")


def quality_sampler(settings: Degrade) -> Callable[[tf.Tensor], tf.Tensor]:
    """How a quality is drawn: uniform [0, 1) scalar -> int32 scalar, UNCOMPRESSED for c0."""
    if settings.quality is not None:
        low, high = settings.quality

        def from_range(uniform: tf.Tensor) -> tf.Tensor:
            return low + tf.cast(uniform * (high - low + 1), tf.int32)

        return from_range

    qualities = [UNCOMPRESSED if k == "c0" else jpeg.quality_of(k) for k in settings.levels]
    total = sum(settings.levels.values())
    shares = [weight / total for weight in settings.levels.values()]
    bounds = [sum(shares[: i + 1]) for i in range(len(shares) - 1)]  # the last takes the rest

    def from_levels(uniform: tf.Tensor) -> tf.Tensor:
        index = tf.reduce_sum(tf.cast(uniform >= tf.constant(bounds, tf.float32), tf.int32))
        return tf.gather(qualities, index)

    return from_levels


def compress(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """A face at a quality; UNCOMPRESSED gives it back as it is. uint8 (H, W, 3) in and out."""
    return tf.cond(quality == UNCOMPRESSED, lambda: image, lambda: _compressed(image, quality))


def _compressed(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(jpeg.degrade_in_graph(image, quality), image.shape)


def degrader(settings: Degrade) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """How a face is degraded: (uint8 (S, S, 3), what `draw` gave) -> uint8 (S, S, 3).

    In this order, each as `settings` has it: a first compression, a resize, the compression
    that gives the face its level, the way back to the first size.
    """
    sample = quality_sampler(settings)
    smallest, largest = settings.resize_to
    # Where no quality is UNCOMPRESSED, nothing is to be decided.
    at_least_once = settings.quality is not None or "c0" not in settings.levels
    to_level = _compressed if at_least_once else compress

    def degrade(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
        shape = image.shape
        if settings.twice:
            first = sample(drawn[Decision.FIRST_QUALITY])
            twice = drawn[Decision.TWICE] < settings.twice
            image = compress(image, tf.where(twice, first, UNCOMPRESSED))
        quality = sample(drawn[Decision.QUALITY])
        if not settings.resize:
            return to_level(image, quality)

        def resized() -> tf.Tensor:
            scale = smallest + drawn[Decision.SCALE] * (largest - smallest)
            side = tf.cast(tf.round(scale * tf.cast(shape[0], tf.float32)), tf.int32)
            small = to_level(resize(image, side), quality)
            return tf.ensure_shape(resize(small, shape[0]), shape)

        shrunk = drawn[Decision.RESIZE] < settings.resize
        return tf.cond(shrunk, resized, lambda: to_level(image, quality))

    return degrade


def level_names(settings: Degrade, seeds: tf.Tensor) -> list[str]:
    """The level or quality that `degrader` draws for examples with these seeds, (B, 2)."""
    sample = quality_sampler(settings)
    qualities = [int(sample(draw(seed)[Decision.QUALITY])) for seed in seeds]
    if settings.quality is not None:
        return [f"Q{quality}" for quality in qualities]
    return [f"c{100 - quality}" if quality else "c0" for quality in qualities]


def resize(image: tf.Tensor, side: tf.Tensor | int) -> tf.Tensor:
    """A uint8 face (S, S, 3) at another side: bilinear, with antialiasing when it shrinks."""
    resized = tf.image.resize(image, (side, side), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)
