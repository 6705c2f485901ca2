from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.detector import Detector

SIZE = 8


def network(bias: float = 0.0) -> keras.Model:
    """The mean of the pixels in 0..1, times a weight, plus a bias."""
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(
        1,
        kernel_initializer="ones",
        bias_initializer=keras.initializers.Constant(bias),
        name="head",
    )(x)
    logit = keras.layers.Activation("linear", dtype="float32", name="logit")(x[:, 0])
    return keras.Model(image, {"logit": logit}, name="mean_pixel")


def batches(count: int = 4, batch: int = 6, seed: int = 0) -> tf.data.Dataset:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count * batch, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.tile(np.array([0, 1], np.float32), count * batch // 2)
    images[labels == 1] //= 2
    seeds = np.stack([np.full(count * batch, 7), np.arange(count * batch)], 1).astype(np.int32)
    return tf.data.Dataset.from_tensor_slices(({"image": images, "seed": seeds}, labels)).batch(
        batch
    )


def test_call_takes_images_or_a_batch() -> None:
    detector = Detector(network())
    ((x, _),) = batches(1)
    assert detector(x)["logit"].shape == (6,)
    np.testing.assert_array_equal(detector(x)["logit"], detector(x["image"])["logit"])
    # An image of 51s is 0.2 everywhere: logit = 3 x 0.2.
    image = np.full((1, SIZE, SIZE, 3), 51, np.uint8)
    np.testing.assert_allclose(detector(image)["logit"], [0.6], rtol=1e-6)


def test_compute_loss_is_the_mean_cross_entropy_and_counts_the_step() -> None:
    detector = Detector(network())
    x = {"image": np.zeros((2, SIZE, SIZE, 3), np.uint8)}
    outputs = {"logit": tf.constant([0.0, 2.0])}
    loss = detector.compute_loss(x, tf.constant([1.0, 0.0]), outputs)
    np.testing.assert_allclose(loss, (np.log(2) + np.log1p(np.exp(2))) / 2, rtol=1e-6)
    assert detector.step == 1
    weighted = detector.compute_loss(
        x, tf.constant([1.0, 0.0]), outputs, sample_weight=tf.constant([2.0, 0.0])
    )
    np.testing.assert_allclose(weighted, np.log(2), rtol=1e-6)


def test_fit_learns_and_logs_every_part() -> None:
    detector = Detector(network())
    detector.compile(keras.optimizers.Adam(0.3), steps_per_execution=2)
    data = batches()
    history = detector.fit(data, epochs=8, validation_data=data, verbose=0).history
    assert set(history) == {"loss", "loss/cross_entropy", "auc", "val_loss", "val_auc"}
    assert history["loss"][-1] < history["loss"][0]
    assert history["loss"] == history["loss/cross_entropy"]
    assert history["val_auc"][-1] == 1.0
    assert detector.step == 32  # validation does not count


def test_validation_changes_no_weight() -> None:
    detector = Detector(network())
    detector.compile(keras.optimizers.Adam(0.3))
    before = [weight.numpy() for weight in detector.network.weights] + [detector.step.numpy()]
    figures = detector.evaluate(batches(), verbose=0, return_dict=True)
    after = [weight.numpy() for weight in detector.network.weights] + [detector.step.numpy()]
    assert set(figures) == {"loss", "auc"}
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_regularisation_of_the_network_is_part_of_the_total() -> None:
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(image)
    logit = keras.layers.Dense(
        1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5)
    )(x)[:, 0]
    detector = Detector(keras.Model(image, {"logit": logit}))
    loss = detector.compute_loss({}, tf.constant([1.0]), {"logit": tf.constant([0.0])})
    np.testing.assert_allclose(loss, np.log(2) + 0.5 * 3, rtol=1e-6)


def test_step_counts_where_the_loss_scale_optimizer_skips() -> None:
    detector = Detector(network())
    # The first gradients overflow: all four steps are dropped while the scale comes down.
    optimizer = keras.mixed_precision.LossScaleOptimizer(
        keras.optimizers.SGD(1e-3), initial_scale=1e38
    )
    detector.compile(optimizer)
    detector.fit(batches().map(lambda x, y: (x, y, 100.0 * tf.ones_like(y))), verbose=0)
    np.testing.assert_allclose(optimizer.loss_scale, 1e38 / 2**4, rtol=1e-6)
    np.testing.assert_array_equal(detector.network.get_layer("head").kernel, np.ones((3, 1)))
    assert detector.step == 4


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_loss_is_float32_under_mixed_precision(
    policy: str, precision: Callable[[str], None]
) -> None:
    precision(policy)
    detector = Detector(network())
    ((x, y),) = batches(1)
    outputs = detector(x, training=True)
    assert outputs["logit"].dtype == tf.float32
    assert detector.compute_loss(x, y, outputs).dtype == tf.float32


def test_two_replicas_train_as_one() -> None:
    # The number of devices is fixed once TensorFlow has started: a process of its own.
    code = "import test_detector; test_detector.train_on_two_replicas()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def train_on_two_replicas() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    devices = tf.config.list_logical_devices("CPU")
    alone = Detector(network())
    alone.compile(keras.optimizers.SGD(0.5))
    alone_history = alone.fit(batches(), verbose=0).history
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    with strategy.scope():
        together = Detector(network())
        together.compile(keras.optimizers.SGD(0.5))
    together_history = together.fit(batches(), verbose=0).history
    assert together.step == 4
    for one, other in zip(alone.network.weights, together.network.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for name, values in alone_history.items():
        np.testing.assert_allclose(values, together_history[name], rtol=1e-5, err_msg=name)


def test_checkpoint_restores_the_step() -> None:
    detector = Detector(network())
    detector.compute_loss({}, tf.constant([1.0]), {"logit": tf.constant([0.0])})
    assert "step" in dict(tf.train.Checkpoint(detector=detector).detector._trackable_children())
    other = Detector(network())
    other.set_weights(detector.get_weights())
    assert other.step == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "loss: expected one of cross_entropy, focal, got 'hinge'"),
        ({"label_smoothing": 1.0}, "label_smoothing: expected 0 <= s < 1, got 1.0"),
        ({"focal_gamma": -1.0}, "focal_gamma: expected 0 or more, got -1.0"),
        ({"focal_alpha": 1.5}, "focal_alpha: expected 0 to 1 or none, got 1.5"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Detector(network(), **settings)
    assert str(error.value) == message
