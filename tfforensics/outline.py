"""A mean face outline, fitted to the five landmarks of a face: how far each pixel lies inside.

Shapes are drawn once on an upright face in the unit square and put onto a face by the affine
map that fits its eyes, nose and corners of the mouth best, by least squares.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import tensorflow as tf

# Eyes, nose and corners of the mouth of the upright face.
LANDMARKS = np.array(
    [[0.33, 0.37], [0.67, 0.37], [0.50, 0.56], [0.37, 0.745], [0.63, 0.745]], np.float32
)
# The left halves of outlines that are mirrored at x = 1/2, from the top to the bottom.
_BROWS = [(0.5, 0.22), (0.44, 0.205), (0.33, 0.175), (0.22, 0.2), (0.13, 0.27)]
_JAW = [(0.11, 0.55), (0.125, 0.62), (0.17, 0.74), (0.25, 0.85), (0.36, 0.93), (0.5, 0.965)]
_HALVES = {
    "face": [*_BROWS, (0.09, 0.37), (0.1, 0.48), *_JAW],
    "lower face": [(0.5, 0.45), (0.38, 0.51), *_JAW],
    "eyes": [*_BROWS, (0.12, 0.43), (0.3, 0.48), (0.5, 0.45)],
    "mouth": [(0.5, 0.63), (0.38, 0.64), (0.29, 0.72), (0.31, 0.81), (0.4, 0.87), (0.5, 0.88)],
}
REGIONS: tuple[str, ...] = tuple(_HALVES)

_CELLS = 96  # of a region's raster and of the grid on which a face is looked at
_AROUND = 1.0  # how far the raster reaches beyond the unit square, on each side


@cache
def depths() -> np.ndarray:
    """How far inside of each region a point lies, negative outside; float32 (regions, C, C).

    In units of the square; cell (i, j) of C is the point at ((j + .5) (1 + 2a) / C - a, ...),
    with a = 1 the reach beyond the square.
    """
    scale = 8 * _CELLS / (1 + 2 * _AROUND)
    fields = []
    for half in _HALVES.values():
        points = np.array([*half, *((1 - x, y) for x, y in half[-2:0:-1])], np.float64)
        raster = np.zeros((8 * _CELLS,) * 2, np.uint8)
        corners = np.round((points + _AROUND) * scale - 0.5).astype(np.int32)
        cv2.fillPoly(raster, [corners], 1)
        inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (raster, 1 - raster))
        field = cv2.resize(inside - outside, (_CELLS,) * 2, interpolation=cv2.INTER_AREA)
        fields.append(field / scale)
    return np.stack(fields).astype(np.float32)


def fit(landmarks: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The map from the unit square to a face.

    Args:
        landmarks: float32 (5, 2), x and y in pixels of the crop.
        side: of the crop. Landmarks that span no face (all in one place, or on a line) are taken
            for those of an upright face that fills it.

    Returns:
        A (2, 2) and b (2,): a point p of the square lies at p A + b.
    """
    equations = np.concatenate([LANDMARKS, np.ones((5, 1), np.float32)], axis=1)
    solution = tf.constant(np.linalg.pinv(equations).astype(np.float32)) @ landmarks
    upright = tf.constant(side * np.array([[0.66, 0], [0, 0.66], [0.17, 0.15]], np.float32))
    spans = tf.abs(tf.linalg.det(solution[:2])) > (0.05 * side) ** 2
    solution = tf.where(spans, solution, upright)
    return solution[:2], solution[2]


def depth(
    landmarks: tf.Tensor, region: tf.Tensor, side: int, displacement: tf.Tensor | None = None
) -> tf.Tensor:
    """How many pixels inside of a face's region each pixel lies, negative outside.

    Args:
        landmarks: as `fit` takes them.
        region: int32 scalar, index into REGIONS.
        side: of the crop.
        displacement: float32 (C, C, 2) with C = 96, in units of the square: where the outline is
            read instead, which deforms it.

    Returns:
        float32 (side, side); smooth, so that a threshold at any depth gives an even edge.
    """
    matrix, origin = fit(landmarks, side)
    at = ((np.arange(_CELLS, dtype=np.float32) + 0.5) * side / _CELLS - 0.5).astype(np.float32)
    pixels = tf.constant(np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2))
    points = (pixels - origin) @ tf.linalg.inv(matrix)
    if displacement is not None:
        points += tf.reshape(displacement, (-1, 2))
    cells = (points + _AROUND) * (_CELLS / (1 + 2 * _AROUND)) - 0.5
    field = tf.gather(tf.constant(depths()), region)
    units = tf.reshape(_read(field, cells), (_CELLS, _CELLS, 1))
    scale = tf.sqrt(tf.abs(tf.linalg.det(matrix)))
    return tf.image.resize(scale * units, (side, side))[..., 0]


def _read(field: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """A field (C, C) at places (N, 2), x and y, between its cells; beyond it, its border."""
    inside = tf.clip_by_value(cells, 0.0, _CELLS - 1.001)
    corner = tf.floor(inside)
    right, down = tf.unstack(inside - corner, axis=-1)
    column, row = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
    flat, index = tf.reshape(field, [-1]), row * _CELLS + column
    top = tf.gather(flat, index) * (1 - right) + tf.gather(flat, index + 1) * right
    index += _CELLS
    bottom = tf.gather(flat, index) * (1 - right) + tf.gather(flat, index + 1) * right
    return top * (1 - down) + bottom * down
