"""The JPEG quality of a face, from its file's quantisation tables or from its pixels.

A JPEG file carries the tables that it was quantised with, and the encoders scale theirs from
the quality by one formula: the quality can be read off. Where the file is gone (a PNG made
from a decoded JPEG, a screenshot), the pixels keep a trace: the DCT coefficients of each 8 x 8
block are still near multiples of the quantisation steps. Each quality predicts its own steps,
and the one under which the coefficients are likeliest is the estimate; a lattice of steps that
no quality explains better than chance gives none. (The idea: Fan and de Queiroz,
Identification of bitmap compression history, IEEE TIP 2003; here as one likelihood over all
frequencies.)

From the pixels of 100 portraits at 380 px, mean absolute error of the quality and how many of
the 100 are exact (`benchmarks/quality_from_pixels.py`; about 4 ms each on one core):

    encoder    95      90      77      60      40      15      10      5
    turbo      0 (100) 0 (100) 0 (100) 0 (100) 0 (100) 0 (100) 0 (100) 0 (100)
    mozjpeg    0 (100) 0 (100) 0 (100) 0 (100) 0 (100) 0 (100) 0 (100) .15 (96)

At 98 and 100 and in crops that were never compressed there is no trace (one exception in 500:
98 taken for 97). Below quality 5, and in images of less than about 100 px, it can be far off.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

from tfforensics.command import DataError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Luminance tables at quality 50, row by row: ITU-T T.81 table K.1, and that of N. Robidoux,
# MozJPEG's default. Chrominance adds nothing, and a greyscale file has none.
_K1 = """
16 11 10 16 24 40 51 61   12 12 14 19 26 58 60 55   14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62   18 22 37 56 68 109 103 77   24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101   72 92 95 98 112 100 103 99"""
_ROBIDOUX = """
16 16 16 18 25 37 56 85   16 17 20 27 34 40 53 75   16 20 24 31 43 62 91 135
18 27 31 40 53 74 106 156   25 34 43 53 69 94 131 189   37 40 62 74 94 124 169 238
56 53 91 106 131 169 226 311   85 75 135 156 189 238 311 418"""
# The frequencies of the first six diagonals: beyond them most coefficients are zero.
_FREQUENCIES = [8 * row + column for row in range(6) for column in range(6 - row)]


@dataclass(frozen=True)
class Quality:
    """An estimated JPEG quality.

    Attributes:
      quality: 1 to 100.
      encoder: whose tables they are; None for tables that are neither's, whose quality is that
        of the most similar table of "turbo".
      confidence: 0 to 1. For an encoder's tables: 1 from the file; from the pixels, the share
        of what the likeliest steps explain, each frequency by itself, that the tables explain.
        For other tables: how similar they are, as the mean factor between steps.
    """

    quality: int
    encoder: Literal["turbo", "mozjpeg"] | None
    confidence: float


def luminance_tables(encoder: str) -> Ints:
    """(100, 64) the tables of qualities 1 to 100, each row by row (not in zigzag order)."""
    base, largest = {"turbo": (_K1, 255), "mozjpeg": (_ROBIDOUX, 32767)}[encoder]
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((np.array(base.split(), int) * scale + 50) // 100, 1, largest)


def from_tables(tables: Mapping[int, Sequence[int]]) -> Quality:
    """The quality that quantisation tables stand for, exact for libjpeg(-turbo) and MozJPEG.

    Args:
      tables: as `PIL.Image.Image.quantization`; the first is the luminance's.
    """
    steps = np.asarray(tables[min(tables)])
    for encoder in ("turbo", "mozjpeg"):
        (exact,) = np.nonzero((luminance_tables(encoder) == steps).all(axis=1))
        if len(exact):
            return Quality(int(exact[0]) + 1, encoder, 1.0)
    return _most_similar(steps[_FREQUENCIES])


def from_file(data: bytes) -> Quality:
    """The quality of a JPEG file by its tables: that of its last compression.

    Raises:
      DataError: not a JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            tables = image.quantization
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"quality: expected a JPEG file, got {len(data)} bytes: {error}") from error
    if not tables:
        raise DataError("quality: expected a JPEG file with quantisation tables, got one without")
    return from_tables(tables)


def _most_similar(steps: Ints, told: npt.NDArray[np.bool_] | slice = slice(None)) -> Quality:
    """The quality of "turbo" whose steps (F,) differ by the smallest factors where told."""
    tables = luminance_tables("turbo")[:, _FREQUENCIES][:, told]
    factor = np.abs(np.log(tables / np.maximum(steps[told], 1))).mean(axis=1)
    return Quality(int(factor.argmin()) + 1, None, float(np.exp(-factor.min())))


# Coefficients are counted in bins of a quarter grey level. Rounding and colour conversion leave
# them within about .35 of their multiple; a share of them is off for other reasons (clipped
# colours, smoothed chrominance), and those within 1.5 of zero tell nothing: every step fits.
_BIN, _SPREAD, _STRAY, _ZERO = 0.25, 0.5, 0.3, 1.5
_BINS = int(1024 / _BIN) + 1
# Nats a coefficient below which a lattice is no better than none: never compressed, or at 98
# and above, or resized or compressed as video since.
_LEAST_GAIN = 0.015
# The share of what freely chosen steps explain below which no encoder's steps are believed.
_LEAST_SHARE = 0.5


