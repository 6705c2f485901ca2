"""Faces and attention maps as small JPEG files, for reports."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tfforensics.media import Pixels

_SIDE = 160  # pixels


@dataclass(frozen=True)
class Picture:
    """A face of a report.

    Attributes:
        frame: its number in the file.
        seconds: its time.
        probability: of this face alone.
        face: JPEG file.
        attention: JPEG files, a map each; empty where the model has none.
    """

    frame: int
    seconds: float
    probability: float
    face: bytes
    attention: tuple[bytes, ...] = ()


def small(face: Pixels) -> bytes:
    """A face, uint8 (S, S, 3), as a JPEG file."""
    resized = cv2.resize(face, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    bgr = np.ascontiguousarray(resized[..., ::-1])
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1])


def overlays(face: Pixels, maps: np.ndarray) -> tuple[bytes, ...]:
    """Each of the maps (h, w, M) over the face, relative to its own maximum."""
    found = []
    for number in range(maps.shape[-1]):
        one = np.maximum(maps[..., number].astype(np.float32), 0)
        one = cv2.resize(one / max(float(one.max()), 1e-12), face.shape[1::-1])
        heat = cv2.applyColorMap(np.uint8(255 * np.clip(one, 0, 1)), cv2.COLORMAP_MAGMA)
        mixed = 0.5 * face.astype(np.float32) + 0.5 * heat[..., ::-1].astype(np.float32)
        found.append(small(mixed.astype(np.uint8)))
    return tuple(found)
