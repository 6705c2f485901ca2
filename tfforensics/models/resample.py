"""Resampling of maps as matrix products.

Every resampling of the multi-attentional network is linear and separable: a map x becomes
R x C' with one small constant matrix for each axis. That is exact, has an exact gradient on
every device, and composes: a blur after a shrinking is one matrix again.

The matrices are float32 (out, in) arrays made while a graph is built.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Matrix = npt.NDArray[np.float32]


def bilinear(size: int, source: int) -> Matrix:
    """Bilinear interpolation with aligned corners: the first and last samples stay in place.

    Row i reads the source at i (source - 1) / (size - 1); a single output reads the first sample.
    """
    positions = np.arange(size) * ((source - 1) / max(size - 1, 1))
    distance = np.abs(positions[:, None] - np.arange(source)[None, :])
    return np.maximum(1.0 - distance, 0.0).astype(np.float32)


def adaptive_mean(size: int, source: int) -> Matrix:
    """Means over `size` windows that cover the source; window i is
    floor(i source / size) .. ceil((i + 1) source / size), so neighbours may share a sample.
    """
    matrix = np.zeros((size, source), np.float32)
    for i in range(size):
        start, stop = i * source // size, -(-(i + 1) * source // size)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


def nearest(size: int, source: int) -> Matrix:
    """The sample floor(i source / size) for each output i."""
    return np.eye(source, dtype=np.float32)[np.arange(size) * source // size]


def gaussian(size: int, *, kernel: int, sigma: float) -> Matrix:
    """Gaussian blur with `kernel` taps (odd), normalised, whose border reflects.

    The reflection does not repeat the edge sample: ... 2 1 | 0 1 2 ...; it needs
    size > kernel // 2.
    """
    radius = kernel // 2
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    matrix = np.zeros((size, size))
    for i in range(size):
        for offset, tap in zip(range(-radius, radius + 1), taps, strict=True):
            j = abs(i + offset)
            matrix[i, j if j < size else 2 * (size - 1) - j] += tap
    return matrix.astype(np.float32)


def apply(maps: tf.Tensor, rows: Matrix, columns: Matrix) -> tf.Tensor:
    """Resamples both axes of maps (B, H, W, C) to (B, len(rows), len(columns), C)."""
    height, width, channels = maps.shape[1:]
    # As matmul and not einsum, whose gradient is ten times slower on a CPU.
    maps = tf.reshape(maps, (-1, height, width * channels))
    maps = tf.matmul(tf.constant(rows, maps.dtype), maps)
    maps = tf.reshape(maps, (-1, width, channels))
    maps = tf.matmul(tf.constant(columns, maps.dtype), maps)
    return tf.reshape(maps, (-1, len(rows), len(columns), channels))


def resize(maps: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Bilinear resizing of maps (B, H, W, C) with aligned corners; the same size is a no-op."""
    if tuple(maps.shape[1:3]) == (height, width):
        return maps
    return apply(maps, bilinear(height, maps.shape[1]), bilinear(width, maps.shape[2]))
