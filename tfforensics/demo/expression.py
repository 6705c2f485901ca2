"""Expressions: eyes that close, a mouth that opens and smiles, warped into a still face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tfforensics.demo.field import Field, blob, mix, ramp
from tfforensics.demo.performance import Expression
from tfforensics.demo.portrait import Portrait

# In distances between the eyes.
EYE_WIDTH, EYE_TOP, EYE_BOTTOM, BROW = 0.27, -0.105, 0.085, -0.30
OPEN_MOUTH = 0.17  # between the lips of a mouth that is wide open
JAW_END = 0.80  # below the mouth nothing moves from here
SMILE, SMILE_RISE = 0.07, 0.8  # how far out a full smile moves the corners, and the rise of it

MOUTH_INSIDE = np.array([58, 24, 24], np.float32)  # RGB
TEETH = np.array([196, 188, 176], np.float32)


class Face:
    """A portrait that can take an expression."""

    def __init__(self, portrait: Portrait) -> None:
        self._image = portrait.image
        self._landmarks = portrait.landmarks.astype(np.float32)
        left, right = self._landmarks[3:]
        self._eyes = [self._patch(eye, reach=0.36) for eye in self._landmarks[:2]]
        self._mouth = self._patch((left + right) / 2, reach=1.0)
        self._half_mouth = 0.5 * float(np.linalg.norm(right - left)) / self._mouth.unit

    def show(self, expression: Expression) -> tuple[np.ndarray, np.ndarray]:
        """The portrait's image with that expression, and its landmarks."""
        image = self._image.copy()
        for eye in self._eyes:
            _close(image, eye, expression.blink)
        smile = SMILE * expression.smile
        _open(image, self._mouth, self._half_mouth, OPEN_MOUTH * expression.mouth, smile)
        out = smile * (self._landmarks[1] - self._landmarks[0])
        up = SMILE_RISE * np.array([out[1], -out[0]])
        landmarks = self._landmarks.copy()
        landmarks[3:] += [up - out, up + out]
        return image, landmarks

    def _patch(self, center: np.ndarray, reach: float) -> _Patch:
        """The square about `center` that reaches `reach` distances between the eyes."""
        across = self._landmarks[1] - self._landmarks[0]
        unit = float(np.linalg.norm(across))
        cos, sin = float(across[0]), float(across[1])
        size = np.array(self._image.shape[1::-1])
        low = np.clip(np.floor(center - reach * unit).astype(int), 0, size - 1)
        high = np.clip(np.ceil(center + reach * unit).astype(int) + 1, low + 1, size)
        dx = (np.arange(low[0], high[0]) - center[0]).astype(np.float32)[None, :] / unit**2
        dy = (np.arange(low[1], high[1]) - center[1]).astype(np.float32)[:, None] / unit**2
        area = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        return _Patch(area, cos * dx + sin * dy, cos * dy - sin * dx, cos, sin)


@dataclass(frozen=True)
class _Patch:
    """A rectangle of an image with coordinates that are upright on the face.

    Attributes:
        area: rows and columns of the image.
        u: (h, w) float32, to the face's right (as seen), in distances between the eyes.
        v: (h, w) float32, down the face, likewise.
        cos: x of the vector between the eyes, in pixels.
        sin: its y.
    """

    area: tuple[slice, slice]
    u: Field
    v: Field
    cos: float
    sin: float

    @property
    def unit(self) -> float:
        """Pixels between the eyes."""
        return float(np.hypot(self.cos, self.sin))

    def warp(self, image: np.ndarray, du: Field, dv: Field) -> np.ndarray:
        """The patch of `image` with every pixel taken from (u + du, v + dv)."""
        patch = np.ascontiguousarray(image[self.area])
        height, width = patch.shape[:2]
        map_x = np.arange(width, dtype=np.float32)[None, :] + self.cos * du - self.sin * dv
        map_y = np.arange(height, dtype=np.float32)[:, None] + self.sin * du + self.cos * dv
        return cv2.remap(patch, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _close(image: np.ndarray, eye: _Patch, blink: float) -> None:
    """Draws the upper lid down over the eye: skin from the lid to the brow is stretched."""
    if blink < 0.02:
        return
    shape = np.clip(1 - (eye.u / EYE_WIDTH) ** 2, 0, 1)
    top = EYE_TOP * shape
    edge = top + float(blink) * (EYE_BOTTOM - EYE_TOP) * shape
    source = BROW + (eye.v - BROW) * (top - BROW) / (edge - BROW)
    lid = (eye.v > BROW) & (eye.v < edge)
    image[eye.area] = eye.warp(image, np.zeros_like(top), np.where(lid, source - eye.v, 0))


def _open(image: np.ndarray, mouth: _Patch, half: float, gap: float, smile: float) -> None:
    """Lowers the lower lip and the jaw, shows the inside of the mouth, moves the corners.

    Args:
        image: changed in place.
        mouth: the patch about the middle of the mouth.
        half: half of the mouth's width.
        gap: how far the lips part in the middle.
        smile: how far the corners go out.
    """
    u, v = mouth.u, mouth.v
    t = np.clip(np.abs(u) / half, 0, 1)
    parted = float(gap) * (1 - t**2) ** 1.5
    between = (v > 0) & (v < parted)
    dv = np.where(between, -v, np.where(v > 0, -parted * ramp(v, JAW_END, 0.15), 0))
    du = np.zeros_like(dv)
    for sign in (-1, 1):
        corner = float(smile) * blob(u, v, (sign * half, 0), (0.15, 0.15))
        du -= sign * corner
        dv += SMILE_RISE * corner
    picture = mouth.warp(image, du, dv).astype(np.float32)
    if gap > 0:
        bright = min(1.2, float(image[mouth.area].mean()) / 128)
        inside = mix(MOUTH_INSIDE[None, None], TEETH, ramp(v, 0.075, 0.045) * ramp(t, 0.85, 0.6))
        edge = np.minimum(v, parted - v) * np.float32(mouth.unit / 1.5)
        picture = mix(picture, bright * inside, np.clip(edge + 0.3, 0, 1) * (parted > 0))
    image[mouth.area] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