def from_pixels(pixels: npt.NDArray[np.uint8]) -> Quality | None:
    """The quality of the last JPEG compression that left its trace in an image.

    After two compressions on the same grid it is the second that is found, unless its steps
    are fine enough to leave those of the first standing (15, then 95 gives 15).

    Args:
      pixels: uint8 (H, W, 3) RGB or (H, W), decoded; the blocks may start at any pixel.

    Returns:
      None where there is no trace: never compressed, at 98 and above, or resized or compressed
      as video since.
    """
    rgb = pixels if pixels.ndim == 3 else pixels[..., None]
    weight = [0.299, 0.587, 0.114] if rgb.shape[2] == 3 else [1.0]
    luminance = rgb.astype(np.float32) @ np.array(weight, np.float32)
    # A clipped colour has moved the coefficients of its whole block.
    clipped = ((rgb == 0) | (rgb == 255)).any(axis=2)
    grids = dict.fromkeys([(0, 0), (_phase(luminance.T), _phase(luminance))])
    gains = [_gain_by_step(luminance[y:, x:], clipped[y:, x:]) for y, x in grids]
    gain = max(gains, key=lambda gain: gain.max(axis=1).sum())
    likeliest = gain.max(axis=1)
    if likeliest.sum() < _LEAST_GAIN:
        return None
    _, steps, index = _likelihood()
    by_quality = np.take_along_axis(gain.T, index, axis=0).sum(axis=1)
    best = int(by_quality.argmax())
    share = float(by_quality[best] / likeliest.sum())
    if share < _LEAST_SHARE:
        return _most_similar(steps[gain.argmax(axis=1)], likeliest > 0.01 * likeliest.sum())
    return Quality(best % 100 + 1, "turbo" if best < 100 else "mozjpeg", share)


def _phase(luminance: Floats) -> int:
    """0 to 7: the column at which blocks start, by the jumps between columns, seen across rows."""
    jump = np.abs(np.diff(luminance, axis=1)).mean(axis=0)
    excess = jump[1:-1] - (jump[:-2] + jump[2:]) / 2  # of the jump from column i + 1 to i + 2
    if len(excess) < 8:
        return 0
    rows = excess[: len(excess) // 8 * 8].reshape(-1, 8)
    return int((np.median(rows, axis=0).argmax() + 2) % 8)


def _gain_by_step(luminance: Floats, clipped: npt.NDArray[np.bool_]) -> Floats:
    """(F, S) log-likelihood gain of each step at each frequency, per coefficient that tells."""
    table, _, _ = _likelihood()
    height, width = (side // 8 for side in luminance.shape)
    blocks = luminance[: 8 * height, : 8 * width].reshape(height, 8, width, 8)
    whole = ~clipped[: 8 * height, : 8 * width].reshape(height, 8, width, 8).any(axis=(1, 3))
    centred = blocks.transpose(0, 2, 1, 3)[whole] - np.float32(128)
    coefficients = dctn(centred, axes=(1, 2), norm="ortho").reshape(-1, 64)[:, _FREQUENCIES]
    bins = np.minimum(np.rint(np.abs(coefficients) / _BIN).astype(np.int64), _BINS - 1)
    bins += _BINS * np.arange(len(_FREQUENCIES))
    counts = np.bincount(bins.ravel(), minlength=_BINS * len(_FREQUENCIES))
    histogram = counts.reshape(len(_FREQUENCIES), _BINS).astype(np.float32)
    return histogram @ table / max(1.0, histogram[:, int(_ZERO / _BIN) :].sum())


@cache
def _likelihood() -> tuple[Floats, Ints, Ints]:
    """The gain (bins, S) of the distinct steps (S,), and the index (200, F) of each quality's.

    A coefficient c quantised with step s has the density of unquantised ones times
    s * N(distance of c to the nearest multiple of s; 0, spread).
    """
    tables = np.concatenate([luminance_tables(encoder) for encoder in ("turbo", "mozjpeg")])
    # Every coefficient is below 1024, so that larger steps are as good as 2048: all zeros.
    step, index = np.unique(np.minimum(tables[:, _FREQUENCIES], 2048), return_inverse=True)
    coefficient = _BIN * np.arange(_BINS)[:, None]
    distance = (coefficient + step / 2) % step - step / 2
    density = sum(
        np.exp(-0.5 * ((distance + turn * step) / _SPREAD) ** 2) for turn in (-2, -1, 0, 1, 2)
    ) / (_SPREAD * np.sqrt(2 * np.pi))
    gain = np.log((1 - _STRAY) * step * density + _STRAY)
    gain[coefficient[:, 0] < _ZERO] = 0
    return gain.astype(np.float32), step, index.reshape(200, len(_FREQUENCIES))
