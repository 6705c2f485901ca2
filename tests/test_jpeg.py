"""JPEG levels: one image on whatever way it is made, and the two encoders apart."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tfforensics import jpeg
from tfforensics.command import UsageError

pytestmark = pytest.mark.io

COMPRESSED = ("c23", "c40", "c85", "c90", "c95")


@pytest.fixture(scope="module", params=[64, 131, 380], ids="{}px".format)
def face(request):
    """A canonical crop; 131 is odd and no multiple of a block."""
    return jpeg.decode(jpeg.encode_canonical(smooth_face(3, request.param)))


def test_the_quality_of_each_level():
    assert [jpeg.quality_of(level) for level in jpeg.LEVELS] == [100, 77, 60, 15, 10, 5]


def test_an_unknown_level_is_refused_with_those_there_are():
    with pytest.raises(UsageError) as raised:
        jpeg.quality_of("c50")
    assert str(raised.value) == ("level: expected one of c0, c23, c40, c85, c90, c95, got 'c50'")


@pytest.mark.parametrize("level", COMPRESSED)
def test_a_level_made_on_the_fly_is_the_stored_turbo_level_bit_for_bit(face, level):
    quality = jpeg.quality_of(level)
    stored = jpeg.decode(jpeg.encode(face, quality))
    made = jpeg.degrade_in_graph(tf.constant(face), tf.constant(quality)).numpy()
    np.testing.assert_array_equal(made, stored)
    assert (made != face).mean() > 0.5


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    st.integers(1, 100),
)
@settings(max_examples=60, deadline=None)
def test_any_pixels_at_any_quality_are_degraded_as_they_are_stored(pixels, quality):
    stored = jpeg.decode(jpeg.encode(pixels, quality))
    made = jpeg.degrade_in_graph(tf.constant(pixels), tf.constant(quality)).numpy()
    np.testing.assert_array_equal(made, stored)


@pytest.mark.parametrize("encoder", jpeg.ENCODERS)
@pytest.mark.parametrize("level", COMPRESSED)
def test_tensorflow_and_pillow_decode_a_level_to_the_same_pixels(face, level, encoder):
    data = jpeg.encode(face, jpeg.quality_of(level), encoder)
    np.testing.assert_array_equal(
        jpeg.decode_in_graph(tf.constant(data)).numpy(), jpeg.decode(data)
    )


def test_tensorflow_and_pillow_decode_the_canonical_crop_to_the_same_pixels(face):
    data = jpeg.encode_canonical(face)
    np.testing.assert_array_equal(
        jpeg.decode_in_graph(tf.constant(data)).numpy(), jpeg.decode(data)
    )


def test_the_canonical_crop_is_near_lossless_baseline_and_keeps_all_colour_samples():
    pixels = smooth_face(0, 380)
    data = jpeg.encode_canonical(pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert not image.info.get("progressive")
        assert [(h, v) for _, h, v, _ in image.layer] == [(1, 1)] * 3
    assert jpeg.psnr(pixels, jpeg.decode(data)) > 42
    # A chequerboard of pure colours is what 4:2:0 loses and 4:4:4 keeps.
    colours = np.where(np.indices((64, 64)).sum(0)[..., None] % 2, [[[255, 0, 0]]], [[[0, 0, 255]]])
    colours = colours.astype(np.uint8)
    assert jpeg.psnr(colours, jpeg.decode(jpeg.encode_canonical(colours))) > 38
    assert jpeg.psnr(colours, jpeg.decode(jpeg.encode(colours, 98))) < 20


def test_turbo_is_pillows_own_file_with_fewer_bytes_and_the_same_pixels(face):
    for quality in (77, 15):
        plain = io.BytesIO()
        Image.fromarray(face).save(plain, "JPEG", quality=quality, subsampling="4:2:0")
        data = jpeg.encode(face, quality)
        assert len(data) < len(plain.getvalue())
        np.testing.assert_array_equal(jpeg.decode(data), jpeg.decode(plain.getvalue()))


@pytest.mark.parametrize("quality", [77, 60, 15, 10])
def test_mozjpeg_writes_fewer_bytes_than_turbo_and_another_image(quality):
    face = jpeg.decode(jpeg.encode_canonical(smooth_face(1, 380)))
    turbo, moz = jpeg.encode(face, quality), jpeg.encode(face, quality, "mozjpeg")
    assert len(moz) < len(turbo)
    assert (jpeg.decode(moz) != jpeg.decode(turbo)).any()
    with Image.open(io.BytesIO(moz)) as image:
        assert image.info.get("progressive")
        assert [(h, v) for _, h, v, _ in image.layer] == [(2, 2), (1, 1), (1, 1)]


def test_a_file_of_mozjpeg_is_the_same_each_time(face):
    first = jpeg.encode(face, 40, "mozjpeg")
    assert first == jpeg.encode(face, 40, "mozjpeg")
    assert first != jpeg.encode(face, 41, "mozjpeg")
    # Rows that do not lie one after another are read as they are seen.
    assert jpeg.encode(face[:, ::-1], 40, "mozjpeg") == jpeg.encode(
        face[:, ::-1].copy(), 40, "mozjpeg"
    )


@pytest.mark.parametrize("encoder", jpeg.ENCODERS)
def test_lower_quality_costs_more_of_the_image(encoder):
    face = jpeg.decode(jpeg.encode_canonical(smooth_face(2, 380)))
    levels = [
        jpeg.decode(jpeg.encode(face, jpeg.quality_of(level), encoder)) for level in COMPRESSED
    ]
    psnrs, ssims = ([f(face, image) for image in levels] for f in (jpeg.psnr, jpeg.ssim))
    assert psnrs == sorted(psnrs, reverse=True)
    assert ssims == sorted(ssims, reverse=True)


@pytest.mark.parametrize("quality", [0, 101, -3])
def test_a_quality_out_of_range_is_refused(quality):
    with pytest.raises(UsageError, match=f"^quality: expected 1 to 100, got {quality}$"):
        jpeg.encode(np.zeros((8, 8, 3), np.uint8), quality)


def test_an_unknown_encoder_is_refused_with_those_there_are():
    with pytest.raises(UsageError) as raised:
        jpeg.encode(np.zeros((8, 8, 3), np.uint8), 50, "guetzli")
    assert str(raised.value) == "encoder: expected one of turbo, mozjpeg, got 'guetzli'"


def test_what_is_no_jpeg_is_not_decoded():
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    with pytest.raises(OSError, match="cannot identify"):
        jpeg.decode(png.getvalue())


def test_psnr_of_known_errors():
    black = np.zeros((8, 8, 3), np.uint8)
    assert jpeg.psnr(black, black) == math.inf
    assert jpeg.psnr(black, black + 255) == pytest.approx(0.0, abs=1e-12)
    # Every pixel off by 5: 20 log10(255 / 5).
    assert jpeg.psnr(black, black + 5) == pytest.approx(34.1514, abs=1e-4)
    # One sample in 192 off by 10: mean squared error 100 / 192.
    one = black.copy()
    one[3, 4, 1] = 10
    assert jpeg.psnr(black, one) == pytest.approx(50.9638, abs=1e-4)
    assert jpeg.psnr(one, black) == jpeg.psnr(black, one)


@pytest.mark.parametrize("quality", [5, 15, 60, 95])
def test_ssim_is_tensorflows(face, quality):
    image = jpeg.decode(jpeg.encode(face, quality))
    expected = tf.image.ssim(tf.constant(face), tf.constant(image), max_val=255).numpy()
    assert jpeg.ssim(face, image) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_known_images():
    black = np.zeros((16, 16, 3), np.uint8)
    assert jpeg.ssim(black, black) == pytest.approx(1.0)
    # Flat images: only the luminance term is left, c1 / (255^2 + c1) with c1 = 2.55^2.
    assert jpeg.ssim(black, black + 255) == pytest.approx(9.999e-5, abs=1e-8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert jpeg.ssim(noise, 255 - noise) < -0.9
    assert jpeg.ssim(noise, 255 - noise) == jpeg.ssim(255 - noise, noise)
