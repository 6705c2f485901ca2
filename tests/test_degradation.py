"""Degradation on the fly: what is drawn, how often, and what it does to the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face

from tfforensics import degradation, jpeg
from tfforensics.config import Degrade
from tfforensics.degradation import UNCOMPRESSED, Decision

SIDE = 64


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return jpeg.decode(jpeg.encode_canonical(smooth_face(4, SIDE)))


def drawn(**decisions: float) -> tf.Tensor:
    """Numbers as `draw` gives them: 0.5 for whatever is not named."""
    values = np.full(len(Decision), 0.5, np.float32)
    for name, value in decisions.items():
        values[Decision[name]] = value
    return tf.constant(values)


def compressed(pixels: np.ndarray, *qualities: int) -> np.ndarray:
    for quality in qualities:
        pixels = jpeg.decode(jpeg.encode(pixels, quality))
    return pixels


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    return degradation.resize(tf.constant(pixels), side).numpy()


@pytest.mark.parametrize("level", jpeg.LEVELS)
def test_a_single_level_is_what_every_face_gets(face: np.ndarray, level: jpeg.Level) -> None:
    degrade = degradation.degrader(Degrade(levels={level: 1.0}))
    expected = face if level == "c0" else compressed(face, jpeg.quality_of(level))
    for number in (0.0, 0.5, 1 - 2**-24):
        np.testing.assert_array_equal(degrade(tf.constant(face), drawn(QUALITY=number)), expected)


def test_levels_are_drawn_as_often_as_their_frequencies_say() -> None:
    levels = {"c40": 1.0, "c0": 2.0, "c90": 0.0, "c85": 5.0}
    sample = degradation.quality_sampler(Degrade(levels=levels))
    # A grid of numbers in [0, 1) stands for the uniform distribution exactly.
    qualities = [int(sample(tf.constant((n + 0.5) / 800, tf.float32))) for n in range(800)]
    found = {q: qualities.count(q) / 800 for q in sorted(set(qualities))}
    assert found == pytest.approx({UNCOMPRESSED: 2 / 8, 15: 5 / 8, 60: 1 / 8}, abs=1 / 400)


def test_a_level_that_is_last_and_never_drawn_stays_so() -> None:
    levels = {"c23": 1 / 3, "c40": 2 / 3, "c90": 0.0}
    sample = degradation.quality_sampler(Degrade(levels=levels))
    assert int(sample(tf.constant(1 - 2**-23, tf.float32))) == 60
    first = degradation.quality_sampler(Degrade(levels={"c90": 0.0, "c23": 1.0}))
    assert int(first(tf.constant(0.0))) == 77


@pytest.mark.parametrize(("low", "high"), [(1, 100), (30, 32), (50, 50)])
def test_a_range_of_qualities_has_both_its_ends_and_each_as_often(low: int, high: int) -> None:
    sample = degradation.quality_sampler(Degrade(quality=(low, high)))
    count = high - low + 1
    grid = (np.arange(20 * count) + 0.5) / (20 * count)
    qualities = [int(sample(tf.constant(number, tf.float32))) for number in grid]
    assert qualities == [low + n // 20 for n in range(20 * count)]
    # The smallest and the largest numbers that a float32 draw can be.
    assert int(sample(tf.constant(0.0))) == low
    assert int(sample(tf.constant(1 - 2**-24, tf.float32))) == high


def test_a_range_replaces_the_levels(face: np.ndarray) -> None:
    degrade = degradation.degrader(Degrade(levels={"c0": 1.0}, quality=(33, 33)))
    np.testing.assert_array_equal(degrade(tf.constant(face), drawn()), compressed(face, 33))


def test_uncompressed_leaves_the_pixels_and_any_other_quality_does_not(face: np.ndarray) -> None:
    image = tf.constant(face)
    same = degradation.compress(image, tf.constant(UNCOMPRESSED))
    np.testing.assert_array_equal(same, face)
    for quality in (1, 5, 100):
        found = degradation.compress(image, tf.constant(quality)).numpy()
        np.testing.assert_array_equal(found, compressed(face, quality))
        assert (found != face).any()


def test_twice_compresses_first_at_a_quality_of_its_own(face: np.ndarray) -> None:
    settings = Degrade(levels={"c23": 1.0, "c85": 1.0}, twice=0.3)
    degrade = degradation.degrader(settings)
    image = tf.constant(face)
    for first, last in ((15, 77), (77, 15), (15, 15)):
        numbers = {"FIRST_QUALITY": 0.9 if first == 15 else 0.1}
        numbers |= {"QUALITY": 0.9 if last == 15 else 0.1}
        both = degrade(image, drawn(TWICE=0.29, **numbers)).numpy()
        np.testing.assert_array_equal(both, compressed(face, first, last))
        once = degrade(image, drawn(TWICE=0.31, **numbers)).numpy()
        np.testing.assert_array_equal(once, compressed(face, last))
    assert (compressed(face, 15, 77) != compressed(face, 77)).any()


def test_resize_compresses_the_small_picture_and_grows_it_again(face: np.ndarray) -> None:
    settings = Degrade(levels={"c40": 1.0}, resize=0.4, resize_to=(0.25, 0.75))
    degrade = degradation.degrader(settings)
    image = tf.constant(face)
    for number, side in ((0.0, 16), (0.5, 32), (1 - 2**-24, 48)):
        found = degrade(image, drawn(RESIZE=0.39, SCALE=number)).numpy()
        expected = resized(compressed(resized(face, side), 60), SIDE)
        np.testing.assert_array_equal(found, expected)
        assert found.shape == face.shape
    as_it_is = degrade(image, drawn(RESIZE=0.41, SCALE=0.0)).numpy()
    np.testing.assert_array_equal(as_it_is, compressed(face, 60))


def test_twice_comes_before_the_resize(face: np.ndarray) -> None:
    settings = Degrade(levels={"c40": 1.0}, twice=1.0, resize=1.0, resize_to=(0.5, 0.5))
    found = degradation.degrader(settings)(tf.constant(face), drawn()).numpy()
    small = resized(compressed(face, 60), SIDE // 2)
    np.testing.assert_array_equal(found, resized(compressed(small, 60), SIDE))


def test_shrinking_does_not_alias_and_keeps_the_mean() -> None:
    stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resized(stripes, 20)
    # Away from the border, where the filter sees as much of one as of the other.
    assert np.abs(small[:, 2:-2].astype(int) - 128).max() <= 10
    np.testing.assert_array_equal(resized(stripes, SIDE), stripes)


def test_a_seed_decides_everything_and_no_two_decisions_are_one() -> None:
    first = degradation.draw(tf.constant([3, 4])).numpy()
    np.testing.assert_array_equal(degradation.draw(tf.constant([3, 4])), first)
    assert len(set(first.tolist())) == len(Decision)
    for other in ([3, 5], [4, 4]):
        assert not set(degradation.draw(tf.constant(other)).numpy().tolist()) & set(first.tolist())
    assert sorted(Decision) == list(range(len(Decision)))


def test_the_names_of_levels_are_those_that_were_drawn(face: np.ndarray) -> None:
    seeds = tf.constant([[7, n] for n in range(40)])
    settings = Degrade(levels={"c0": 1.0, "c23": 1.0, "c90": 1.0})
    names = degradation.level_names(settings, seeds)
    assert set(names) == {"c0", "c23", "c90"}
    degrade = degradation.degrader(settings)
    for name, seed in zip(names, seeds, strict=True):
        expected = face if name == "c0" else compressed(face, jpeg.quality_of(name))
        np.testing.assert_array_equal(degrade(tf.constant(face), degradation.draw(seed)), expected)
    assert set(degradation.level_names(Degrade(quality=(9, 10)), seeds)) == {"Q9", "Q10"}
