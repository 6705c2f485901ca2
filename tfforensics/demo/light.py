"""Light on a relief: what turns a height field and its colours into a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tfforensics.demo.field import Field, blur
from tfforensics.demo.person import Rgb


@dataclass(frozen=True)
class Layer:
    """Something seen from the front, before light falls on it.

    Attributes:
        color: (H, W, 3) float32, linear reflectance in 0..1.
        height: (H, W) float32, towards the viewer, in units.
        cover: (H, W) float32, 1 where the layer is, with smooth edges.
        gloss: (H, W) float32 or a number, strength of the highlight.
    """

    color: Field
    height: Field
    cover: Field
    gloss: Field | float


@dataclass(frozen=True)
class Light:
    """One key light and an even sky.

    Attributes:
        direction: unit vector towards the key light: right, down, to the viewer.
        key: its colour and strength, linear.
        sky: that of the light from everywhere, linear.
    """

    direction: tuple[float, float, float]
    key: Rgb
    sky: Rgb


def sample_light(rng: np.random.Generator) -> Light:
    """A key light from above and some side, and the share of light that comes from the sky."""
    azimuth = float(np.clip(rng.normal(0, 0.7), -1.2, 1.2))
    elevation = float(rng.uniform(0.15, 0.75))
    warm = float(rng.uniform(-0.08, 0.12))
    sky = float(rng.uniform(0.22, 0.45))
    key = 1.3 - sky
    return Light(
        direction=(
            float(np.sin(azimuth) * np.cos(elevation)),
            float(-np.sin(elevation)),
            float(np.cos(azimuth) * np.cos(elevation)),
        ),
        key=(key * (1 + warm), key, key * (1 - warm)),
        sky=(sky * (1 - warm / 2), sky, sky * (1 + warm / 2)),
    )


def linear(color: Rgb) -> Field:
    """sRGB in 0..1 -> linear light, (3,) float32, with the curve taken as a power of 2.2."""
    return np.array(color, np.float32) ** np.float32(2.2)


def shade(layer: Layer, light: Light, unit: float, *, wander: float = 0.0) -> Field:
    """The layer's light towards the viewer, (H, W, 3) float32, linear.

    Diffuse light that wraps a little around the edge, shadows that the relief casts on
    itself, an even sky that reaches hollows less, and a highlight (Blinn's half vector).

    Args:
        layer: what is lit.
        light: what lights it.
        unit: pixels in a unit.
        wander: how far red light goes below the surface before it comes out, in units; green
            and blue go a third of it. It is what tells skin from plaster.
    """
    slope_x = cv2.Sobel(layer.height, cv2.CV_32F, 1, 0, ksize=3, scale=unit / 8)
    slope_y = cv2.Sobel(layer.height, cv2.CV_32F, 0, 1, ksize=3, scale=unit / 8)
    length = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)

    def facing(x: float, y: float, z: float) -> Field:
        return (z - slope_x * x - slope_y * y) * length

    right, down, near = light.direction
    direct = np.clip((facing(right, down, near) + 0.15) / 1.15, 0, None)
    direct *= _reached(layer.height, light, unit)
    hollow = blur(layer.height, 0.10 * unit) + 1.5 * blur(layer.height, 0.03 * unit)
    openness = np.clip(1 - 5 * (hollow - 2.5 * layer.height), 0.35, 1.15)
    openness *= 0.8 - 0.2 * slope_y * length

    norm = float(np.hypot(np.hypot(right, down), near + 1))
    mirror = np.clip(facing(right / norm, down / norm, (near + 1) / norm), 0, 1)
    shine = (0.8 * mirror**28 + 0.2 * mirror**7) * layer.gloss * np.minimum(direct, 1)

    far, little = direct, direct
    if wander:
        far, little = blur(direct, wander * unit), blur(direct, wander * unit / 3)
    channels = [
        layer.color[..., i] * (key * spread + sky * openness) + key * shine
        for i, (key, sky, spread) in enumerate(
            zip(light.key, light.sky, (far, little, little), strict=True)
        )
    ]
    return np.stack(channels, axis=-1)


def _reached(height: Field, light: Light, unit: float) -> Field:
    """1 where the key light reaches the relief, 0 where higher ground is in its way; soft.

    From each point a ray is walked towards the light, at a third of the size.
    """
    shrink = 3
    rows, columns = height.shape
    small = cv2.resize(height, (columns // shrink, rows // shrink), interpolation=cv2.INTER_AREA)
    step = np.array(light.direction) / max(abs(light.direction[0]), abs(light.direction[1]))
    above = np.full_like(small, -1)
    for k in range(1, 24):
        shift = np.array([[1, 0, -k * step[0]], [0, 1, -k * step[1]]])
        ground = cv2.warpAffine(small, shift, small.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        np.maximum(above, ground - small - np.float32(k * step[2] * shrink / unit), out=above)
    reached = blur(1 - np.clip(above / np.float32(0.04), 0, 1), 1.2)
    return cv2.resize(reached, (columns, rows), interpolation=cv2.INTER_LINEAR)
