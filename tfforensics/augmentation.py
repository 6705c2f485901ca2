"""Flips and photometric augmentation of one face, as TensorFlow ops.

The changes of colour are those of keras-cv's RandomBrightness, RandomContrast, RandomSaturation
and RandomHue, in formulas that need no way to HSV and back and take a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfforensics.config import Augment
from tfforensics.degradation import Decision


def flip(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the faces.

    Args:
        image: (S, S, 3), any dtype.
        drawn: what `degradation.draw` gave.
    """
    return tf.cond(drawn[Decision.FLIP] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def photometric(settings: Augment) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
    """How the colours of a face are changed: (uint8 (S, S, 3), what `draw` gave) -> uint8.

    In this order, each uniform within its strength, the result clipped to 0..255: brightness is
    shifted, contrast scaled about the mean of each channel, saturation scaled, hue turned.

    Returns:
        None where every strength is 0.
    """
    if not (settings.brightness or settings.contrast or settings.saturation or settings.hue):
        return None

    def change(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
        signed = 2.0 * drawn - 1.0
        face = tf.cast(image, tf.float32)
        if settings.brightness:
            face = brighten(face, settings.brightness * signed[Decision.BRIGHTNESS])
        if settings.contrast:
            face = stretch(face, 1.0 + settings.contrast * signed[Decision.CONTRAST])
        if settings.saturation or settings.hue:
            face = turn(
                face,
                saturation=1.0 + settings.saturation * signed[Decision.SATURATION],
                hue=settings.hue * signed[Decision.HUE],
            )
        return tf.cast(tf.round(face), tf.uint8)

    return change


def brighten(face: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Shifts a face, float32 (S, S, 3) in 0..255, by a share of the full range."""
    return tf.clip_by_value(face + 255.0 * shift, 0.0, 255.0)


def stretch(face: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales the contrast of a face, float32 (S, S, 3) in 0..255, about each channel's mean."""
    # Rows first: reducing both axes at once takes ten times as long.
    mean = tf.reduce_mean(tf.reduce_mean(face, axis=0), axis=0)
    return tf.clip_by_value(face * factor + mean * (1.0 - factor), 0.0, 255.0)


def turn(face: tf.Tensor, *, saturation: tf.Tensor, hue: tf.Tensor) -> tf.Tensor:
    """Scales the saturation of HSV, up to full, and turns its hue.

    With V and m the largest and the smallest channel of a pixel and C = V - m, a channel x of
    HSV's hexagon is V - C + C clip(2 - |d|, 0, 1), where d in -3..3 is how far the pixel's hue
    lies from that channel's own, in sixths of the circle. With the channels x, y, z in cyclic order

        |d| = 1 + ((y - m) + (z - m) - (x - m)) / C,    d >= 0 where y >= z,

    and turning the hue adds to d; beyond 3 it goes on from the other side, 2 - |d| being
    ||d| - 3| - 1 there, too. All of it is multiplied by C, so that grey divides by nothing.

    Args:
        face: float32 (S, S, 3) in 0..255.
        saturation: factor, at least 0.
        hue: share of the full circle.
    """
    channels = tf.unstack(face, axis=-1)
    red, green, blue = channels
    top = tf.maximum(tf.maximum(red, green), blue)
    bottom = tf.minimum(tf.minimum(red, green), blue)
    chroma = top - bottom
    scaled = tf.minimum(saturation * chroma, top)
    gain = tf.math.divide_no_nan(scaled, chroma)
    floor, opposite = top - scaled, 3.0 * chroma
    # What is left of the channels' sum less the bottom, and C, with no sum of three terms: in
    # what order TensorFlow adds those is not the same in every process, nor is the last bit then.
    middle = tf.maximum(tf.minimum(red, green), tf.minimum(tf.maximum(red, green), blue))
    distance = middle - (bottom - 2.0 * top)
    step = 6.0 * (hue - tf.round(hue)) * chroma
    after, before = distance - (-1.0) * step, distance - step
    turned = []
    for x, y, z in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        away = tf.abs(tf.where(channels[y] >= channels[z], after, before) - 2.0 * channels[x])
        share = tf.clip_by_value(tf.abs(away - opposite) - chroma, 0.0, chroma)
        turned.append(floor + gain * share)
    return tf.stack(turned, axis=-1)
