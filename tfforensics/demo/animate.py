"""A portrait in motion: with an expression, seen in a pose."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tfforensics.demo.expression import Face
from tfforensics.demo.field import blur
from tfforensics.demo.performance import Expression, Pose
from tfforensics.demo.portrait import Portrait

MARGIN = 1.06  # enlargement that leaves the camera some room to pan within the portrait


@dataclass(frozen=True)
class Frame:
    """One frame before light and sensor noise.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        landmarks: (5, 2) float32, pixels, in the order of Portrait.landmarks.
    """

    image: np.ndarray
    landmarks: np.ndarray


class Actor:
    """A portrait that can be moved; what does not change between frames is worked out once."""

    def __init__(self, portrait: Portrait, size: int) -> None:
        """`size`: width and height of the frames in pixels."""
        self._size = size
        self._side = portrait.image.shape[0]
        self._face = Face(portrait)
        # Without an edge: at the head's outline the background is stretched, not torn.
        self._depth = blur(portrait.depth, 0.02 * self._side)

    def frame(self, pose: Pose, expression: Expression) -> Frame:
        """The portrait in that pose with that expression."""
        image, landmarks = self._face.show(expression)
        turn_x, turn_y = (float(share) * self._side for share in pose.turn)
        to_portrait = self._to_portrait(pose)
        size = (self._size, self._size)
        flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        depth = cv2.warpAffine(self._depth, to_portrait, size, flags=flags, borderMode=border)
        # The nearer a point, the further the turning head has carried it.
        index = np.arange(self._size, dtype=np.float32)
        (xx, xy, x0), (yx, yy, y0) = to_portrait.tolist()
        map_x = (xx * index + x0)[None, :] + (xy * index)[:, None] - turn_x * depth
        map_y = (yx * index + y0)[None, :] + (yy * index)[:, None] - turn_y * depth
        seen = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

        to_frame = cv2.invertAffineTransform(to_portrait)
        points = self._turned(landmarks, [turn_x, turn_y]) @ to_frame[:, :2].T + to_frame[:, 2]
        return Frame(seen, points.astype(np.float32))

    def _turned(self, landmarks: np.ndarray, turn: list[float]) -> np.ndarray:
        """Where landmarks of the portrait are after a turn, in the portrait's pixels.

        A pixel shows the point that lies its own depth times the turn away, so a landmark is
        where landmark = place - depth(place) * turn; the depth is smooth, so this converges.
        """
        place = landmarks
        for _ in range(4):
            columns, rows = np.clip(place.round().astype(int).T, 0, self._side - 1)
            place = landmarks + self._depth[rows, columns, None] * turn
        return place

    def _to_portrait(self, pose: Pose) -> np.ndarray:
        """(2, 3): frame pixel -> portrait pixel, by pan, zoom and roll alone."""
        scale = self._side / (self._size * MARGIN * pose.zoom)
        cos, sin = scale * np.cos(pose.roll), scale * np.sin(pose.roll)
        turned = np.array([[cos, sin], [-sin, cos]])
        center = (np.array([0.5, 0.5]) + pose.pan) * self._size
        return np.column_stack([turned, self._side / 2 - turned @ center])
