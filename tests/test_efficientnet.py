"""Our graphs against Keras's own, with the same weights: every tap, loss of no parameter."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.models.backbone import build_backbone

KERAS = {
    "b0": keras.applications.EfficientNetB0,
    "b3": keras.applications.EfficientNetB3,
    "b4": keras.applications.EfficientNetB4,
    "v2-b0": keras.applications.EfficientNetV2B0,
    "v2-b3": keras.applications.EfficientNetV2B3,
    "v2-s": keras.applications.EfficientNetV2S,
    "v2-m": keras.applications.EfficientNetV2M,
}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZE = 75  # odd at the stem and at two of the strides


def randomise(model, seed=0):
    """Weights under which activations neither die nor explode."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.8, 1.2, channels),
                    rng.normal(0, 0.2, channels),
                    rng.normal(0, 0.2, channels),
                    rng.uniform(0.8, 1.2, channels),
                ]
            )
        elif isinstance(layer, keras.layers.Normalization) and layer.weights:
            # As in the published files: deviations in the place of variances.
            layer.set_weights([MEAN, STD, 0])
            layer.finalize_state()


def pixels(batch=2, size=SIZE):
    return np.random.default_rng(1).integers(0, 256, (batch, size, size, 3), np.uint8)


def keras_network(name, path, monkeypatch, **settings):
    """Keras's network with the preprocessing of "imagenet" and random weights, saved at `path`."""
    module = "efficientnet_v2" if name.startswith("v2") else "efficientnet"
    monkeypatch.setattr(
        f"tf_keras.src.applications.{module}.data_utils.get_file", lambda *_, **__: None
    )
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    model = KERAS[name](
        weights="imagenet", include_top=False, input_shape=(SIZE, SIZE, 3), **settings
    )
    monkeypatch.undo()
    randomise(model)
    model.save_weights(path)
    return model


def floats(model):
    return sum(weight.shape.num_elements() for weight in model.weights if weight.dtype.is_floating)


def check_every_tap(name, theirs, path):
    ours = build_backbone(name, size=SIZE, weights=str(path), drop_connect=0.0)
    normalisation = 0 if name.startswith("v2") else 6
    assert floats(ours) == floats(theirs) - normalisation

    # The layer that a tap ends in has Keras's name for it.
    taps = [tensor.node.layer.name for tensor in ours.output.values()]
    expected = keras.Model(theirs.input, [theirs.get_layer(tap).output for tap in taps])(pixels())
    for (tap, found), wanted in zip(ours(pixels()).items(), expected, strict=True):
        scale = np.abs(wanted).max()
        assert scale > 0.01, "activations died: the comparison would be empty"
        np.testing.assert_allclose(found / scale, wanted / scale, atol=2e-5, err_msg=tap)
    return ours


def test_b0_equals_keras_in_inference_and_in_training(tmp_path, monkeypatch):
    """At every tap; then batch statistics, momentum, and gradients that reach every weight."""
    path = tmp_path / "weights.h5"
    theirs = keras_network("b0", path, monkeypatch, drop_connect_rate=0.0)
    ours = check_every_tap("b0", theirs, path)
    with tf.GradientTape() as tape:
        found = ours(pixels(), training=True)["final"]
        loss = tf.reduce_mean(found**2)
    np.testing.assert_allclose(found, theirs(pixels(), training=True), atol=1e-4, rtol=1e-3)
    for layer in ours.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            twin = theirs.get_layer(layer.name)
            np.testing.assert_allclose(layer.moving_mean, twin.moving_mean, atol=1e-5)
            np.testing.assert_allclose(layer.moving_variance, twin.moving_variance, atol=1e-5)
    gradients = tape.gradient(loss, ours.trainable_weights)
    assert all(np.any(gradient) for gradient in gradients)


def test_v2_b0_equals_keras(tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    check_every_tap("v2-b0", keras_network("v2-b0", path, monkeypatch), path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b3", "b4", "v2-b3", "v2-s", "v2-m"])
def test_larger_members_equal_keras(name, tmp_path, monkeypatch):
    path = tmp_path / "weights.h5"
    check_every_tap(name, keras_network(name, path, monkeypatch), path)


def test_drop_connect_grows_from_block_to_block():
    model = build_backbone("b0", size=64, weights=None, drop_connect=0.32)
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_drop")}
    # Blocks with a residual, of 16: rate = 0.32 x number / 16.
    assert rates == pytest.approx(
        {
            f"block{name}_drop": 0.02 * number
            for name, number in [
                ("2b", 2),
                ("3b", 4),
                ("4b", 6),
                ("4c", 7),
                ("5b", 9),
                ("5c", 10),
                ("6b", 12),
                ("6c", 13),
                ("6d", 14),
            ]
        }
    )
