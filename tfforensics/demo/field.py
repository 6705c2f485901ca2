"""Scalar fields over a picture: the brushes that a portrait is drawn with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Field = np.ndarray  # float32; (H, W), or (H, W, 3) for colours


@dataclass(frozen=True)
class Canvas:
    """Where each pixel lies on a person.

    Attributes:
        x: (H, W) float32, to the right, in units (see person.py), 0 between the eyes.
        y: (H, W) float32, downwards, likewise.
        unit: pixels in a unit.
    """

    x: Field
    y: Field
    unit: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x.shape[0], self.x.shape[1]

    def cover(self, inside: Field) -> Field:
        """1 where a distance to an outline (units, positive inside) is in, smooth over a pixel."""
        return np.clip(inside * np.float32(self.unit) + np.float32(0.5), 0, 1)

    def rows(self, low: float, high: float) -> tuple[slice, Canvas]:
        """The rows with y from `low` to `high`, and the part of the canvas in them."""
        found = np.flatnonzero((self.y[:, 0] >= low) & (self.y[:, 0] <= high))
        band = slice(int(found[0]), int(found[-1]) + 1)
        return band, Canvas(self.x[band], self.y[band], self.unit)


def blob(
    x: Field, y: Field, center: tuple[float, float], size: tuple[float, float], tilt: float = 0.0
) -> Field:
    """A Gaussian of height 1: `size` is its standard deviation along x and y, turned by `tilt`."""
    dx, dy = x - np.float32(center[0]), y - np.float32(center[1])
    if tilt:
        c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    return np.exp(-0.5 * ((dx / np.float32(size[0])) ** 2 + (dy / np.float32(size[1])) ** 2))


def line(distance: Field, width: float) -> Field:
    """A stroke of height 1 where `distance` is 0: a Gaussian with that standard deviation."""
    return np.exp(-0.5 * (distance / np.float32(width)) ** 2)


def ramp(value: Field, low: float | Field, high: float | Field) -> Field:
    """0 at `low`, 1 at `high` (which may be the smaller one), with level ends (smoothstep)."""
    start = np.asarray(low, np.float32)
    t = np.clip((value - start) / (np.asarray(high, np.float32) - start), 0, 1)
    return t * t * (3 - 2 * t)


def mix(below: Field, above: Field, cover: Field) -> Field:
    """`above` over `below` by coverage (H, W) in 0..1; colours (H, W, 3) or (3,), or fields."""
    return below + (cover[..., None] if below.ndim == 3 else cover) * (above - below)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur; `sigma` in pixels, worked out at a smaller size where that shows nothing."""
    shrink = max(1, int(sigma / 2))
    if shrink == 1:
        return cv2.GaussianBlur(field, (0, 0), sigma)
    height, width = field.shape[:2]
    small = cv2.resize(field, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def noise(
    rng: np.random.Generator, shape: tuple[int, int], lumps: float, octaves: int = 1
) -> Field:
    """Smooth noise of mean 0 and about unit variance.

    Args:
        rng: where it comes from.
        shape: height and width.
        lumps: how many across the picture in the first octave; twice as many in each next.
        octaves: each has half the amplitude of the one before.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        across = min(lumps * 2**octave, width)
        cells = max(2, round(across * height / width)) + 2, max(2, round(across)) + 2
        grid = rng.standard_normal(cells, np.float32)
        lumpy = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += np.float32(0.5**octave) * lumpy
    # Interpolation takes about a third of the deviation.
    return total * np.float32(1.5 / np.sqrt(sum(0.25**octave for octave in range(octaves))))


def strands(
    rng: np.random.Generator, across: Field, along: Field, count: float, wave: float = 0.0
) -> Field:
    """Hair: noise of about unit variance, fast with `across` and slow with `along`.

    Args:
        rng: where it comes from.
        across: (H, W), a coordinate that is constant along a strand.
        along: (H, W), a coordinate along the strands.
        count: strands in a unit of `across`.
        wave: how far a strand swings, in units of `across`.
    """
    tile = rng.standard_normal((32, 512), np.float32)
    tile += cv2.resize(tile[::2, ::2], (512, 32), interpolation=cv2.INTER_LINEAR)
    swung = across + np.float32(wave) * np.sin(9 * along + 3 * across)
    return cv2.remap(
        tile * np.float32(0.8),
        (swung * np.float32(count)).astype(np.float32),
        (along * np.float32(5)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
