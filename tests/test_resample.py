from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfforensics.models import resample

SIZES = st.integers(1, 30)


def test_bilinear_keeps_the_corners() -> None:
    np.testing.assert_allclose(
        resample.bilinear(5, 3) @ np.array([0.0, 10.0, 40.0]), [0, 5, 10, 25, 40]
    )
    np.testing.assert_allclose(resample.bilinear(2, 5) @ np.arange(5.0), [0, 4])
    np.testing.assert_allclose(resample.bilinear(1, 4) @ np.array([7.0, 1, 2, 3]), [7])


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(2, 30))
def test_bilinear_is_linear_interpolation(size: int, source: int) -> None:
    values = np.random.default_rng(size).normal(size=source)
    positions = np.linspace(0, source - 1, size)
    np.testing.assert_allclose(
        resample.bilinear(size, source) @ values,
        np.interp(positions, np.arange(source), values),
        atol=1e-5,
    )


def test_adaptive_mean_windows_share_samples() -> None:
    # 7 samples in 3 windows: 0..2, 2..4, 4..6.
    np.testing.assert_allclose(
        resample.adaptive_mean(3, 7),
        np.array([[1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]]) / 3,
        rtol=1e-6,
    )


def test_nearest_takes_the_floor() -> None:
    np.testing.assert_array_equal(resample.nearest(7, 3) @ np.arange(3), [0, 0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(resample.nearest(3, 7) @ np.arange(7), [0, 2, 4])


@settings(deadline=None)
@given(SIZES, SIZES)
def test_constants_stay_constant(size: int, source: int) -> None:
    for matrix in (
        resample.bilinear(size, source),
        resample.adaptive_mean(size, source),
        resample.nearest(size, source),
    ):
        assert matrix.shape == (size, source)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "sigma"), [(6, 11, 7.0), (30, 11, 7.0), (9, 5, 1.0)])
def test_gaussian_reflects_at_the_border(size: int, kernel: int, sigma: float) -> None:
    values = np.random.default_rng(0).normal(size=size)
    taps = np.exp(-0.5 * (np.arange(kernel) - kernel // 2) ** 2 / sigma**2)
    expected = ndimage.correlate1d(values, taps / taps.sum(), mode="mirror")
    blurred = resample.gaussian(size, kernel=kernel, sigma=sigma) @ values
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_apply_resamples_rows_and_columns() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    rows, columns = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 5), (7, 4)))
    np.testing.assert_allclose(
        resample.apply(tf.constant(maps), rows, columns),
        np.einsum("hH,wW,bHWc->bhwc", rows, columns, maps),
        atol=1e-5,
    )


def test_resize_to_the_same_size_is_the_identity() -> None:
    maps = tf.random.stateless_normal((1, 3, 4, 2), seed=(0, 0))
    assert resample.resize(maps, 3, 4) is maps
    assert resample.resize(maps, 6, 3).shape == (1, 6, 3, 2)
