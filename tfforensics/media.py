"""Image and video files: what a file is, what it may cost, and images -> RGB.

What a file is, its first bytes say, never its name: text that is called .mp4, a playlist
that points elsewhere, or an image format that nobody asked for reaches no decoder.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tfforensics.command import DataError

Pixels = NDArray[np.uint8]
Kind = Literal["image", "video", "unsupported", "unknown"]

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
VIDEO_FORMATS = ("MP4/MOV", "Matroska/WebM", "AVI", "MPEG-TS", "MPEG-PS", "FLV", "WMV")
# Transparent pixels are shown on white, as a page shows them.
BACKDROP = (255, 255, 255, 255)

# The first bytes of a file, far enough for the second packet of a transport stream.
_HEAD = 400
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BMP_HEADERS = (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0", b"\x7c\0\0\0")
_MATROSKA = b"\x1a\x45\xdf\xa3"
_MPEG_PS = b"\x00\x00\x01\xba"
_FLV = b"FLV\x01"
_WMV = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_GIF = b"GIF8"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
# Still images that share MP4's first box: HEIF and AVIF.
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")


class MediaError(DataError):
    """A file that gives no frames; the message names it.

    Attributes:
      reason: one of "unreadable", "empty-file", "not-an-image", "not-a-video",
        "unsupported-format", "too-large", "too-long", "truncated", "damaged", "no-frames".
    """

    def __init__(self, source: str, reason: str, detail: str) -> None:
        super().__init__(source, reason, detail)
        self.reason = reason

    def __str__(self) -> str:
        source, reason, detail = self.args
        return f"{source}: {reason} ({detail})"


@dataclass(frozen=True)
class Limits:
    """What one file may cost.

    Attributes:
      pixels: width x height of an image or of a video's frames, checked before any pixel of
        them is asked for.
      frames: length of a video.
      seconds: wall-clock time for one pass over a video.
    """

    pixels: int = 64_000_000
    frames: int = 250_000
    seconds: float = 900.0


LIMITS = Limits()


def read_head(path: Path) -> bytes:
    """The bytes by which `kind_of` tells files apart.

    Raises:
      MediaError: "unreadable", "empty-file".
    """
    try:
        # A pipe would wait for a writer, a device may have no end.
        if path.exists() and not path.is_file():
            raise MediaError(str(path), "unreadable", "not a regular file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise MediaError(str(path), "unreadable", error.strerror or str(error)) from None
    if not head:
        raise MediaError(str(path), "empty-file", "0 bytes")
    return head


def kind_of(head: bytes) -> Kind:
    """What a file is by its first bytes.

    "image" is one of IMAGE_FORMATS, "video" one of VIDEO_FORMATS; "unsupported" is an image
    format that is known but not read here (GIF, HEIF, AVIF).
    """
    if head.startswith((_JPEG, _PNG, *_TIFF)) or (
        head.startswith(b"BM") and head[14:18] in _BMP_HEADERS
    ):
        return "image"
    if head.startswith(b"RIFF"):
        riff: dict[bytes, Kind] = {b"WEBP": "image", b"AVI ": "video"}
        return riff.get(head[8:12], "unknown")
    if head.startswith(_GIF) or (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS):
        return "unsupported"
    if is_mp4(head) or head.startswith((_MATROSKA, _MPEG_PS, _FLV, _WMV)):
        return "video"
    # Transport streams: packets of 188 bytes, in .m2ts files with 4 bytes before each.
    packets = head[0:189:188], head[4:197:192]
    return "video" if b"\x47\x47" in packets else "unknown"


def is_mp4(head: bytes) -> bool:
    """Whether the first bytes are those of an MP4, MOV or 3GP file."""
    return head[4:8] in _MP4_BOXES


def wrong_kind(source: str, kind: Kind, reason: str, allowed: Sequence[str]) -> MediaError:
    """The error for a file that is not one of the `allowed` formats."""
    reason = "unsupported-format" if kind == "unsupported" else reason
    return MediaError(source, reason, f"expected one of {', '.join(allowed)}")


def read_image(source: Path | bytes, limits: Limits = LIMITS) -> Pixels:
    """Decodes an image of one of IMAGE_FORMATS; of several in one file, the first.

    EXIF orientation is applied. 16-bit samples are scaled to 8 bits. Transparent pixels are
    put on BACKDROP. Greyscale, palette and CMYK become RGB; colour profiles are not applied.

    Args:
      source: a file, or a file's content.

    Returns:
      RGB uint8 (H, W, 3).

    Raises:
      MediaError: "unreadable", "empty-file", "not-an-image", "unsupported-format" (also for
        samples that are floats or longer than 16 bits), "too-large", "truncated", "damaged".
        There is no half-decoded image.
    """
    if isinstance(source, Path):
        head = read_head(source)
        with source.open("rb") as file:
            return _decode(file, head, str(source), limits)
    name = f"image of {len(source)} bytes"
    if not source:
        raise MediaError(name, "empty-file", "0 bytes")
    return _decode(io.BytesIO(source), source[:_HEAD], name, limits)


def _decode(file: BinaryIO, head: bytes, name: str, limits: Limits) -> Pixels:
    kind = kind_of(head)
    if kind != "image":
        raise wrong_kind(name, kind, "not-an-image", IMAGE_FORMATS)
    try:
        # Pillow warns of odd tags, and of large images by a limit of its own; ours is below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=IMAGE_FORMATS)
            width, height = image.size
            if width * height > limits.pixels:
                detail = f"{width} x {height}, at most {limits.pixels} pixels"
                raise MediaError(name, "too-large", detail)
            return _to_rgb(image, name)
    except MediaError:
        raise
    except Image.DecompressionBombError:
        detail = f"more than Pillow opens, at most {limits.pixels} pixels"
        raise MediaError(name, "too-large", detail) from None
    except UnidentifiedImageError:
        raise MediaError(name, "damaged", "the header cannot be read") from None
    # What Pillow's readers raise on broken files: it has no exception of its own.
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error) as e:
        reason = "truncated" if "truncated" in str(e).lower() else "damaged"
        raise MediaError(name, reason, str(e)) from None


def _to_rgb(image: Image.Image, name: str) -> Pixels:
    # A 16-bit greyscale PNG is "I" in some releases of Pillow; elsewhere "I" is 32-bit.
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    image = ImageOps.exif_transpose(image)
    if sixteen_bits:
        grey = np.rint(np.asarray(image).astype(np.float32) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKDROP), image)
    elif image.mode not in ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"):
        expected = "expected 8- or 16-bit greyscale, RGB, CMYK or palette"
        raise MediaError(name, "unsupported-format", f"{expected}, got Pillow's mode {image.mode}")
    return np.array(image.convert("RGB"), np.uint8)
