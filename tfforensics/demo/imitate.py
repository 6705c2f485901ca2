"""Imitations of the four manipulations of FaceForensics++.

They leave traces of the same kinds (a blended border, a colour that does not fit, a face
that is too smooth, the grid of an upsampling decoder), drawn by a few lines of image
processing. They are NOT the manipulations: no network was trained, no 3-D model was fitted.
A detector that finds these has not been shown to find those.

Each changes the target's face only. Sensor noise is added after it, to real and imitated
frames alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from tfforensics.demo.animate import Frame
from tfforensics.demo.field import Field, blur, mix, ramp

# An upright face in a unit square: where the landmarks of Portrait.landmarks are.
TEMPLATE = np.array(
    [[0.33, 0.37], [0.67, 0.37], [0.50, 0.56], [0.37, 0.745], [0.63, 0.745]], np.float32
)


@dataclass(frozen=True)
class Style:
    """What one manipulated clip's traces are like; the same for all of its frames.

    Attributes:
        tint: (3,) float32, RGB grey levels by which the colour is off.
        strength: about 1; factor on whatever the imitation does.
        tile: (4, 4) float32, zero mean, unit variance: the decoder's grid.
    """

    tint: np.ndarray
    strength: float
    tile: np.ndarray


@dataclass(frozen=True)
class Shot:
    """One moment, and what an imitation can put into it.

    Attributes:
        scene: the target as it is.
        source: the source at that moment of its own clip.
        acted: the target in its own pose with the source's expression.
    """

    scene: Frame
    source: Frame
    acted: Frame


def sample_style(rng: np.random.Generator) -> Style:
    """Draws the traces of one clip."""
    tint = rng.normal(0, 4, 3) + rng.choice([-1, 1]) * rng.uniform(3, 9)
    tile = rng.standard_normal((4, 4))
    tile = (tile - tile.mean()) / tile.std()
    strength = float(rng.uniform(0.85, 1.15))
    return Style(tint.astype(np.float32), strength, tile.astype(np.float32))


def deepfakes(shot: Shot, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The source's face as a 64-pixel decoder would give it, in a soft ellipse.

    The face is aligned to a template, reduced to 64 x 64, smoothed, brought near the target's
    mean colour but not quite, enlarged into place and blended.
    """
    side = 64
    small = cv2.resize(_cut(shot.source, 2 * side), (side, side), interpolation=cv2.INTER_AREA)
    small = cv2.bilateralFilter(small, 5, 18 * style.strength, 2)
    small = cv2.GaussianBlur(small, (0, 0), 0.6 * style.strength)
    face = _match(small, _cut(shot.scene, side), share=0.9) + style.tint
    cover = ramp(_ellipse(side, (0.5, 0.56), (0.36, 0.42)), 1.0, 0.72)
    return _paste(shot.scene, face, cover, rng, shake=0.4)


def faceswap(shot: Shot, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The source's face, brow to chin, warped onto the target's landmarks and blended.

    A mask as a hull of landmarks gives it, with a narrow border; the colour is shifted part
    of the way to the target's, so light and complexion differ from the skin around.
    """
    side = 192
    face = _match(_cut(shot.source, side), _cut(shot.scene, side), share=0.8) + 0.8 * style.tint
    return _paste(shot.scene, face, _hull(side), rng, shake=0.7)


def face2face(shot: Shot, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The target with the source's expression, rendered again.

    The face goes through a texture that is a little too coarse and flat, as a fitted model's.
    """
    side = 128
    texture: Field = _cut(shot.acted, side).astype(np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), 0.6 * style.strength)
    smooth = blur(texture, side / 10)
    face = smooth + 0.9 * (texture - smooth) + 0.3 * style.tint
    cover = ramp(_ellipse(side, (0.5, 0.58), (0.335, 0.40)), 1.0, 0.88)
    return _paste(shot.scene, face, cover, rng, shake=0.2)


