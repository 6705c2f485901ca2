"""Images: every way a file can store one, and every way it can be bad."""

from __future__ import annotations

import io
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfforensics.command import DataError
from tfforensics.media import Limits, MediaError, kind_of, read_head, read_image

# Two rows of three pixels, all different.
SMALL = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [255, 255, 255]]],
    np.uint8,
)


def stored(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def textured(size: int = 96) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8))


def reason(source: Path | bytes, limits: Limits | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        read_image(source, limits or Limits())
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    if isinstance(source, Path):
        assert str(source) in str(caught.value)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
     ("WEBP", {"lossless": True, "exact": True})],
)  # fmt: skip
def test_lossless_formats_give_the_stored_pixels(file_format, options, tmp_path):
    content = stored(Image.fromarray(SMALL), file_format, **options)
    path = tmp_path / "picture.of-no-known-name"
    path.write_bytes(content)
    for source in (content, path):
        pixels = read_image(source)
        assert pixels.dtype == np.uint8
        assert pixels.flags.writeable
        np.testing.assert_array_equal(pixels, SMALL)


def test_jpeg():
    content = stored(Image.new("RGB", (5, 4), (200, 60, 20)), "JPEG", quality=95)
    pixels = read_image(content)
    assert pixels.shape == (4, 5, 3)
    assert np.abs(pixels.astype(int) - [200, 60, 20]).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, SMALL), (2, SMALL[:, ::-1]), (3, SMALL[::-1, ::-1]), (4, SMALL[::-1]),
     (5, SMALL.swapaxes(0, 1)), (6, np.rot90(SMALL, -1)),
     (7, SMALL[::-1, ::-1].swapaxes(0, 1)), (8, np.rot90(SMALL))],
)  # fmt: skip
def test_exif_orientation_is_applied(orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = stored(Image.fromarray(SMALL), "PNG", exif=exif.tobytes())
    np.testing.assert_array_equal(read_image(content), expected)


def test_a_phone_photograph_with_orientation_6_is_turned_clockwise():
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.new("RGB", (64, 32))
    wide.paste((255, 255, 255), (0, 0, 32, 32))  # what is stored left is shown on top
    pixels = read_image(stored(wide, "JPEG", quality=95, exif=exif.tobytes()))
    assert pixels.shape == (64, 32, 3)
    assert pixels[8, 16].min() > 250
    assert pixels[56, 16].max() < 5


def test_of_several_images_in_a_file_the_first_is_read():
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ((9, 9, 9), (99, 99, 99)))
    for file_format in ("TIFF", "WEBP", "PNG", "MPO"):  # MPO is what phones call JPEG + preview
        options = {"lossless": True} if file_format == "WEBP" else {}
        content = stored(first, file_format, save_all=True, append_images=[second], **options)
        np.testing.assert_allclose(read_image(content), 9, atol=1)


def test_greyscale_and_two_levels():
    grey = Image.fromarray(np.array([[0, 7, 255]], np.uint8))
    expected = [[[0] * 3, [7] * 3, [255] * 3]]
    np.testing.assert_array_equal(read_image(stored(grey, "PNG")), expected)
    np.testing.assert_array_equal(
        read_image(stored(grey.convert("1", dither=Image.Dither.NONE), "PNG")),
        [[[0] * 3, [0] * 3, [255] * 3]],
    )


def test_sixteen_bits_are_scaled_and_not_clipped():
    samples = np.array([[0, 128, 129, 257 * 100, 32768, 65535]], np.uint16)
    expected = np.array([0, 0, 1, 100, 128, 255])
    for file_format in ("PNG", "TIFF"):
        pixels = read_image(stored(Image.fromarray(samples), file_format))
        np.testing.assert_array_equal(pixels, np.repeat(expected[None, :, None], 3, axis=2))


def test_sixteen_bit_colour():
    # 8.2 of the PNG standard: big-endian samples; Pillow cannot write them.
    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256 * 7, 256 * 8, 256 * 9)
    assert read_image(png(2, 1, 16, 2, zlib.compress(row))).tolist() == [[[255, 128, 0], [7, 8, 9]]]


def test_cmyk():
    for colour, expected in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0)):
        pixels = read_image(stored(Image.new("CMYK", (8, 8), colour), "JPEG", quality=95))
        assert pixels.shape == (8, 8, 3)
        assert np.abs(pixels.astype(int) - expected).max() <= 3
    cyan = read_image(stored(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=95))
    assert cyan[4, 4, 0] < 10
    assert cyan[4, 4, 1:].min() > 245


