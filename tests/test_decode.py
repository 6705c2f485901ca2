"""Files become the pixels that the pipeline sees; what is no face's file is refused in words."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import io
import random
import resource
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face
from PIL import Image

from tfforensics import degradation, jpeg
from tfforensics.serving import decode, refusal

SIZE = 64


@pytest.fixture(scope="module")
def pixels() -> Any:
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)], autograph=False)
    def run(files: tf.Tensor) -> tf.Tensor:
        return decode.decode_faces(files, SIZE)[0]

    return lambda *files: run(tf.constant(files, tf.string)).numpy()


def saved(image: np.ndarray | Image.Image, file_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(out, file_format, **options)
    return out.getvalue()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def jpeg_of(width: int, height: int) -> bytes:
    """A file that claims this size."""
    data = bytearray(FACE)
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


FACE = jpeg.encode_canonical(smooth_face(0, SIZE))


def many_scans(count: int) -> bytes:
    data = saved(smooth_face(2, SIZE), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def test_a_face_at_the_network_s_size_is_not_touched(pixels: Any) -> None:
    image = smooth_face(1, SIZE)
    np.testing.assert_array_equal(pixels(FACE, saved(image, "PNG"))[1], image)
    np.testing.assert_array_equal(pixels(FACE)[0], jpeg.decode(FACE))


@pytest.mark.parametrize("side", [40, 65, 200])
def test_another_size_is_resized_as_in_the_pipeline(pixels: Any, side: int) -> None:
    file = jpeg.encode(smooth_face(2, side), 60)
    expected = degradation.resize(tf.constant(jpeg.decode(file)), SIZE)
    np.testing.assert_array_equal(pixels(file)[0], expected)


def test_files_of_all_kinds_in_one_batch_keep_their_order(pixels: Any) -> None:
    grey = smooth_face(3, SIZE)[..., 0]
    colours = smooth_face(4, SIZE)
    transparent = np.dstack([colours, np.full((SIZE, SIZE), 7, np.uint8)])
    deep = Image.fromarray((grey.astype(np.uint16) << 8) + 9)
    found = pixels(
        FACE,
        saved(grey, "PNG"),
        saved(transparent, "PNG"),
        saved(deep, "PNG"),
        saved(Image.fromarray(colours).quantize(16), "PNG"),
        saved(colours, "JPEG", progressive=True, quality=95),
    )
    grey3 = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(found[0], jpeg.decode(FACE))
    np.testing.assert_array_equal(found[1], grey3)
    np.testing.assert_array_equal(found[2], colours)
    np.testing.assert_array_equal(found[3], grey3)
    assert np.abs(found[5].astype(int) - colours).mean() < 8


REFUSED = {
    "empty": (b"", "got 0 bytes of something else"),
    "three bytes": (b"\xff\xd8\xff", "got 3 bytes of something else"),
    "text": (b"hello" * 100, "expected a JPEG or PNG file, got 500 bytes of something else"),
    "GIF": (saved(smooth_face(1, 32), "GIF"), "expected a JPEG or PNG file"),
    "BMP": (saved(smooth_face(1, 32), "BMP"), "expected a JPEG or PNG file"),
    "WebP": (saved(smooth_face(1, 32), "WEBP"), "expected a JPEG or PNG file"),
    "GIF behind a JPEG's head": (
        b"\xff\xd8\xff" + saved(smooth_face(1, 32), "GIF"), "Invalid JPEG data"
    ),
    "half a JPEG": (FACE[: len(FACE) // 2], "Invalid JPEG data"),
    "half a PNG": (saved(smooth_face(1, 32), "PNG")[:500], "Invalid PNG data"),
    "JPEG bomb": (jpeg_of(60_000, 60_000), r"got \[60000 60000\] \(height, width\)"),
    "PNG bomb": (png(60_000, 60_000), r"got \[60000 60000\]"),
    "just too large": (png(4097, 4096), r"expected 1 to 16777216 pixels, got \[4096 4097\]"),
    "PNG of size 0": (png(0, 5), r"got \[5 0\]"),
    "PNG of negative size": (png(1 << 31, 5), r"got \[5 -2147483648\]"),
    "many scans": (many_scans(120), "expected at most 100 scans, got 130"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_face_s_file_is_refused_in_words(pixels: Any, name: str) -> None:
    file, message = REFUSED[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        pixels(FACE, file)
    line = refusal.reason(refused.value.message)
    assert "\n" not in line and "node" not in line
    with pytest.raises(ValueError, match=message):
        raise ValueError(line)
    if line.startswith("image_bytes"):
        assert line.startswith("image_bytes[1]: ")
    np.testing.assert_array_equal(pixels(FACE)[0], jpeg.decode(FACE))  # the next one is judged


def test_no_files_are_refused(pixels: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one file, got none"):
        pixels()


def test_the_largest_files_are_decoded_in_bounded_time_and_memory(pixels: Any) -> None:
    large = Image.fromarray(smooth_face(2, SIZE)).resize((4096, 4096))
    file = saved(large, "JPEG", progressive=True, quality=30)
    pixels(FACE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert pixels(*[file] * 8).shape == (8, SIZE, SIZE, 3)
    assert time.process_time() - start < 30
    # KiB: four at once, each decoded (50 MB) from coefficients (100 MB).
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_200_000


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_are_decoded_or_refused(pixels: Any, count: int) -> None:
    draw = random.Random(0)
    sound = [
        FACE,
        many_scans(0),
        saved(smooth_face(5, SIZE), "PNG"),
        saved(smooth_face(6, 90), "PNG"),
    ]
    refused = 0
    for _ in range(count):
        file = bytearray(draw.choice(sound))
        for _ in range(draw.choice([1, 3, 30])):
            file[draw.randrange(len(file))] = draw.randrange(256)
        if draw.random() < 0.3:
            del file[draw.randrange(len(file)) :]
        if draw.random() < 0.1:
            file += draw.choice(sound)
        start = time.process_time()
        try:
            assert pixels(bytes(file)).shape == (1, SIZE, SIZE, 3)
        except tf.errors.InvalidArgumentError as error:
            refused += 1
            assert refusal.reason(error.message)
        assert time.process_time() - start < 10
    assert 0.2 * count < refused < 0.95 * count


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "assertion failed: [image_bytes[1]: expected [a] x] \n\t [[{{node a}}]]",
            "image_bytes[1]: expected [a] x",
        ),
        ("assertion failed: [no files]", "no files"),
        (
            "Graph execution error:\n\nDetected at node x defined at (most recent call last):\n"
            "<stack traces unavailable>\nInvalid PNG data, size 3\n\t [[{{node x}}]]"
            "\n\t [[map/while]] [Op:f]",
            "Invalid PNG data, size 3",
        ),
        ("{{function_node f}} Invalid JPEG data\n\t [[{{node x}}]]", "Invalid JPEG data"),
        ("Deadline Exceeded", "Deadline Exceeded"),
    ],
)
def test_a_reason_is_one_line(message: str, line: str) -> None:
    assert refusal.reason(message) == line
