"""A real face -> a pseudo-manipulated one: two versions of itself, blended.

Shiohara and Yamasaki, Detecting Deepfakes with Self-Blended Images (CVPR 2022). A detector that
learns from them sees no manipulation, so it has none to learn by heart: what is left to find is
the border of a blend, and colour, sharpness and traces of compression that differ across it.

The version that is around the blend is drawn in the same way for every face of a batch, real,
pseudo-manipulated or manipulated; augmentation and degradation come after. So a blend of
weight 0 would be a real face, and nothing but the blend tells them apart.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import tensorflow as tf

from tfforensics import degradation, outline

NAME = "selfblend"  # in place of a manipulation's name

_KEY = 0x5E1FB1E  # apart from the seed that degradation and augmentation draw from
_MOVES = 4  # cells of the grid whose random moves, smoothly joined, deform mask and face
_CELLS = 96


class _Draw(IntEnum):
    """What is drawn for one version of a face, each in a place of its own."""

    GAIN = 0  # 3, one a channel
    SHIFT = 3  # 3
    SATURATION = 6
    CHANGED = 7
    SCALE = 8
    DETAIL = 9
    RESAMPLED = 10
    QUALITY = 11
    COMPRESSED = 12
    COUNT = 13


class _Blend(IntEnum):
    """What is drawn for the blend."""

    REGION = 0
    GROWTH = 1
    WIDTH = 2
    RATIO = 3
    DEFORM = 4
    ELASTIC = 5
    ZOOM = 6  # 2
    TURN = 8
    MOVE = 9  # 2
    COUNT = 11


# How often each region of `outline.REGIONS` is blended.
_REGION_SHARES = (0.55, 0.15, 0.12, 0.18)


def around(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The version of a face that is left as it is, or that a blend is put into.

    Half of the faces are left alone; a face that is not is changed as the inner one of a blend is.

    Args:
        image: uint8 (S, S, 3).
        seed: int32 (2,), the example's.
    """
    drawn = _uniform(seed, 0, 1 + _Draw.COUNT)
    return tf.cond(drawn[0] < 0.5, lambda: image, lambda: _version(image, drawn[1:]))


