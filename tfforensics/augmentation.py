"""Flips and changes of colour of one face: a linear map of its pixels, in whole numbers.

A sum of floats depends on its order, and on whether a product is rounded before it is added;
neither is fixed between processes or machines. A sum of whole numbers is the same in any order,
so XLA may make one vectorised pass of it: at 380 px in a twentieth of the time that TensorFlow's
operations take for changes in HSV, and with the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfforensics.config import Augment
from tfforensics.degradation import Decision

# Luma and the two chroma axes of NTSC's YIQ, by red, green and blue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)
_LUMA, _CHROMA, _TURNED = (
    _RGB @ np.array(rows, float) @ _YIQ
    for rows in (
        ((1, 0, 0), (0, 0, 0), (0, 0, 0)),
        ((0, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 0, 0), (0, 0, -1), (0, 1, 0)),  # by a quarter
    )
)
_BITS = 16  # of a coefficient's fraction


def augmenter(settings: Augment) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
    """How a face is mirrored and its colours are changed: (uint8 (S, S, 3), drawn) -> uint8.

    With each strength drawn uniformly, a pixel x, a vector of red, green and blue, becomes

        A (c (x + b) + (1 - c) (m + b)),    A = Y + s (cos h C + sin h Q)

    rounded once and clipped to 0..255: brightness shifted by b, contrast scaled by c about the
    mean m of each channel of the face, and in YIQ luma kept (Y), chroma (C) scaled by the
    saturation s and turned by the hue h (Q is chroma turned by a quarter circle). Brightness and
    contrast are those of keras-cv's layers, saturation and hue that of tensorflow-addons'
    `adjust_hsv_in_yiq`, with nothing clipped in between. The coefficients are rounded to 2^-16,
    so that the result is within one of the formula's, and seldom not the same.

    Args:
        settings: flip mirrors half of the faces; the largest b is brightness x 255, c and s are
            within 1 -+ contrast and 1 -+ saturation, h within -+ hue of the full circle.

    Returns:
        None where nothing is to be changed. The second argument is what `degradation.draw` gave.
    """
    colours = any((settings.brightness, settings.contrast, settings.saturation, settings.hue))
    if not colours:
        return _mirrored if settings.flip else None

    def change(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
        recolour = _recolouring(image, settings, drawn)
        if not settings.flip:
            return recolour(image)
        # Both branches whole: a reversal outside is a pass of its own, and a slow one.
        return tf.cond(
            drawn[Decision.FLIP] < 0.5,
            lambda: recolour(tf.reverse(image, [1])),
            lambda: recolour(image),
        )

    compiled: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(
        change, jit_compile=True, autograph=False
    )
    return compiled


def matrix(
    mean: tf.Tensor,
    *,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The map of `augmenter` as x -> M x + t.

    Args:
        mean: (3,), of each channel.
        brightness, contrast, saturation, hue: b, c, s and h (in radians), scalars.

    Returns:
        M (3, 3), output channels first, and t (3,); float64 as all arguments.
    """
    colour = _LUMA + saturation * (tf.cos(hue) * _CHROMA + tf.sin(hue) * _TURNED)
    return contrast * colour, brightness + (1.0 - contrast) * tf.linalg.matvec(colour, mean)


def _mirrored(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Alone, TensorFlow's own operation costs less than calling a compiled one."""
    return tf.cond(
        drawn[Decision.FLIP] < 0.5,
        lambda: tf.ensure_shape(tf.reverse(image, [1]), image.shape),
        lambda: image,
    )


def _recolouring(
    image: tf.Tensor, settings: Augment, drawn: tf.Tensor
) -> Callable[[tf.Tensor], tf.Tensor]:
    signed = 2.0 * tf.cast(drawn, tf.float64) - 1.0
    coefficients, offset = matrix(
        _mean(image) if settings.contrast else tf.zeros(3, tf.float64),
        brightness=255.0 * settings.brightness * signed[Decision.BRIGHTNESS],
        contrast=1.0 + settings.contrast * signed[Decision.CONTRAST],
        saturation=1.0 + settings.saturation * signed[Decision.SATURATION],
        hue=2.0 * np.pi * settings.hue * signed[Decision.HUE],
    )
    scale = float(1 << _BITS)
    by = tf.cast(tf.round(scale * coefficients), tf.int32)
    start = tf.cast(tf.round(scale * (offset + 0.5)), tf.int32)  # what is shifted out is dropped

    def recolour(face: tf.Tensor) -> tf.Tensor:
        x = tf.cast(face, tf.int32)
        terms = [x[..., i : i + 1] * by[:, i] for i in range(3)]
        whole = tf.bitwise.right_shift(terms[0] + terms[1] + terms[2] + start, _BITS)
        return tf.cast(tf.clip_by_value(whole, 0, 255), tf.uint8)

    return recolour


def _mean(image: tf.Tensor) -> tf.Tensor:
    """The mean of each channel, float64 (3,), from sums in whole numbers."""
    height, width, channels = image.shape
    # Four parts of the face at a time, then its rows, then within one row: as long runs of memory
    # as there are, and XLA reduces rows one by one where it adds parts many pixels at once.
    parts = 4 if height % 4 == 0 else 1
    stack = tf.reshape(tf.cast(image, tf.int32), (parts, height // parts, width * channels))
    columns = tf.reduce_sum(sum(stack[part] for part in range(parts)), 0)
    total = tf.reduce_sum(tf.reshape(columns, (width, channels)), 0)
    return tf.cast(total, tf.float64) / (height * width)
