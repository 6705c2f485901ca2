"""The estimated JPEG quality: exact from tables, and from pixels by the lattice they keep."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tfforensics import jpeg, quality
from tfforensics.command import DataError

PORTRAITS = Path(__file__).parents[2] / "shared" / "portraits"


def texture(seed, size=256):
    """An image with the spectrum of photographs (amplitude 1/f), without clipped colours."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = np.inf
    channels = []
    for _ in range(3):
        noise = np.fft.fft2(rng.normal(size=(size, size))) / frequency
        values = np.fft.ifft2(noise).real
        channels.append(128 + 30 * values / values.std())
    grey, red, blue = channels
    rgb = np.stack([grey + 0.3 * (red - 128), grey, grey + 0.3 * (blue - 128)], axis=-1)
    return np.clip(np.rint(rgb), 2, 253).astype(np.uint8)


def saved(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def image():
    return texture(0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}])
def test_every_quality_is_read_off_a_file_of_libjpeg(options):
    pixels = texture(1, size=16)
    for asked in range(1, 101):
        found = quality.from_file(saved(pixels, quality=asked, **options))
        assert found == quality.Quality(asked, "turbo", 1.0)


def test_a_greyscale_file_is_read_by_its_one_table():
    data = saved(texture(1, size=16)[..., 0], quality=37)
    assert quality.from_file(data) == quality.Quality(37, "turbo", 1.0)


@pytest.mark.parametrize("asked", [1, 5, 10, 15, 40, 60, 77, 95, 99])
def test_a_file_of_mozjpeg_is_known_by_its_own_tables(asked):
    data = jpeg.encode(texture(1, size=16), asked, "mozjpeg")
    assert quality.from_file(data) == quality.Quality(asked, "mozjpeg", 1.0)


def test_at_100_both_encoders_have_the_same_table():
    data = jpeg.encode(texture(1, size=16), 100, "mozjpeg")
    assert quality.from_file(data) == quality.Quality(100, "turbo", 1.0)


def test_an_unknown_table_gets_the_quality_of_the_most_similar_one():
    pixels = texture(1, size=16)
    near = quality.luminance_tables("turbo")[59].copy()
    near[5] += 1
    found = quality.from_file(saved(pixels, qtables=[near.tolist()]))
    assert (found.quality, found.encoder) == (60, None)
    assert 0.97 < found.confidence < 1
    flat = quality.from_file(saved(pixels, qtables=[[12] * 64]))
    assert (flat.quality, flat.encoder) == (64, None)
    assert 0.7 < flat.confidence < 0.8


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"not an image"])
def test_what_is_no_jpeg_is_an_error(data):
    with pytest.raises(DataError, match=f"expected a JPEG file, got {len(data)} bytes"):
        quality.from_file(data)


def test_a_jpeg_without_tables_is_an_error():
    data = saved(texture(1, size=16)[..., 0])
    start = data.index(b"\xff\xdb")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    with pytest.raises(DataError, match="expected a JPEG file with quantisation tables"):
        quality.from_file(data[:start] + data[end:])


def test_a_png_is_no_jpeg_file(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    with pytest.raises(DataError, match="expected a JPEG file"):
        quality.from_file(out.getvalue())


@pytest.mark.parametrize("encoder", ["turbo", "mozjpeg"])
@pytest.mark.parametrize("asked", [5, 10, 15, 40, 60, 77, 90, 95])
def test_pixels_keep_the_quality_and_the_encoder(image, asked, encoder):
    found = quality.from_pixels(jpeg.decode(jpeg.encode(image, asked, encoder)))
    assert (found.quality, found.encoder) == (asked, encoder)
    assert found.confidence > 0.6


@pytest.mark.parametrize("offset", [(1, 0), (3, 6), (7, 7), (4, 4)])
def test_the_blocks_are_found_where_the_image_was_cropped(image, offset):
    decoded = jpeg.decode(jpeg.encode(image, 40))
    found = quality.from_pixels(decoded[offset[0] :, offset[1] :])
    assert (found.quality, found.encoder) == (40, "turbo")


def test_a_greyscale_image_has_a_quality_too(image):
    with Image.open(io.BytesIO(saved(image[..., 1], quality=55))) as grey:
        found = quality.from_pixels(np.asarray(grey))
    assert (found.quality, found.encoder) == (55, "turbo")


def test_pixels_of_an_unknown_table_get_what_the_table_would(image):
    data = saved(image, qtables=[[12] * 64])
    by_table, by_pixels = quality.from_file(data), quality.from_pixels(jpeg.decode(data))
    assert by_pixels.encoder is None
    assert by_pixels.quality == by_table.quality == 64


def test_the_last_compression_is_found_unless_a_fine_one_left_the_first_standing(image):
    def twice(first, second):
        once = jpeg.decode(jpeg.encode(image, first))
        return quality.from_pixels(jpeg.decode(jpeg.encode(once, second))).quality

    assert twice(77, 60) == 60
    assert twice(15, 77) == 77
    assert twice(15, 95) == 15


def test_no_trace_of_jpeg_gives_none(image):
    assert quality.from_pixels(image) is None
    for fine in (99, 100):
        assert quality.from_pixels(jpeg.decode(jpeg.encode(image, fine))) is None
    compressed = Image.fromarray(jpeg.decode(jpeg.encode(image, 40)))
    assert quality.from_pixels(np.asarray(compressed.resize((190, 190)))) is None


@pytest.mark.parametrize("crf", [10, 30])
def test_a_video_frame_gives_none(image, crf):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as video:
        stream = video.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for shift in range(3):
            moved = np.ascontiguousarray(np.roll(image, shift, axis=1))
            video.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        video.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as video:
        for frame in video.decode(video=0):
            assert quality.from_pixels(frame.to_ndarray(format="rgb24")) is None


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (8, 8), (9, 16), (16, 17)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_that_hold_nothing_give_none(size, value):
    assert quality.from_pixels(np.full((*size, 3), value, np.uint8)) is None


def test_clipped_colours_do_not_mislead(image):
    bright = np.clip(image.astype(int) * 2 - 128, 0, 255).astype(np.uint8)
    assert (bright == 255).mean() > 0.01
    decoded = jpeg.decode(jpeg.encode(bright, 20))
    assert quality.from_pixels(decoded).quality == 20


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="the shared portraits are not here")
def test_error_over_portraits_is_as_documented():
    crops = []
    for path in sorted(PORTRAITS.rglob("*.jpg"))[::25]:
        with Image.open(path) as portrait:
            crops.append(
                np.asarray(portrait.convert("RGB").resize((380, 380), box=(205, 205, 819, 819)))
            )
    assert len(crops) == 4
    assert [quality.from_pixels(crop) for crop in crops] == [None] * 4
    for encoder in jpeg.ENCODERS:
        for asked in (10, 15, 40, 60, 77, 95):
            for crop in crops:
                found = quality.from_pixels(jpeg.decode(jpeg.encode(crop, asked, encoder)))
                assert (found.quality, found.encoder) == (asked, encoder)
