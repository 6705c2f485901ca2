"""Colour changes: keras-cv's own figures, and the same face whatever stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face

from tfforensics import augmentation
from tfforensics.config import Augment
from tfforensics.degradation import Decision, draw


@pytest.fixture(scope="module")
def face() -> tf.Tensor:
    return tf.cast(smooth_face(3, 48), tf.float32)


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.2])
def test_brightness_is_that_of_keras_cv(face: tf.Tensor, shift: float) -> None:
    from keras_cv import layers

    layer = layers.RandomBrightness(factor=0.0, value_range=(0, 255))
    expected = layer.augment_images(face[None], tf.constant([255.0 * shift])[:, None, None, None])
    np.testing.assert_allclose(augmentation.brighten(face, shift), expected[0], atol=1e-3)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5])
def test_contrast_is_that_of_keras_cv(face: tf.Tensor, factor: float) -> None:
    from keras_cv import layers

    layer = layers.RandomContrast(factor=0.0, value_range=(0, 255))
    expected = layer.augment_images(face[None], tf.constant([factor])[:, None, None, None])
    np.testing.assert_allclose(augmentation.stretch(face, factor), expected[0], atol=1e-2)


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.6])
@pytest.mark.parametrize("hue", [-0.4, -0.05, 0.0, 0.21])
def test_saturation_and_hue_are_those_of_keras_cv(
    face: tf.Tensor, factor: float, hue: float
) -> None:
    from keras_cv import layers

    saturate = layers.RandomSaturation(factor=0.5)
    rotate = layers.RandomHue(factor=0.0, value_range=(0, 255))
    mapped = tf.constant([factor / (1.0 + factor)])
    expected = 255.0 * saturate.augment_images(face[None] / 255.0, mapped)
    expected = rotate.augment_images(expected, tf.constant([hue]))
    found = augmentation.turn(face, saturation=tf.constant(factor), hue=tf.constant(hue))
    np.testing.assert_allclose(found, expected[0], atol=0.05)


def test_nothing_is_changed_at_strength_0() -> None:
    assert augmentation.photometric(Augment()) is None


def test_half_of_the_faces_are_mirrored() -> None:
    image = tf.constant(smooth_face(1, 16))
    mirrored = 0
    for number in range(400):
        found = augmentation.flip(image, draw(tf.constant([5, number]))).numpy()
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


def test_no_three_terms_are_added():
    """TensorFlow may add them in another order in another process, and the last bit follows it."""
    change = augmentation.photometric(
        Augment(brightness=0.1, contrast=0.1, saturation=0.2, hue=0.1)
    )
    assert change is not None
    specs = [tf.TensorSpec((48, 48, 3), tf.uint8), tf.TensorSpec((len(Decision),), tf.float32)]
    traced = tf.function(change, input_signature=specs, autograph=False).get_concrete_function()
    added = [op for op in traced.graph.get_operations() if op.type in ("Add", "AddV2", "AddN")]
    assert added
    assert [op.name for op in added if any(x.op in added for x in op.inputs)] == []
