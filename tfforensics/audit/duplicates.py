"""One image in two splits, however it was encoded: perceptual hashes, then the pixels.

A hash is the signs of the lowest 16 x 16 frequencies of a thumbnail against their median, which
re-encoding, resizing and brightness leave nearly as they are. Crops of different people that
are aligned alike come closer than other images do, so what is close by its hash must be alike
by its pixels, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

from tfforensics.audit import Check
from tfforensics.clips import SPLITS

if TYPE_CHECKING:
    from tfforensics.audit.read import Seen

Floats = npt.NDArray[np.float32]

SIDE = 64  # of a thumbnail
FURTHEST = 48  # of 256 bits
ALIKE = 0.98  # correlation of two thumbnails without their coarse shading
_BLOCK = 4096


def thumbnail(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Grey, float32 (SIDE, SIDE)."""
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def signs(thumbnails: Floats) -> Floats:
    """(N, 256) the hashes of thumbnails (N, SIDE, SIDE) as +1 and -1."""
    low = dctn(thumbnails, axes=(1, 2), norm="ortho")[:, :16, :16].reshape(len(thumbnails), -1)
    return np.where(low > np.median(low, axis=1, keepdims=True), 1, -1).astype(np.float32)


def check(seen: Sequence[Seen]) -> Check:
    """Looks for canonical crops of two splits that show the same image."""
    faces = [face for face in seen if face.thumbnail is not None]
    images = np.stack([face.thumbnail for face in faces if face.thumbnail is not None])
    hashes, details = signs(images), _details(images)
    split = np.array([face.split for face in faces])
    found = []
    for first, second in combinations(SPLITS, 2):
        (a,), (b,) = np.nonzero(split == first), np.nonzero(split == second)
        for start in range(0, len(a), _BLOCK):
            rows = a[start : start + _BLOCK]
            # Of +1 and -1 the product is 256 less twice the bits that differ.
            close = np.argwhere(hashes[rows] @ hashes[b].T >= 256 - 2 * FURTHEST)
            for i, j in close:
                one, other = faces[rows[i]], faces[b[j]]
                if float(details[rows[i]] @ details[b[j]]) >= ALIKE:
                    found.append(f"{_where(one)} is the image of {_where(other)}")
    return Check(
        "near-duplicates",
        "failed" if found else "passed",
        f"{len(found)} pairs of near-duplicates between splits among {len(faces):,} faces",
        tuple(found),
    )


def _details(images: Floats) -> Floats:
    """(N, P) thumbnails without their coarse shading, of length 1."""
    coarse = np.stack([cv2.GaussianBlur(image, (0, 0), 4) for image in images])
    flat = (images - coarse).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _where(face: Seen) -> str:
    return f"{face.manipulation}/{face.clip} frame {face.frame} in {face.split}"