def blend(face: tf.Tensor, image: tf.Tensor, landmarks: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Puts another version of a face into it.

    Args:
        face: what `around` made of it, uint8 (S, S, 3).
        image: the face as it was.
        landmarks: float32 (5, 2), x and y in its pixels.
        seed: as `around` took it.
    """
    mixed, _ = with_mask(face, image, landmarks, seed)
    return mixed


def with_mask(
    face: tf.Tensor, image: tf.Tensor, landmarks: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """As `blend`, with the weights of the inner version, float32 (S, S), 0 to 1."""
    drawn = _uniform(seed, 1, _Blend.COUNT)
    inner = _version(image, _uniform(seed, 2, _Draw.COUNT))
    inner = _misaligned(inner, landmarks, drawn, seed)
    mask = _mask(landmarks, drawn, seed, image.shape[0])
    below = tf.cast(face, tf.float32)
    mixed = below + mask[..., None] * (inner - below)
    return tf.cast(tf.round(tf.clip_by_value(mixed, 0.0, 255.0)), tf.uint8), mask


def present(
    image: tf.Tensor, landmarks: tf.Tensor, seed: tf.Tensor, blended: tf.Tensor
) -> tf.Tensor:
    """A face as a training batch shows it before augmentation and degradation.

    Args:
        image: uint8 (S, S, 3).
        landmarks: float32 (5, 2), x and y in its pixels.
        seed: int32 (2,), the example's.
        blended: bool scalar; true makes it pseudo-manipulated.
    """
    face = around(image, seed)
    shown = tf.cond(blended, lambda: blend(face, image, landmarks, seed), lambda: face)
    return tf.ensure_shape(shown, image.shape)


def _uniform(seed: tf.Tensor, part: int, count: int) -> tf.Tensor:
    """Numbers in [0, 1) for one part of the work, float32 (count,)."""
    key = tf.bitwise.bitwise_xor(seed, tf.constant([_KEY, part], tf.int32))
    return tf.random.stateless_uniform((count,), key, alg="philox")


def _version(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Changes colour, detail and compression, each of them at times; uint8 in and out."""
    side = image.shape[0]
    face = tf.cast(image, tf.float32)
    face = tf.cond(drawn[_Draw.CHANGED] < 0.8, lambda: _coloured(face, drawn), lambda: face)
    resampled = drawn[_Draw.RESAMPLED] < 0.7
    face = tf.cond(resampled, lambda: _resampled(face, drawn), lambda: face)
    changed = tf.cast(tf.round(tf.clip_by_value(face, 0.0, 255.0)), tf.uint8)
    quality = 40 + tf.cast(drawn[_Draw.QUALITY] * 56, tf.int32)
    compressed = drawn[_Draw.COMPRESSED] < 0.3
    quality = tf.where(compressed, quality, degradation.UNCOMPRESSED)
    return tf.ensure_shape(degradation.compress(changed, quality), (side, side, 3))


def _coloured(face: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Gains and shifts of channels, and saturation, as one affine map of colour."""
    signed = 2.0 * drawn - 1.0
    gain = 1.0 + 0.08 * signed[_Draw.GAIN : _Draw.GAIN + 3]
    shift = 10.0 * signed[_Draw.SHIFT : _Draw.SHIFT + 3]
    saturation = 1.0 + 0.3 * signed[_Draw.SATURATION]
    grey = tf.constant([[0.299], [0.587], [0.114]]) * tf.ones((1, 3))
    matrix = (saturation * tf.eye(3) + (1.0 - saturation) * grey) * gain
    return tf.reshape(tf.reshape(face, (-1, 3)) @ matrix + shift, face.shape)


def _resampled(face: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Shrinks a face and grows it, and takes from none to two and a half times what that loses.

    Below one it is blurred or rescaled, above it sharpened.
    """
    side = face.shape[0]
    scale = 0.25 + 0.6 * drawn[_Draw.SCALE]
    small = tf.image.resize(face, (tf.cast(scale * side, tf.int32),) * 2, antialias=True)
    smooth = tf.image.resize(small, (side, side))
    u = drawn[_Draw.DETAIL]
    # A quarter loses all detail, half some of it, a quarter is sharpened.
    detail = tf.where(u < 0.75, tf.maximum(0.0, 2.0 * u - 0.5), 1.0 + 6.0 * (u - 0.75))
    return smooth + detail * (face - smooth)


def _moves(seed: tf.Tensor, part: int, cells: int) -> tf.Tensor:
    """A smooth random field of moves, about -1 to 1, (cells, cells, 2)."""
    coarse = 2.0 * _uniform(seed, part, 2 * _MOVES**2) - 1.0
    coarse = tf.reshape(coarse, (_MOVES, _MOVES, 2))
    return tf.ensure_shape(
        tf.image.resize(coarse, (cells, cells), method="bicubic"), (cells, cells, 2)
    )


def _mask(landmarks: tf.Tensor, drawn: tf.Tensor, seed: tf.Tensor, side: int) -> tf.Tensor:
    """A region of the face, deformed, grown or shrunk, with a soft edge, times the blend ratio."""
    bounds = tf.constant(np.cumsum(_REGION_SHARES)[:-1], tf.float32)
    region = tf.reduce_sum(tf.cast(drawn[_Blend.REGION] >= bounds, tf.int32))
    moves = 0.09 * drawn[_Blend.DEFORM] * _moves(seed, 3, _CELLS)
    depth = outline.depth(landmarks, region, side, moves)
    # In shares of the side, of which an upright face takes two thirds.
    growth = side * 0.035 * (2.0 * drawn[_Blend.GROWTH] - 1.0)
    width = side * 0.004 * 40.0 ** drawn[_Blend.WIDTH]  # 0.4% to 16%
    edge = tf.clip_by_value(0.5 + (depth + growth) / width, 0.0, 1.0)
    ratio = tf.minimum(0.25 + 1.25 * drawn[_Blend.RATIO], 1.0)
    return ratio * edge * edge * (3.0 - 2.0 * edge)


def _misaligned(
    image: tf.Tensor, landmarks: tf.Tensor, drawn: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Zooms, turns, moves and bends a face a little about its middle; float32 (S, S, 3)."""
    side = image.shape[0]
    signed = 2.0 * drawn - 1.0
    matrix, origin = outline.fit(landmarks, side)
    middle = tf.linalg.matvec(matrix, outline.LANDMARKS.mean(axis=0), transpose_a=True) + origin
    turn = 0.04 * signed[_Blend.TURN]
    cos, sin = tf.cos(turn), tf.sin(turn)
    zoom = 1.0 + 0.05 * signed[_Blend.ZOOM : _Blend.ZOOM + 2]
    linear = tf.stack([[cos, sin], [-sin, cos]]) * zoom
    move = 0.02 * side * signed[_Blend.MOVE : _Blend.MOVE + 2]
    # Where each pixel is read: found on a coarse grid, and between its points by interpolation.
    at = ((np.arange(_CELLS, dtype=np.float32) + 0.5) * side / _CELLS - 0.5).astype(np.float32)
    grid = tf.constant(np.stack(np.meshgrid(at, at), axis=-1))
    moved = (grid - middle) @ linear + middle + move - grid
    moved += 0.02 * side * drawn[_Blend.ELASTIC] * _moves(seed, 4, _CELLS)
    return _read(tf.cast(image, tf.float32), tf.image.resize(moved, (side, side)))


def _read(image: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
    """An image (S, S, 3) at each pixel's place plus its move (S, S, 2), bilinear, edge repeated."""
    side = image.shape[0]
    at = np.arange(side, dtype=np.float32)
    x = tf.clip_by_value(moved[..., 0] + at, 0.0, side - 1.001)
    y = tf.clip_by_value(moved[..., 1] + at[:, None], 0.0, side - 1.001)
    column, row = tf.floor(x), tf.floor(y)
    right, down = (x - column)[..., None], (y - row)[..., None]
    index = tf.cast(row, tf.int32) * side + tf.cast(column, tf.int32)
    flat = tf.reshape(image, (-1, 3))
    top = tf.gather(flat, index)
    top += right * (tf.gather(flat, index + 1) - top)
    bottom = tf.gather(flat, index + side)
    bottom += right * (tf.gather(flat, index + side + 1) - bottom)
    return top + down * (bottom - top)
