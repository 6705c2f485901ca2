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
from tiny import tiny_backbone

from tfforensics.agda import Agda
from tfforensics.command import UsageError
from tfforensics.losses import RegionLoss
from tfforensics.models.multi_attention import build_multi_attention
from tfforensics.models.multi_attention_detector import MultiAttentionDetector

SIZE = 32


def network(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_multi_attention(tiny_backbone(SIZE), maps=2, projection=16)


def detector(agda: Agda | None = None, seed: int = 0, **settings: object) -> MultiAttentionDetector:
    return MultiAttentionDetector(
        network(seed), steps_per_epoch=4, region=RegionLoss(), augmentation=agda, **settings
    )


def batches(count: int = 4, batch: int = 8) -> tf.data.Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count * batch, SIZE, SIZE, 3), np.uint8)
    labels = np.tile(np.array([0, 1], np.float32), count * batch // 2)
    images[labels == 1, 8:24, 8:24] //= 3
    seeds = rng.integers(0, 2**31, (count * batch, 2), np.int32)
    x = {"image": images, "seed": seeds}
    return tf.data.Dataset.from_tensor_slices((x, labels)).batch(batch, drop_remainder=True)


def test_total_is_the_weighted_sum_of_the_parts() -> None:
    model = detector(Agda(), region_weight=0.5, agda_weight=2.0, match_weight=0.1)
    x, y = next(iter(batches()))
    outputs = model(x, training=True)
    total = model.compute_loss(x, y, outputs)
    parts = {metric.name: float(metric.result()) for metric in model.metrics}
    assert set(parts) == {
        "loss",
        "loss/cross_entropy",
        "loss/region",
        "loss/agda",
        "loss/match",
        "auc",
    }
    assert min(parts[f"loss/{part}"] for part in ("cross_entropy", "region", "agda", "match")) > 0
    np.testing.assert_allclose(
        total,
        parts["loss/cross_entropy"]
        + 0.5 * parts["loss/region"]
        + 2.0 * parts["loss/agda"]
        + 0.1 * parts["loss/match"],
        rtol=1e-5,
    )


def step(model: MultiAttentionDetector, x: dict[str, tf.Tensor], y: tf.Tensor) -> tf.Tensor:
    return model.compute_loss(x, y, model(x, training=True))


@pytest.mark.parametrize(("agda", "passes"), [(None, 1), (Agda(), 2)])
def test_augmentation_takes_a_second_pass(agda: Agda | None, passes: int) -> None:
    model = detector(agda)
    step(model, *next(iter(batches())))
    assert model.network.get_layer("final_dropout").counter == passes
    names = {metric.name for metric in model.metrics}
    assert ("loss/agda" in names) == ("loss/match" in names) == (passes == 2)


def test_centres_move_once_a_step_and_alpha_decays_by_the_step_count() -> None:
    model = detector(None)
    x, y = next(iter(batches()))
    outputs = model(x, training=True)
    real = tf.boolean_mask(outputs["regions"], y == 0)
    target = tf.reduce_sum(real, axis=0) / len(y)
    model.compute_loss(x, y, outputs)
    np.testing.assert_allclose(model.centres, 0.05 * target, rtol=1e-4, atol=1e-7)
    model.centres.assign(tf.zeros_like(model.centres))
    model.step.assign(8)  # two epochs of four steps
    model.compute_loss(x, y, outputs)
    np.testing.assert_allclose(model.centres, 0.05 * 0.81 * target, rtol=1e-4, atol=1e-7)
    assert model.step == 9


def test_validation_moves_no_centre() -> None:
    model = detector(Agda())
    model.compile()
    figures = model.evaluate(batches(), verbose=0, return_dict=True)
    assert set(figures) == {"loss", "auc"}
    np.testing.assert_array_equal(model.centres, tf.zeros_like(model.centres))
    assert model.step == 0


def test_gradients_of_the_second_pass_reach_the_attention_and_the_backbone() -> None:
    model = detector(Agda(), region_weight=0.0)
    x, y = next(iter(batches()))
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        # Cut the first pass off: what is left comes from the augmented images.
        outputs = {name: tf.stop_gradient(value) for name, value in outputs.items()}
        loss = model.compute_loss(x, y, outputs)
    weights = model.trainable_variables
    reached = {
        weight.name: gradient is not None and np.abs(gradient).max() > 0
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True)
    }
    assert [name for name, found in reached.items() if not found and "/bias" not in name] == []


def test_same_seed_same_training() -> None:
    def train() -> list[np.ndarray]:
        model, optimizer = detector(Agda()), keras.optimizers.Adam(1e-3)
        for x, y in batches(2):
            with tf.GradientTape() as tape:
                loss = step(model, x, y)
            optimizer.minimize(loss, model.trainable_variables, tape)
        return model.get_weights()

    for one, other in zip(train(), train(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "policy", [pytest.param("float32", marks=pytest.mark.slow), "mixed_bfloat16"]
)
def test_training_learns_without_nan(policy: str, precision: Callable[[str], None]) -> None:
    precision(policy)
    model = detector(Agda())
    model.compile(keras.optimizers.Adam(3e-3), steps_per_execution=4)
    history = model.fit(batches(), epochs=15, verbose=0).history  # 60 steps
    assert model.step == 60
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert history["loss/cross_entropy"][-1] < 0.5 * history["loss/cross_entropy"][0]
    assert model.evaluate(batches(), verbose=0, return_dict=True)["auc"] > 0.95


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_batches_of_one_class_have_a_loss_and_gradients(label: float) -> None:
    model = detector(Agda())
    x, y = next(iter(batches()))
    with tf.GradientTape() as tape:
        loss = step(model, x, tf.fill(y.shape, label))
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(gradient).all()
    moved = float(tf.reduce_max(tf.abs(model.centres))) > 0
    assert moved == (label == 0.0)  # the centres follow real faces alone


def test_checkpoint_restores_centres_and_step(tmp_path: Path) -> None:
    model = detector(None)
    step(model, *next(iter(batches())))
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    other = detector(None, seed=1)
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(other.centres, model.centres)
    assert float(tf.reduce_max(tf.abs(other.centres))) > 0
    assert other.step == 1


@pytest.mark.slow
def test_two_replicas_keep_one_set_of_centres() -> None:
    # The number of devices is fixed once TensorFlow has started: a process of its own.
    code = "import test_multi_attention_detector as t; t.train_on_two_replicas()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=180)


def train_on_two_replicas() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in tf.config.list_logical_devices("CPU")]
    )
    with strategy.scope():
        model = detector(Agda())
        model.compile(keras.optimizers.SGD(0.01), steps_per_execution=2)
    history = model.fit(batches(), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert model.step == 4
    one, other = strategy.experimental_local_results(model.centres)
    np.testing.assert_array_equal(one, other)
    assert float(tf.reduce_max(tf.abs(one))) > 0


def test_an_epoch_without_steps_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"^steps_per_epoch: expected at least 1, got 0$"):
        MultiAttentionDetector(network(), steps_per_epoch=0, region=RegionLoss(), augmentation=None)
