"""Backbones as their users call them: taps, sizes, dtypes, and errors."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.backbone import build_backbone, build_classifier


@pytest.fixture
def policy():
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


def test_taps_have_these_shapes():
    model = build_backbone("b0", size=76, weights=None)
    assert {tap: tuple(tensor.shape[1:]) for tap, tensor in model.output.items()} == {
        "b1": (38, 38, 16),
        "b2": (19, 19, 24),
        "b3": (10, 10, 40),
        "b4": (5, 5, 80),
        "b5": (5, 5, 112),
        "b6": (3, 3, 192),
        "b7": (3, 3, 320),
        "final": (3, 3, 1280),
    }


def test_only_what_the_taps_need_is_built():
    cut = build_backbone("lite0", size=64, weights="imagenet", taps=["b2", "b3"])
    whole = build_backbone("lite0", size=64, weights="imagenet")
    assert list(cut.output) == ["b2", "b3"]
    assert len(cut.weights) < len(whole.weights) / 2
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(cut(images)["b3"], whole(images)["b3"], atol=1e-5)


def test_bytes_and_floats_are_the_same_images():
    model = build_backbone("lite0", size=32, weights="imagenet", taps=["final"])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(
        model(images)["final"], model(tf.cast(images, tf.float32))["final"]
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_sees_whole_pixels(policy, dtype):
    expected = build_backbone("lite0", size=64, weights="imagenet", taps=["b2"])
    policy(f"mixed_{dtype}")
    model = build_backbone("lite0", size=64, weights="imagenet", taps=["b2"])
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    pre = keras.Model(model.input, model.get_layer("preprocessing").output)(images)
    assert pre.dtype == tf.float32
    np.testing.assert_array_equal(pre, (images - 127) / 128)
    found, wanted = model(images)["b2"], expected(images)["b2"].numpy()
    assert found.dtype == dtype
    np.testing.assert_allclose(tf.cast(found, tf.float32), wanted, atol=0.05 * np.abs(wanted).max())
    assert all(weight.dtype == tf.float32 for weight in model.trainable_weights)


def test_training_twice_from_one_seed_gives_the_same_bits():
    """Drop-connect is on: its masks follow from the seed alone."""

    def trained(seed):
        model = build_backbone(
            "lite0", size=32, weights="imagenet", taps=["b3"], drop_connect=0.9, seed=seed
        )
        return model(tf.fill((32, 32, 32, 3), 99.0), training=True)["b3"].numpy()

    np.testing.assert_array_equal(trained(1), trained(1))
    assert np.any(trained(1) != trained(2))


def test_weights_saved_and_loaded_give_equal_outputs(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    model = build_backbone("v2-b0", size=32, weights=None, taps=["b3"])
    model.save_weights(tmp_path / "weights.h5")
    loaded = build_backbone("v2-b0", size=32, weights=None, taps=["b3"])
    assert np.any(loaded(images)["b3"] != model(images)["b3"])
    loaded.load_weights(tmp_path / "weights.h5")
    np.testing.assert_array_equal(loaded(images)["b3"], model(images)["b3"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "b9"}, r"backbone: expected one of b0, .*, lite4, got 'b9'"),
        ({"taps": ["b2", "b8"]}, r"taps: expected some of b1, b2, .*, final for b0, got b8"),
        ({"taps": []}, r"taps: expected some of b1, .*, got none"),
        ({"name": "v2-s", "taps": ["b7"]}, r"of b1, .*, b6, final for v2-s, got b7"),
        ({"size": 31}, r"size: expected at least 32 pixels for tap 'b6' of b0, got 31"),
        ({"size": 7, "taps": ["b2", "b3"]}, r"at least 8 pixels for tap 'b3' of b0, got 7"),
        ({"drop_connect": 1.0}, r"drop_connect: expected a rate in \[0, 1\), got 1\.0"),
        ({"drop_connect": -0.1}, r"drop_connect: expected a rate in \[0, 1\), got -0\.1"),
        ({"weights": "none.h5"}, r"weights: no such file: none\.h5"),
    ],
)
def test_mistakes_are_named(settings, message):
    arguments = {"name": "b0", "size": 64, "weights": None, **settings}
    with pytest.raises(UsageError, match=message):
        build_backbone(arguments.pop("name"), **arguments)


def test_the_classifier_gives_float32_logits(policy):
    policy("mixed_bfloat16")
    logits = build_classifier("lite0", size=32, weights=None, classes=7)(tf.zeros((2, 32, 32, 3)))
    assert logits.shape == (2, 7)
    assert logits.dtype == tf.float32
