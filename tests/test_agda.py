from __future__ import annotations

import numpy as np
import pytest
import reference
import tensorflow as tf

from tfforensics import agda
from tfforensics.agda import Agda
from tfforensics.command import UsageError

SIZE = 24


def batch(count: int, maps: int = 4) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Images, attention maps and seeds."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    attention = rng.uniform(0, 2, (count, 6, 6, maps)).astype(np.float32)
    seeds = rng.integers(0, 2**31, (count, 2), np.int32)
    return tf.constant(images), tf.constant(attention), tf.constant(seeds)


@reference.needs_reference
def test_degrading_agrees_with_the_published_module() -> None:
    arrays = reference.load("agda")
    degraded = agda.degrade(
        reference.nhwc(arrays["images"]),
        reference.nhwc(arrays["attention"]),
        threshold=tf.fill([2], 0.5),
        zoom=tf.fill([2], 4.0),
        noise=0.0,
        settings=Agda(),
    )
    np.testing.assert_allclose(degraded, reference.nhwc(arrays["output"]), atol=1e-5)


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, attention, seeds = batch(5)
    whole, chosen = agda.augment(images, attention, seeds, Agda())
    again, _ = agda.augment(images, attention, seeds, Agda())
    np.testing.assert_array_equal(whole, again)
    alone, map_alone = agda.augment(images[3:4], attention[3:4], seeds[3:4], Agda())
    np.testing.assert_allclose(alone[0], whole[3], atol=1e-3)
    assert map_alone[0] == chosen[3]
    other, _ = agda.augment(images, attention, seeds + 1, Agda())
    assert np.abs(other - whole).max(axis=(1, 2, 3)).min() > 1


def test_maps_are_chosen_in_proportion_to_the_root_of_one_more_than_their_sum() -> None:
    attention = np.zeros((4000, 1, 1, 3), np.float32)
    attention[..., 0], attention[..., 2] = 3.0, 8.0  # weights 2, 1, 3
    uniform = tf.constant((np.arange(4000) + 0.5) / 4000, tf.float32)
    chosen = agda._choose(tf.constant(attention), uniform)
    np.testing.assert_allclose(np.bincount(chosen) / 4000, [2 / 6, 1 / 6, 3 / 6], atol=1e-3)
    _, maps, seeds = batch(600)
    images = tf.zeros((600, SIZE, SIZE, 3))
    drawn = tf.function(lambda: agda.augment(images, maps, seeds, Agda())[1])()
    np.testing.assert_allclose(np.bincount(drawn) / 600, np.full(4, 0.25), atol=0.06)


def test_what_the_chosen_map_does_not_see_stays() -> None:
    images, _, seeds = batch(3, maps=1)
    attention = np.zeros((3, SIZE, SIZE, 1), np.float32)
    attention[:, : SIZE // 2] = 1.0
    degraded, chosen = agda.augment(images, tf.constant(attention), seeds, Agda())
    np.testing.assert_array_equal(chosen, np.zeros(3))
    difference = np.abs(degraded - tf.cast(images, tf.float32)).mean(axis=(2, 3))
    np.testing.assert_allclose(difference[:, SIZE // 2 :], 0, atol=1e-3)
    assert difference[:, : SIZE // 2].min() > 10


def test_where_the_attention_peaks_the_image_is_the_blurred_one() -> None:
    # With threshold 0 and a steep zoom, the strength is 1 wherever the map is.
    settings = Agda(threshold=(0.0, 0.0), zoom=(50.0, 50.0), noise=0.0)
    images, _, seeds = batch(1)
    degraded, _ = agda.augment(images, tf.ones((1, 6, 6, 1)), seeds, settings)
    # A kernel of 11 with sigma 7 is nearly a mean: little of the noise is left.
    assert np.std(degraded) < 0.25 * np.std(tf.cast(images, tf.float32))
    flat, _ = agda.augment(tf.fill((1, SIZE, SIZE, 3), 80), tf.ones((1, 6, 6, 1)), seeds, settings)
    np.testing.assert_allclose(flat, np.full((1, SIZE, SIZE, 3), 80.0), rtol=1e-5)


def test_noise_is_in_units_of_half_the_pixel_range() -> None:
    settings = Agda(scale=1.0, threshold=(0.0, 0.0), zoom=(50.0, 50.0), noise=0.1)
    _, _, seeds = batch(20)
    images = tf.fill((20, SIZE, SIZE, 3), 128.0)
    degraded, _ = agda.augment(images, tf.ones((20, 6, 6, 1)), seeds, settings)
    np.testing.assert_allclose(np.std(degraded), 12.75, rtol=0.03)
    np.testing.assert_allclose(np.mean(degraded), 128, atol=0.5)


def test_no_gradient_flows() -> None:
    images, attention, seeds = batch(2)
    images = tf.cast(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([images, attention])
        degraded, _ = agda.augment(images, attention, seeds, Agda())
    assert tape.gradient(degraded, [images, attention]) == [None, None]


def test_maps_of_zeros_leave_the_image() -> None:
    images, attention, seeds = batch(2)
    degraded, _ = agda.augment(images, tf.zeros_like(attention), seeds, Agda())
    np.testing.assert_allclose(degraded, tf.cast(images, tf.float32), atol=1e-3)


@pytest.mark.parametrize(("scale", "size", "least"), [(0.5, 11, 12), (0.3, 19, 20)])
def test_an_image_smaller_than_the_blur_is_an_error(scale: float, size: int, least: int) -> None:
    _, attention, seeds = batch(1)
    agda.augment(tf.zeros((1, least, least, 3)), attention, seeds, Agda(scale=scale))
    with pytest.raises(UsageError) as error:
        agda.augment(tf.zeros((1, size, size, 3)), attention, seeds, Agda(scale=scale))
    assert str(error.value) == (
        f"agda: expected images of at least {least} pixels for scale {scale} and kernel 11, "
        f"got {size}"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": 0.0}, "scale: expected 0 < scale <= 1, got 0.0"),
        ({"kernel": 10}, "kernel: expected an odd number of taps, got 10"),
        ({"sigma": 0.0}, "sigma: expected more than 0, got 0.0"),
        ({"threshold": (0.6, 0.4)}, "threshold: expected a range within 0 to 1, got (0.6, 0.4)"),
        ({"zoom": (0.0, 5.0)}, "zoom: expected a range above 0, got (0.0, 5.0)"),
        ({"noise": -1.0}, "noise: expected 0 or more, got -1.0"),
    ],
)
def test_bad_settings_are_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Agda(**changed)  # type: ignore[arg-type]
    assert str(error.value) == message