def test_transparent_pixels_are_put_on_white():
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 127]]], np.uint8)
    assert read_image(stored(Image.fromarray(rgba), "PNG")).tolist() == [
        [[200, 0, 0], [255, 255, 255], [128, 128, 128]]
    ]
    grey = Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA")
    assert read_image(stored(grey, "PNG")).tolist() == [[[9] * 3, [255] * 3]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.putpixel((1, 0), 1)
    assert read_image(stored(palette, "PNG")).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert read_image(stored(palette, "PNG", transparency=1)).tolist() == [
        [[1, 2, 3], [255, 255, 255]]
    ]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_that_are_no_pixels_are_refused(mode):
    assert reason(stored(Image.new(mode, (4, 4)), "TIFF")) == "unsupported-format"


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [8_001, 12_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side):
    """10.8 GB of black, for the largest; 12,000 is where Pillow warns, above it refuses."""
    bomb = png(side, side, 8, 2, zlib.compress(bytes(1 << 20)))
    tracemalloc.start()
    begin = time.perf_counter()
    assert reason(bomb) == "too-large"
    assert time.perf_counter() - begin < 1
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_the_limit_is_inclusive_and_can_be_set():
    content = stored(Image.fromarray(SMALL), "PNG")
    assert read_image(content, Limits(pixels=6)).shape == (2, 3, 3)
    assert reason(content, Limits(pixels=5)) == "too-large"


def test_files_that_are_no_images(tmp_path):
    def written(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    assert reason(tmp_path / "missing.png") == "unreadable"
    assert reason(tmp_path) == "unreadable"
    assert reason(written("empty.png", b"")) == "empty-file"
    assert reason(b"") == "empty-file"
    assert reason(written("text.png", b"hello")) == "not-an-image"
    assert reason(written("BM.bmp", b"BMW drivers of the world, unite! " * 9)) == "not-an-image"
    assert reason(written("video.png", b"\0\0\0\x20ftypisom" + bytes(400))) == "not-an-image"
    assert reason(written("moving.gif", stored(Image.new("L", (2, 2)), "GIF"))) == (
        "unsupported-format"
    )
    assert reason(written("photo.heic", b"\0\0\0\x18ftypheic" + bytes(400))) == (
        "unsupported-format"
    )
    assert reason(b"\xff\xd8\xff") == "damaged"
    assert reason(b"\x89PNG\r\n\x1a\n") == "damaged"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "unreadable"


FORMATS = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {"quality": 80}),
    "webp-lossless": ("WEBP", {"lossless": True}),
}
STORED = {name: stored(textured(), kind, **options) for name, (kind, options) in FORMATS.items()}


@pytest.mark.parametrize("name", STORED)
def test_a_truncated_image_is_an_error(name):
    content = STORED[name]
    for share in (0.01, 0.3, 0.6, 0.95):
        assert reason(content[: int(len(content) * share)]) in ("truncated", "damaged")


@given(st.sampled_from(sorted(STORED)), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_any_beginning_is_an_error_or_the_whole_image(name, share):
    content = STORED[name]
    try:
        pixels = read_image(content[: int(len(content) * share)])
    except MediaError:
        return
    np.testing.assert_array_equal(pixels, read_image(content))


@given(st.sampled_from(sorted(STORED)), st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_damage_is_an_error_or_an_image_and_nothing_else(name, seed, changes):
    content = bytearray(STORED[name])
    rng = np.random.default_rng(seed)
    # Headers are where a wrong byte does most.
    reach = int(rng.choice([64, 512, len(content)]))
    for _ in range(changes):
        content[int(rng.integers(min(reach, len(content))))] = int(rng.integers(256))
    try:
        pixels = read_image(bytes(content), Limits(pixels=1_000_000))
    except MediaError as error:
        assert error.reason in (
            "not-an-image", "unsupported-format", "too-large", "truncated", "damaged",
        )  # fmt: skip
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3


def test_kinds_by_content(tmp_path):
    for content in STORED.values():
        assert kind_of(content[:400]) == "image"
    assert kind_of(b"#EXTM3U\nhttp://example.org/a.ts\n") == "unknown"
    assert kind_of(b"ffconcat version 1.0\nfile /etc/passwd\n") == "unknown"
    assert kind_of(b"G" + bytes(187) + b"G") == "video"
    assert kind_of(b"G" + bytes(185) + b"GG") == "unknown"
    assert kind_of(b"RIFF\0\0\0\0WAVE") == "unknown"
    path = tmp_path / "long"
    path.write_bytes(bytes(1000))
    assert len(read_head(path)) == 400
