"""`quality.from_pixels` as TensorFlow ops, so that a served model can calibrate by quality."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfforensics import quality

NO_TRACE = 100  # what `calibration` takes for a face without a trace of compression
_FREQUENCIES = tuple(quality._FREQUENCIES)
_WINDOW = 512  # pixels


def estimator() -> Callable[[tf.Tensor], tf.Tensor]:
    """A function of one image, uint8 (H, W, 3) RGB, that estimates its JPEG quality.

    Its tables, 3.5 MB of constants, are put into the graph in which this is called; there the
    function may be called any number of times, also within loops.

    Returns:
        Its result is int32 (), 1 to 100, as `quality.from_pixels`; NO_TRACE where that is None,
        and for images of less than 16 pixels in height or width. Of an image larger than
        512 x 512 it looks at the middle.
    """
    table, steps, index = quality._likelihood()
    gain_of_bins = tf.constant(table)

    def estimate(image: tf.Tensor) -> tf.Tensor:
        smallest = tf.reduce_min(tf.shape(image)[:2])
        return tf.cond(smallest < 16, lambda: NO_TRACE, lambda: of_middle(_middle(image)))

    def of_middle(image: tf.Tensor) -> tf.Tensor:
        # Black is added to complete the last blocks: it is clipped, and such blocks do not count.
        shape = tf.shape(image)
        height, width = tf.unstack(-(-shape[:2] // 8) * 8)
        padded = tf.pad(image, [[0, height + 8 - shape[0]], [0, width + 8 - shape[1]], [0, 0]])

        def gain_at(row: tf.Tensor | int, column: tf.Tensor | int) -> tf.Tensor:
            grid = tf.slice(padded, (row, column, 0), (height, width, 3))
            return _gain_by_step(grid, gain_of_bins)

        at_origin = gain_at(0, 0)
        luminance = _luminance(image)
        row, column = _phase(tf.transpose(luminance)), _phase(luminance)
        gain = tf.cond((row > 0) | (column > 0), lambda: gain_at(row, column), lambda: at_origin)
        better = _explained(gain) > _explained(at_origin)
        return _quality(tf.where(better, gain, at_origin), steps, index)

    return estimate


def _middle(image: tf.Tensor) -> tf.Tensor:
    # Cut at whole blocks, so that the blocks of a file still start at the first pixel.
    shape = tf.shape(image)[:2]
    start = tf.maximum((shape - _WINDOW) // 2 // 8 * 8, 0)
    return image[start[0] : start[0] + _WINDOW, start[1] : start[1] + _WINDOW]


def _luminance(pixels: tf.Tensor) -> tf.Tensor:
    return tf.tensordot(tf.cast(pixels, tf.float32), tf.constant([0.299, 0.587, 0.114]), 1)


def _explained(gain: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.reduce_max(gain, axis=1))


def _phase(luminance: tf.Tensor) -> tf.Tensor:
    """0 to 7: the column at which blocks start; `quality._phase`."""
    jump = tf.reduce_mean(tf.abs(luminance[:, 1:] - luminance[:, :-1]), axis=0)
    excess = jump[1:-1] - (jump[:-2] + jump[2:]) / 2
    periods = tf.size(excess) // 8
    ordered = tf.sort(tf.reshape(excess[: 8 * periods], (periods, 8)), axis=0)
    median = (ordered[(periods - 1) // 2] + ordered[periods // 2]) / 2
    return (tf.argmax(median, output_type=tf.int32) + 2) % 8


def _gain_by_step(pixels: tf.Tensor, gain_of_bins: tf.Tensor) -> tf.Tensor:
    """(F, steps) log-likelihood gain of each step; `quality._gain_by_step`."""
    blocks = tf.reshape(tf.nn.space_to_depth(pixels[None], 8), (-1, 64, 3))
    whole = ~tf.reduce_any((blocks == 0) | (blocks == 255), axis=(1, 2))
    centred = _luminance(tf.boolean_mask(blocks, whole)) - 128.0
    coefficients = tf.matmul(centred, tf.constant(_cosines()))
    bins = tf.cast(tf.round(tf.abs(coefficients) / quality._BIN), tf.int32)
    bins = tf.minimum(bins, quality._BINS - 1) + quality._BINS * tf.range(len(_FREQUENCIES))
    total = quality._BINS * len(_FREQUENCIES)
    counts = tf.math.bincount(tf.reshape(bins, [-1]), minlength=total, maxlength=total)
    histogram = tf.cast(tf.reshape(counts, (len(_FREQUENCIES), quality._BINS)), tf.float32)
    telling = tf.reduce_sum(histogram[:, int(quality._ZERO / quality._BIN) :])
    return tf.matmul(histogram, gain_of_bins) / tf.maximum(1.0, telling)


def _cosines() -> quality.Floats:
    """(64, F) the orthonormal DCT-II of an 8 x 8 block at the frequencies that count."""
    k, n = np.arange(8)[:, None], np.arange(8)[None, :]
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)
    return (
        np.einsum("ui,vj->ijuv", basis, basis).reshape(64, 64)[:, _FREQUENCIES].astype(np.float32)
    )


def _quality(gain: tf.Tensor, steps: quality.Ints, index: quality.Ints) -> tf.Tensor:
    """The quality whose steps explain most, from the gain (F, steps) of the better grid."""
    likeliest = tf.reduce_max(gain, axis=1)
    total = tf.reduce_sum(likeliest)
    flat = index + gain.shape[1] * np.arange(len(_FREQUENCIES))
    by_quality = tf.reduce_sum(tf.gather(tf.reshape(gain, [-1]), flat), axis=1)
    best = tf.argmax(by_quality, output_type=tf.int32)
    share = by_quality[best] / total

    told = tf.cast(likeliest > 0.01 * total, tf.float32)
    found = tf.gather(tf.constant(steps, tf.float32), tf.argmax(gain, axis=1))
    tables = quality.luminance_tables("turbo")[:, _FREQUENCIES].astype(np.float32)
    factor = tf.abs(tf.math.log(tables / tf.maximum(found, 1.0)))
    similar = tf.argmin(tf.linalg.matvec(factor, told), output_type=tf.int32) + 1

    known = tf.where(share < quality._LEAST_SHARE, similar, best % 100 + 1)
    return tf.where(total < quality._LEAST_GAIN, NO_TRACE, known)