def neural_textures(shot: Shot, style: Style, rng: np.random.Generator) -> np.ndarray:
    """The target's lower face with the source's mouth, as an upsampling decoder would give it.

    The region is reduced to a third and enlarged by repeating pixels and smoothing too
    little; a faint pattern with a period of four pixels stays on it, as two transposed
    convolutions of stride 2 leave it.
    """
    side = 192
    fine = _cut(shot.acted, side)
    coarse = cv2.resize(fine, (side // 3, side // 3), interpolation=cv2.INTER_AREA)
    blocks = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
    face: Field = cv2.GaussianBlur(blocks, (0, 0), 0.9).astype(np.float32)
    grid = np.tile(style.tile, (side // 4, side // 4))[..., None]
    face = face * (1 + 0.03 * style.strength * grid) + 0.15 * style.tint
    cover = ramp(_ellipse(side, (0.5, 0.745), (0.27, 0.205)), 1.0, 0.75)
    return _paste(shot.scene, face, cover, rng, shake=0.2)


def _ellipse(side: int, center: tuple[float, float], radii: tuple[float, float]) -> Field:
    """Over the template: 0 at the centre, 1 on the ellipse, more outside."""
    index = ((np.arange(side) + 0.5) / side).astype(np.float32)
    x, y = index[None, :] - center[0], index[:, None] - center[1]
    return np.hypot(x / radii[0], y / radii[1])


@cache
def _hull(side: int) -> Field:
    """Over the template: 1 inside brows, cheeks and chin, with a narrow border to 0."""
    half = [(0.5, 0.27), (0.58, 0.25), (0.70, 0.235), (0.80, 0.30), (0.815, 0.50), (0.75, 0.74),
            (0.64, 0.89), (0.5, 0.945)]  # fmt: skip
    corners = np.array(half + [(1 - x, y) for x, y in reversed(half)]) * side
    cover = np.zeros((side, side), np.float32)
    cv2.fillPoly(cover, [corners.round().astype(np.int32)], 1.0, cv2.LINE_AA)
    return cv2.GaussianBlur(cover, (0, 0), side / 74)


def _to_template(landmarks: np.ndarray, side: int) -> np.ndarray:
    """(2, 3): the affine map from frame pixels to template pixels, by least squares."""
    known = np.hstack([landmarks, np.ones((5, 1), np.float32)])
    wanted = TEMPLATE * side - 0.5
    # The nose moves most as the head turns, the mouth as it speaks: the eyes lead.
    weight = np.array([1, 1, 0.3, 0.7, 0.7])[:, None]
    return np.linalg.lstsq(known * weight, wanted * weight, rcond=None)[0].T


def _cut(frame: Frame, side: int) -> np.ndarray:
    """The face aligned to the template, (side, side, 3) uint8."""
    align = _to_template(frame.landmarks, side)
    return cv2.warpAffine(frame.image, align, (side, side), borderMode=cv2.BORDER_REPLICATE)


def _match(face: np.ndarray, like: np.ndarray, share: float) -> Field:
    """`face` as float32, its colours' mean and spread moved a share of the way to `like`'s."""
    quarter = face.shape[0] // 4
    middle = (slice(quarter, -quarter), slice(quarter, -quarter))
    mean, spread = cv2.meanStdDev(face[middle])
    other_mean, other_spread = cv2.meanStdDev(like[middle])
    scale = np.clip(1 + share * (other_spread / (spread + 1) - 1), 0.6, 1.25)
    shift = mean + share * (other_mean - mean) - mean * scale
    return face * scale[:, 0].astype(np.float32) + shift[:, 0].astype(np.float32)


def _paste(
    target: Frame, face: Field, cover: Field, rng: np.random.Generator, *, shake: float
) -> np.ndarray:
    """The target's frame with a face put in.

    Args:
        target: the frame.
        face: (side, side, 3) RGB over the template.
        cover: (side, side) in 0..1, where the face is.
        rng: moves the face a little, anew in each frame.
        shake: by how many pixels (standard deviation).
    """
    side = face.shape[0]
    back: np.ndarray = cv2.invertAffineTransform(_to_template(target.landmarks, side))
    back[:, 2] += rng.normal(0, shake, 2)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ back.T
    limit = np.array(target.image.shape[1::-1])
    left, top = np.clip(np.floor(corners.min(0)), 0, limit - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(0)), 1, limit).astype(int).tolist()
    back[:, 2] -= [left, top]
    area, shape = (slice(top, bottom), slice(left, right)), (right - left, bottom - top)
    put = cv2.warpAffine(face, back, shape, borderMode=cv2.BORDER_REPLICATE)
    where = cv2.warpAffine(cover, back, shape)
    image = target.image.copy()
    blended = mix(image[area].astype(np.float32), put, where)
    image[area] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
    return image


Imitation = Callable[[Shot, Style, np.random.Generator], np.ndarray]

# By the name of what is imitated; each gives the scene's image, (size, size, 3) uint8 RGB, with
# the face changed. The random numbers are for this frame alone.
IMITATIONS: dict[str, Imitation] = {
    "Deepfakes": deepfakes,
    "Face2Face": face2face,
    "FaceSwap": faceswap,
    "NeuralTextures": neural_textures,
}
