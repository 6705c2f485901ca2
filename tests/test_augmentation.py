"""Colour changes: keras-cv's and tensorflow-addons' figures, and the same bits however computed."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import hashlib
import sys
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face

from tfforensics import addons, augmentation
from tfforensics.config import Augment
from tfforensics.degradation import Decision, draw

EVERYTHING = Augment(brightness=0.1, contrast=0.2, saturation=0.2, hue=0.05)
STILL = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return smooth_face(3, 48)


def mapped(face: np.ndarray, **settings: float) -> np.ndarray:
    """A face by `augmentation.matrix`, nothing rounded or clipped; float64."""
    given = {k: tf.constant(v, tf.float64) for k, v in (STILL | settings).items()}
    by, offset = augmentation.matrix(tf.constant(face.mean((0, 1))), **given)
    return np.asarray(face @ by.numpy().T + offset.numpy())


def augmenter(settings: Augment) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    found = augmentation.augmenter(settings)
    assert found is not None
    return lambda image, drawn: found(tf.constant(image), tf.constant(drawn)).numpy()


def drawn_as(**decisions: float) -> np.ndarray:
    """All in the middle, which changes and mirrors nothing, but these."""
    drawn = np.full(len(Decision), 0.5, np.float32)
    for name, value in decisions.items():
        drawn[Decision[name]] = value
    return drawn


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.2])
def test_brightness_is_that_of_keras_cv(face: np.ndarray, shift: float) -> None:
    from keras_cv import layers

    layer = layers.RandomBrightness(factor=0.0, value_range=(0, 255))
    amount = tf.constant([255.0 * shift])[:, None, None, None]
    expected = layer.augment_images(tf.cast(face, tf.float32)[None], amount)[0]
    found = np.clip(mapped(face, brightness=255.0 * shift), 0, 255)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5])
def test_contrast_is_that_of_keras_cv(face: np.ndarray, factor: float) -> None:
    from keras_cv import layers

    layer = layers.RandomContrast(factor=0.0, value_range=(0, 255))
    amount = tf.constant([factor])[:, None, None, None]
    expected = layer.augment_images(tf.cast(face, tf.float32)[None], amount)[0]
    found = np.clip(mapped(face, contrast=factor), 0, 255)
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="no wheels of tensorflow-addons")
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.6])
@pytest.mark.parametrize("hue", [-0.4, -0.05, 0.0, 0.21])
def test_saturation_and_hue_are_those_of_addons(
    face: np.ndarray, factor: float, hue: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tfa = addons.load("this test")
    monkeypatch.setattr(tfa.options, "_TF_ADDONS_PY_OPS", True)  # its library is of TensorFlow 2.15
    angle = 2.0 * np.pi * hue
    expected = tfa.image.adjust_hsv_in_yiq(tf.constant(face / 255.0, tf.float32), angle, factor)
    found = mapped(face, saturation=factor, hue=angle)
    np.testing.assert_allclose(found, 255.0 * expected, atol=1e-3)


def test_luma_is_kept_and_grey_stays_grey(face: np.ndarray) -> None:
    luma = np.array([0.299, 0.587, 0.114])
    turned = mapped(face, saturation=1.4, hue=2.0)
    np.testing.assert_allclose(turned @ luma, face @ luma, atol=1e-9)
    grey = mapped(face, saturation=0.0)
    np.testing.assert_allclose(grey, np.repeat(face @ luma, 3).reshape(face.shape), atol=1e-9)
    np.testing.assert_allclose(mapped(grey, saturation=1.7, hue=1.0), grey, atol=1e-9)
    half = mapped(mapped(face, hue=np.pi), hue=np.pi)
    np.testing.assert_allclose(half, face, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_formula_is_rounded_once_and_clipped(face: np.ndarray, seed: int) -> None:
    drawn = draw(tf.constant([7, seed])).numpy()
    b, c, s, h = (2.0 * drawn.astype(float) - 1.0)[Decision.BRIGHTNESS : Decision.HUE + 1]
    exact = mapped(
        face,
        brightness=255.0 * 0.1 * b,
        contrast=1.0 + 0.2 * c,
        saturation=1.0 + 0.2 * s,
        hue=2.0 * np.pi * 0.05 * h,
    )
    if drawn[Decision.FLIP] < 0.5:
        exact = exact[:, ::-1]
    found = augmenter(EVERYTHING)(face, drawn)
    assert found.dtype == np.uint8
    expected = np.clip(np.floor(exact + 0.5), 0, 255)
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found == expected) > 0.99
    assert len(np.unique(found)) > 100


def test_compiled_or_not_the_bits_are_the_same() -> None:
    """And those of every machine: only whole numbers are added."""
    noise = np.random.default_rng(5).integers(0, 256, (61, 61, 3), np.uint8)
    image = tf.constant(noise)
    change = augmentation.augmenter(EVERYTHING)
    digest = hashlib.sha256()
    for number in range(12):
        drawn = draw(tf.constant([3, number]))
        compiled = change(image, drawn)
        plain = change.python_function(image, drawn)
        assert np.array_equal(compiled, plain)
        digest.update(compiled.numpy().tobytes())
    assert digest.hexdigest()[:16] == "56db3db4685dbb0e"


def test_each_strength_alone_changes_what_it_names(face: np.ndarray) -> None:
    brighter = augmenter(Augment(flip=False, brightness=0.2))(face, drawn_as(BRIGHTNESS=0.75))
    assert np.array_equal(brighter, np.minimum(face.astype(int) + 26, 255))  # 25.5, halves up
    flatter = augmenter(Augment(flip=False, contrast=0.5))(face, drawn_as(CONTRAST=0.0))
    np.testing.assert_allclose(flatter.std((0, 1)), 0.5 * face.std((0, 1)), rtol=0.01)
    np.testing.assert_allclose(flatter.mean((0, 1)), face.mean((0, 1)), atol=0.5)
    pale = augmenter(Augment(flip=False, saturation=0.9))(face, drawn_as(SATURATION=0.0))
    spread = (pale.max(-1) - pale.min(-1).astype(int)).mean()
    assert spread < 0.12 * (face.max(-1) - face.min(-1).astype(int)).mean()
    red = np.full((4, 4, 3), (200, 50, 50), np.uint8)
    turned = augmenter(Augment(flip=False, hue=0.1))(red, drawn_as(HUE=0.9))
    assert turned[0, 0].tolist() == [199, 32, 146]  # by hand: I 89.4, Q 31.65, turned by 0.503


def test_a_face_is_mirrored_alone_as_with_its_colours(face: np.ndarray) -> None:
    for settings in (Augment(), EVERYTHING):
        assert np.array_equal(augmenter(settings)(face, drawn_as(FLIP=0.49)), face[:, ::-1])


def test_nothing_is_changed_at_strength_0(face: np.ndarray) -> None:
    assert augmentation.augmenter(Augment(flip=False)) is None
    for settings in (Augment(), EVERYTHING):
        assert np.array_equal(augmenter(settings)(face, drawn_as()), face)
        assert np.array_equal(augmenter(settings)(face, drawn_as(FLIP=0.4)), face[:, ::-1])


def test_half_of_the_faces_are_mirrored() -> None:
    image = smooth_face(1, 16)
    mirror = augmenter(Augment())
    mirrored = 0
    for number in range(400):
        found = mirror(image, draw(tf.constant([5, number])).numpy())
        assert np.array_equal(found, image) or np.array_equal(found, image[:, ::-1])
        mirrored += not np.array_equal(found, image)
    assert 160 < mirrored < 240


def test_draws_are_uniform_and_independent() -> None:
    drawn = np.stack([draw(tf.constant([0, n])).numpy() for n in range(2000)])
    assert drawn.shape == (2000, len(Decision))
    assert np.all((drawn >= 0) & (drawn < 1))
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.03)
    correlation = np.corrcoef(np.concatenate([drawn[:-1], drawn[1:]], axis=1).T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.1
