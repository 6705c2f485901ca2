"""A photograph as a portrait: cut about its face, with landmarks found and a depth guessed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tfforensics.command import DataError
from tfforensics.demo.field import Field, blob, ramp
from tfforensics.demo.portrait import Portrait
from tfforensics.media import read_image

if TYPE_CHECKING:
    from tfforensics.detection import FaceDetector

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# A portrait's side over a frame's: it has more pixels, so that moving it does not blur it much.
SCALE = 1.25
# As the drawn portraits have it: distance between the eyes and place of their middle, as
# shares of the picture's side.
EYES_APART, EYES_AT = 0.174, (0.5, 0.45)


def find(folder: Path) -> list[Path]:
    """The photographs in a folder and below, in the order of their paths."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def load(path: Path, detector: FaceDetector, size: int) -> Portrait:
    """Reads a photograph of one person.

    Args:
        path: an image file; its orientation is honoured.
        detector: finds the face; the largest is taken.
        size: width and height of the portrait in pixels.

    Raises:
        DataError: it is not an image, or no face is found in it.
    """
    image = read_image(path)
    # Detection takes its time by the pixel, and a portrait's face is not small.
    shrink = min(1.0, 512 / max(image.shape[:2]))
    small: np.ndarray = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    [faces] = detector.detect([small])
    if not faces:
        raise DataError(f"{path}: no face found")
    landmarks = max(faces, key=lambda face: face.box[2] * face.box[3]).landmarks / shrink
    return _cut(image, landmarks, size)


def _cut(image: np.ndarray, landmarks: np.ndarray, size: int) -> Portrait:
    """The square that shows the face at the usual size, or as near to it as the picture goes."""
    within = np.array(image.shape[1::-1])
    wanted = float(np.linalg.norm(landmarks[1] - landmarks[0])) / EYES_APART
    side = min(round(wanted), *within)
    corner = landmarks[:2].mean(axis=0) - side * np.array(EYES_AT)
    left, top = np.clip(corner.round().astype(int), 0, within - side)
    square = image[top : top + side, left : left + side]
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    points = (landmarks - [left, top] + 0.5) * (size / side) - 0.5
    scaled = cv2.resize(square, (size, size), interpolation=interpolation)
    return Portrait(scaled, _depth(points, size), points.astype(np.float32))


def _depth(landmarks: np.ndarray, size: int) -> Field:
    """An egg for the head, a bump for the nose, a board for the shoulders."""
    across = landmarks[1] - landmarks[0]
    unit = np.linalg.norm(across)
    cos, sin = across / unit
    middle = landmarks[:2].mean(axis=0)
    index = np.arange(size, dtype=np.float32)
    dx, dy = (index - np.float32(middle[0]))[None, :], (index - np.float32(middle[1]))[:, None]
    u = ((cos * dx + sin * dy) / unit).astype(np.float32)
    v = ((cos * dy - sin * dx) / unit).astype(np.float32)
    r = (u / 1.25) ** 2 + ((v - 0.35) / 1.8) ** 2
    head = 0.75 * np.sqrt(np.clip(1 - r, 0, None)) + 0.2 * ramp(r, 1.1, 0.8)
    nose = (landmarks[2] - middle) @ np.array([[cos, -sin], [sin, cos]]) / unit
    head += 0.15 * blob(u, v, (float(nose[0]), float(nose[1])), (0.16, 0.25))
    body = 0.3 * ramp(v, 1.5, 2.3) * ramp(np.abs(u), 3.4, 2.2)
    return np.maximum(head, body).astype(np.float32)
