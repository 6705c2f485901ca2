"""JPEG levels and qualities, the two encoders, decoding, PSNR and SSIM.

A level `cNN` stands for quality = 100 - NN; `c0` is the canonical crop, near-lossless. Every
other level is made from the pixels that the canonical record decodes to.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from tfforensics.command import UsageError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

# Every command reads the names of levels below; NumPy and Pillow are imported where they work.

Level = Literal["c0", "c23", "c40", "c85", "c90", "c95"]
Encoder = Literal["turbo", "mozjpeg"]
Subsampling = Literal["4:2:0", "4:4:4"]
LEVELS: tuple[Level, ...] = get_args(Level)
ENCODERS: tuple[Encoder, ...] = get_args(Encoder)

# 48 dB PSNR at 64% of the bytes of quality 100, over ten portraits at 380 px.
CANONICAL_QUALITY = 98


def quality_of(level: str) -> int:
    """The JPEG quality of a level: 77 of "c23", 100 of "c0" (which is not compressed again).

    Raises:
        UsageError: not one of LEVELS.
    """
    if level not in LEVELS:
        raise UsageError(f"level: expected one of {', '.join(LEVELS)}, got {level!r}")
    return 100 - int(level[1:])


def encode_canonical(pixels: np.ndarray) -> bytes:
    """Encodes a canonical crop: 4:4:4, baseline with optimal Huffman tables, near-lossless.

    Baseline because progressive files take about three times as long to decode, and this
    one is decoded at every training step.

    Args:
        pixels: uint8 (H, W, 3) RGB.
    """
    return _pillow(pixels, quality=CANONICAL_QUALITY, subsampling="4:4:4", optimize=True)


def encode(
    pixels: np.ndarray, quality: int, encoder: str = "turbo", subsampling: Subsampling = "4:2:0"
) -> bytes:
    """Compresses a face as `encoder` does at `quality`.

    Args:
        pixels: uint8 (H, W, 3) RGB.
        quality: 1 to 100.
        encoder: "turbo", libjpeg-turbo as Pillow and TensorFlow have it, rewritten without
            loss to fewer bytes; or "mozjpeg", MozJPEG 4.0.3 with its own tables and trellis
            quantisation.
        subsampling: of the chrominance; "4:2:0" at every level.

    Raises:
        UsageError: unknown encoder, or a quality out of range.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"quality: expected 1 to 100, got {quality}")
    if encoder == "turbo":
        import mozjpeg_lossless_optimization

        plain = _pillow(pixels, quality=quality, subsampling=subsampling)
        return mozjpeg_lossless_optimization.optimize(plain)
    if encoder == "mozjpeg":
        return _mozjpeg(pixels, quality, subsampling)
    raise UsageError(f"encoder: expected one of {', '.join(ENCODERS)}, got {encoder!r}")


def decode(data: bytes) -> np.ndarray:
    """Decodes a JPEG to uint8 (H, W, 3) RGB, bit for bit as `decode_in_graph` does."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB"))


def decode_in_graph(data: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG (scalar string) to uint8 (H, W, 3) RGB as a TensorFlow op.

    The accurate inverse DCT: TensorFlow's default one is up to 4 grey levels off.
    """
    import tensorflow as tf

    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def degrade_in_graph(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Compresses and decodes a face as a TensorFlow op: `decode(encode(image, quality))`.

    Args:
        image: uint8 (H, W, 3) RGB.
        quality: int32 scalar, 1 to 100; the encoder is "turbo".
    """
    import tensorflow as tf

    return decode_in_graph(tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality))


def psnr(reference: np.ndarray, image: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images; infinite where they are equal."""
    import numpy as np

    error = np.mean((reference.astype(np.float64) - image.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def ssim(reference: np.ndarray, image: np.ndarray) -> float:
    """Structural similarity of uint8 RGB images, the mean over channels, at most 1.

    Wang et al., Image quality assessment (IEEE TIP 2004): Gaussian window with sigma 1.5 over
    11 x 11 pixels, K1 = .01, K2 = .03, population (co)variances; windows that stick out are
    left out of the mean.
    """
    import numpy as np
    from scipy.ndimage import gaussian_filter

    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (1.5, 1.5, 0), truncate=5 / 1.5)[5:-5, 5:-5]

    x, y = reference.astype(np.float64), image.astype(np.float64)
    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    cov = smooth(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(similarity.mean())


def _pillow(pixels: np.ndarray, **options: object) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


def _mozjpeg(pixels: np.ndarray, quality: int, subsampling: Subsampling) -> bytes:
    import jpeglib
    import numpy as np

    image = jpeglib.from_spatial(np.ascontiguousarray(pixels))
    image.samp_factor = subsampling

    # jpeglib writes to a path only, and does not tell of a disk that is full.
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        with jpeglib.version("mozjpeg403"):
            image.write_spatial(file.name, qt=quality)
        data = Path(file.name).read_bytes()
    if not data.endswith(b"\xff\xd9"):
        raise OSError(f"{file.name}: MozJPEG's output is cut off; is the disk full?")
    return data
