"""Draws of JPEG degradation and augmentation for one face, as TensorFlow ops.

Every draw comes from a seed that the example carries, so what a face looks like in training
is a function of (run seed, position) alone.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfforensics import jpeg
from tfforensics.config import Augment, Degrade

UNCOMPRESSED = 0  # the "quality" of c0: the canonical crop, not compressed again


def draw(seed: tf.Tensor, salt: int, shape: tuple[int, ...] = ()) -> tf.Tensor:
    """Uniform float32 numbers in [0, 1), other ones for each `salt`.

    Args:
        seed: int32 (2,), the example's.
        salt: names the decision that is drawn.
        shape: of the result.
    """
    return tf.random.stateless_uniform(shape, tf.random.experimental.stateless_fold_in(seed, salt))


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
    return tf.cond(
        quality == UNCOMPRESSED,
        lambda: image,
        lambda: tf.ensure_shape(jpeg.degrade_in_graph(image, quality), image.shape),
    )


def degrader(settings: Degrade) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """How a face is degraded: (uint8 (S, S, 3), seed) -> uint8 (S, S, 3).

    In this order, each as `settings` has it: a first compression, a resize, the compression
    that gives the face its level, the way back to the first size.
    """
    sample = quality_sampler(settings)
    smallest, largest = settings.resize_to

    def degrade(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = image.shape
        if settings.twice:
            first = sample(draw(seed, 1))
            twice = draw(seed, 2) < settings.twice
            image = compress(image, tf.where(twice, first, UNCOMPRESSED))
        quality = sample(draw(seed, 3))
        if not settings.resize:
            return compress(image, quality)

        def resized() -> tf.Tensor:
            scale = smallest + draw(seed, 4) * (largest - smallest)
            side = tf.cast(tf.round(scale * tf.cast(shape[0], tf.float32)), tf.int32)
            small = compress(resize(image, side), quality)
            return tf.ensure_shape(resize(small, shape[0]), shape)

        return tf.cond(draw(seed, 5) < settings.resize, resized, lambda: compress(image, quality))

    return degrade


def level_names(settings: Degrade, seeds: tf.Tensor) -> list[str]:
    """The level or quality that `degrader` draws for examples with these seeds, (B, 2)."""
    sample = quality_sampler(settings)
    qualities = [int(sample(draw(seed, 3))) for seed in seeds]
    if settings.quality is not None:
        return [f"Q{quality}" for quality in qualities]
    return [f"c{100 - quality}" if quality else "c0" for quality in qualities]


def resize(image: tf.Tensor, side: tf.Tensor | int) -> tf.Tensor:
    """A uint8 face (S, S, 3) at another side: bilinear, with antialiasing when it shrinks."""
    resized = tf.image.resize(image, (side, side), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)


def flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the faces."""
    return tf.cond(draw(seed, 6) < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def photometric(settings: Augment) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
    """How the colours of a batch are changed: (uint8 (B, S, S, 3), seeds (B, 2)) -> uint8.

    keras-cv's layers change the pixels; what they change them by is drawn here, since their own
    draws depend on how often they were called.

    Returns:
        None where every strength is 0.
    """
    if not (settings.brightness or settings.contrast or settings.saturation or settings.hue):
        return None
    from keras_cv import layers

    brightness = layers.RandomBrightness(factor=0.0, value_range=(0, 255))
    contrast = layers.RandomContrast(factor=0.0, value_range=(0, 255))
    saturation = layers.RandomSaturation(factor=0.5)
    hue = layers.RandomHue(factor=0.0, value_range=(0, 255))

    def change(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        def signed(salt: int) -> tf.Tensor:
            return 2.0 * tf.vectorized_map(lambda seed: draw(seed, salt), seeds) - 1.0

        faces = tf.cast(images, tf.float32)
        if settings.brightness:
            shift = 255.0 * settings.brightness * signed(7)
            faces = brightness.augment_images(faces, shift[:, None, None, None])
        if settings.contrast:
            factor = 1.0 + settings.contrast * signed(8)
            faces = contrast.augment_images(faces, factor[:, None, None, None])
        if settings.saturation:
            factor = 1.0 + settings.saturation * signed(9)
            faces = 255.0 * saturation.augment_images(faces / 255.0, factor / (1.0 + factor))
        if settings.hue:
            faces = hue.augment_images(faces, settings.hue * signed(10))
        return tf.cast(tf.round(tf.clip_by_value(faces, 0.0, 255.0)), tf.uint8)

    return change
