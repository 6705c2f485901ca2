"""Attention-guided data augmentation: degrade the region that one attention map looks at.

Zhao et al., "Multi-attentional Deepfake Detection", CVPR 2021, section 3.4: what the network finds
in one region is taken away, so that it has to look at others too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import tensorflow as tf

from tfforensics.command import UsageError
from tfforensics.models import resample

# Networks were published on pixels in -1..1, and so was the noise: one unit is half of 0..255.
_NOISE_UNIT = 127.5


@dataclass(frozen=True)
class Agda:
    """Settings of the augmentation.

    Args:
        scale: factor on the image's side before the blur, in (0, 1].
        kernel: taps of the Gaussian blur, odd.
        sigma: of the blur, in pixels of the shrunken image, > 0.
        threshold: range of the attention, relative to its maximum, at which half is degraded.
        zoom: range of the steepness around the threshold, > 0.
        noise: standard deviation of the noise in the degraded image, in units of half the pixel
            range (0.1 = 12.75 grey levels), >= 0.

    Raises:
        UsageError: a setting is outside its range.
    """

    scale: float = 0.5
    kernel: int = 11
    sigma: float = 7.0
    threshold: tuple[float, float] = (0.4, 0.6)
    zoom: tuple[float, float] = (3.0, 5.0)
    noise: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.scale <= 1.0:
            raise UsageError(f"scale: expected 0 < scale <= 1, got {self.scale}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UsageError(f"kernel: expected an odd number of taps, got {self.kernel}")
        if self.sigma <= 0.0:
            raise UsageError(f"sigma: expected more than 0, got {self.sigma}")
        if not 0.0 <= self.threshold[0] <= self.threshold[1] <= 1.0:
            raise UsageError(f"threshold: expected a range within 0 to 1, got {self.threshold}")
        if not 0.0 < self.zoom[0] <= self.zoom[1]:
            raise UsageError(f"zoom: expected a range above 0, got {self.zoom}")
        if self.noise < 0.0:
            raise UsageError(f"noise: expected 0 or more, got {self.noise}")


def augment(
    images: tf.Tensor, attention: tf.Tensor, seeds: tf.Tensor, settings: Agda
) -> tuple[tf.Tensor, tf.Tensor]:
    """Degrades each image where one of its attention maps, chosen at random, is high.

    A map is chosen with a probability in proportion to sqrt(1 + its sum), resized to the image
    (bilinear, aligned corners) and divided by its maximum; threshold and zoom are uniform in their
    ranges. All of it is a function of the example and its seed. No gradient flows.

    Args:
        images: (B, S, S, 3) in 0..255, any dtype.
        attention: (B, h, w, M), >= 0.
        seeds: int32 (B, 2).
        settings: of the augmentation.

    Returns:
        The images, float32 (B, S, S, 3), which noise may take a little beyond 0..255, and the
        chosen maps, int32 (B,).

    Raises:
        UsageError: the shrunken image is smaller than the blur.
    """
    images = tf.cast(images, tf.float32)
    attention = tf.stop_gradient(tf.cast(attention, tf.float32))
    height, width = images.shape[1:3]
    low = _low_size(height, settings), _low_size(width, settings)

    def draw(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        uniform, normal = tf.unstack(tf.random.split(seed, 2, alg="philox"))
        return (
            tf.random.stateless_uniform([3], uniform, alg="philox"),
            tf.random.stateless_normal([*low, images.shape[3]], normal, alg="philox"),
        )

    uniform, noise = tf.map_fn(draw, seeds, fn_output_signature=(tf.float32, tf.float32))
    chosen = _choose(attention, uniform[:, 0])
    guide = tf.gather(attention, chosen, axis=3, batch_dims=1)[..., None]
    guide = resample.resize(guide, height, width)
    guide /= tf.reduce_max(guide, axis=(1, 2, 3), keepdims=True) + 1e-8
    degraded = degrade(
        images,
        guide,
        threshold=_between(settings.threshold, uniform[:, 1]),
        zoom=_between(settings.zoom, uniform[:, 2]),
        noise=noise * settings.noise * _NOISE_UNIT,
        settings=settings,
    )
    return tf.stop_gradient(degraded), chosen


def degrade(
    images: tf.Tensor,
    guide: tf.Tensor,
    *,
    threshold: tf.Tensor,
    zoom: tf.Tensor,
    noise: tf.Tensor | float,
    settings: Agda,
) -> tf.Tensor:
    """Blends each image into a blurred one by the strength m' of a map m.

    m' = (s(z (m - t)) - s(-z t)) / (1 - s(-z t)) with s the logistic function, so m' is 0 where m
    is; the result is (1 - m') x + m' up(blur(down(x)) + noise), where down and up are bilinear
    with aligned corners and the blur reflects at the border.

    Args:
        images: float32 (B, H, W, C).
        guide: float32 (B, H, W, 1), in 0..1.
        threshold: t, (B,).
        zoom: z, (B,).
        noise: added to the shrunken image, (B, h, w, C) or 0, in units of the image.
        settings: scale, kernel and sigma are read.

    Returns:
        float32 (B, H, W, C).
    """
    height, width = images.shape[1:3]
    low = _low_size(height, settings), _low_size(width, settings)
    shrink = [
        resample.gaussian(size, kernel=settings.kernel, sigma=settings.sigma)
        @ resample.bilinear(size, source)
        for size, source in zip(low, (height, width), strict=True)
    ]
    blurred = resample.resize(resample.apply(images, *shrink) + noise, height, width)

    threshold, zoom = (tf.reshape(value, (-1, 1, 1, 1)) for value in (threshold, zoom))
    bottom = tf.sigmoid(-zoom * threshold)
    strength = (tf.sigmoid(zoom * (guide - threshold)) - bottom) / (1.0 - bottom)
    return images + strength * (blurred - images)


def _choose(attention: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """The map whose share of the weights sqrt(1 + sum of the map) covers the number in [0, 1)."""
    weights = tf.sqrt(1.0 + tf.reduce_sum(attention, axis=(1, 2)))
    upper = tf.cumsum(weights, axis=1)
    below = upper[:, :-1] <= uniform[:, None] * upper[:, -1:]
    return tf.reduce_sum(tf.cast(below, tf.int32), axis=1)


def _between(bounds: tuple[float, float], uniform: tf.Tensor) -> tf.Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * uniform


def _low_size(size: int, settings: Agda) -> int:
    low, radius = int(size * settings.scale), settings.kernel // 2
    if low <= radius:
        least = next(size for size in itertools.count() if int(size * settings.scale) > radius)
        raise UsageError(
            f"agda: expected images of at least {least} pixels for scale {settings.scale} and "
            f"kernel {settings.kernel}, got {size}"
        )
    return low
