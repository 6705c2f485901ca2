from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfforensics import losses
from tfforensics.command import UsageError
from tfforensics.losses import RegionLoss, regional_independence
from tfforensics.models.attention import BilinearAttentionPooling

LOGITS = st.floats(-50, 50, width=32)


def test_cross_entropy_of_known_logits() -> None:
    logits = np.log([1.0, 3.0, 3.0])  # probabilities 1/2, 3/4, 3/4
    np.testing.assert_allclose(
        losses.cross_entropy([1.0, 1.0, 0.0], logits), np.log([2, 4 / 3, 4]), rtol=1e-6
    )
    # Smoothing by 0.2 turns the labels into 0.9 and 0.1.
    np.testing.assert_allclose(
        losses.cross_entropy([1.0, 0.0], logits[1:], label_smoothing=0.2),
        [
            0.9 * np.log(4 / 3) + 0.1 * np.log(4),
            0.1 * np.log(4 / 3) + 0.9 * np.log(4),
        ],
        rtol=1e-6,
    )


def test_focal_of_a_known_logit() -> None:
    # p_t = 0.9: (1 - 0.9)^2 x -log(0.9) = 0.01 x 0.1053605, weighted by 0.25 or 0.75.
    logit = np.log(9.0)
    np.testing.assert_allclose(
        losses.focal([1.0, 0.0], [logit, -logit]),
        [0.25 * 0.001053605, 0.75 * 0.001053605],
        rtol=1e-5,
    )
    np.testing.assert_allclose(losses.focal([1.0], [logit], alpha=None), [0.001053605], rtol=1e-5)


@given(st.floats(0, 1), LOGITS)
@settings(deadline=None)
def test_focal_without_focus_is_the_cross_entropy(label: float, logit: float) -> None:
    np.testing.assert_allclose(
        losses.focal([label], [logit], gamma=0.0, alpha=None),
        losses.cross_entropy([label], [logit]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.focal])
def test_extreme_logits_have_finite_losses_and_gradients(loss: object) -> None:
    logits = tf.constant([-1e4, -100.0, 0.0, 100.0, 1e4] * 2)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        values = loss([0.0] * 5 + [1.0] * 5, logits)  # type: ignore[operator]
    assert np.isfinite(values).all()
    assert np.isfinite(tape.gradient(values, logits)).all()
    assert values[0] == 0
    assert values[4] > 1e3


def test_losses_of_half_precision_logits_are_float32() -> None:
    logits = tf.constant([1.0], tf.float16)
    assert losses.cross_entropy([1.0], logits).dtype == tf.float32
    assert losses.focal([1.0], logits).dtype == tf.float32


@reference.needs_reference
def test_region_loss_agrees_with_the_published_module_over_three_steps() -> None:
    region = RegionLoss("repository", inter_margin=0.5, intra_margins=(0.1, -2.0))
    centres = tf.zeros((4, 8))
    for step in range(3):
        arrays = reference.load(f"region_loss/step{step}")
        features, maps = (reference.nhwc(arrays[name]) for name in ("features", "attentions"))
        regions = BilinearAttentionPooling()(features, maps)
        np.testing.assert_allclose(regions, arrays["feature_matrix"], atol=1e-5)
        loss, centres = regional_independence(regions, arrays["labels"], centres, 0.05, region)
        np.testing.assert_allclose(loss, arrays["loss"], atol=1e-4)
        np.testing.assert_allclose(centres, arrays["centers_after"], atol=1e-6)


# Two maps of one channel: a real example at (3, 1), a manipulated one at (-1, 5).
REGIONS = np.array([[[3.0], [1.0]], [[-1.0], [5.0]]], np.float32)
LABELS = np.array([0.0, 1.0], np.float32)


def test_region_loss_by_hand_as_in_the_repository() -> None:
    region = RegionLoss("repository", inter_margin=4.0, intra_margins=(1.0, -9.0))
    loss, centres = regional_independence(REGIONS, LABELS, tf.zeros((2, 1)), 0.5, region)
    # Half of the mean over both examples of what the real one asks for: (3, 1) / 2 / 2.
    np.testing.assert_allclose(centres, [[0.75], [0.25]])
    pull = np.hypot(3 - 0.75, 1 - 0.25) - 1
    push = 9 - np.hypot(-1 - 0.75, 5 - 0.25)
    apart = (4 - 0.5) / (2 * 0.5)
    np.testing.assert_allclose(loss, (pull + push) / 2 + apart, rtol=1e-6)


def test_region_loss_by_hand_as_in_the_paper() -> None:
    region = RegionLoss("paper", inter_margin=4.0, intra_margins=(1.0, 0.5))
    loss, centres = regional_independence(REGIONS, LABELS, tf.zeros((2, 1)), 0.5, region)
    np.testing.assert_allclose(centres, [[0.5], [1.5]])
    intra = ((2.5 - 1) + 0) / 4 + ((1.5 - 0.5) + (3.5 - 0.5)) / 4
    np.testing.assert_allclose(loss, intra + (4 - 1) / (2 * 0.5), rtol=1e-6)


@pytest.mark.parametrize("form", ["paper", "repository"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_batch_of_one_class_has_a_loss_and_a_gradient(form: str, label: float) -> None:
    regions = tf.constant(REGIONS)
    with tf.GradientTape() as tape:
        tape.watch(regions)
        loss, centres = regional_independence(
            regions, tf.fill([2], label), tf.zeros((2, 1)), 0.05, RegionLoss(form)
        )
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, regions)).all()
    unmoved = form == "repository" and label == 1.0
    assert (np.abs(centres).max() == 0) == unmoved


@given(st.permutations(range(5)))
@settings(deadline=None, max_examples=10)
def test_region_loss_does_not_depend_on_the_order_of_the_batch(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    regions, labels = rng.normal(size=(5, 3, 4)).astype(np.float32), np.array([0, 1, 0, 0, 1])
    start = tf.constant(rng.normal(size=(3, 4)), tf.float32)
    one = regional_independence(regions, labels, start, 0.1, RegionLoss())
    other = regional_independence(regions[order], labels[order], start, 0.1, RegionLoss())
    for value, same in zip(one, other, strict=True):
        np.testing.assert_allclose(value, same, rtol=1e-5, atol=1e-6)


def test_alpha_decays_once_an_epoch() -> None:
    region = RegionLoss(alpha=0.05, alpha_decay=0.9)
    steps = [0, 9, 10, 19, 20]
    alphas = [float(region.alpha_at(tf.constant(step, tf.int64), 10)) for step in steps]
    np.testing.assert_allclose(alphas, [0.05, 0.05, 0.045, 0.045, 0.0405], rtol=1e-6)


def test_match_forgives_the_chosen_map() -> None:
    regions = tf.zeros((1, 3, 2))
    augmented = tf.constant([[[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]]])
    np.testing.assert_allclose(losses.match(regions, augmented, [0]), 10 / 3)
    np.testing.assert_allclose(losses.match(regions, augmented, [1]), 5 / 3)
    with tf.GradientTape() as tape:
        tape.watch(augmented)
        loss = losses.match(regions, augmented, [1])
    gradient = tape.gradient(loss, augmented)
    np.testing.assert_allclose(gradient[0], [[0.2, 4 / 15], [0, 0], [0, 0]], rtol=1e-6)


@pytest.mark.slow
def test_two_replicas_have_the_centres_and_gradients_of_the_whole_batch() -> None:
    # The number of devices is fixed once TensorFlow has started: a process of its own.
    code = "import test_losses; test_losses.compare_with_two_replicas()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def compare_with_two_replicas() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in tf.config.list_logical_devices("CPU")]
    )
    rng = np.random.default_rng(0)
    regions, labels = rng.normal(size=(6, 3, 4)).astype(np.float32), np.array([0, 1, 0, 1, 1, 0])
    start = rng.normal(size=(3, 4)).astype(np.float32)

    def step(features: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            loss, centres = regional_independence(
                features, classes, start, 0.3, RegionLoss(inter_margin=3.0)
            )
            loss /= tf.distribute.get_strategy().num_replicas_in_sync
        return loss, centres, tape.gradient(loss, features)

    whole_loss, whole_centres, whole_gradient = step(tf.constant(regions), tf.constant(labels))
    data = tf.data.Dataset.from_tensors((regions, labels)).unbatch().batch(6)
    batch = next(iter(strategy.experimental_distribute_dataset(data)))
    parts = tf.function(lambda x, y: strategy.run(step, args=(x, y)))(*batch)
    loss, centres, gradient = (strategy.experimental_local_results(part) for part in parts)
    np.testing.assert_allclose(sum(loss), whole_loss, rtol=1e-5)
    for each in centres:
        np.testing.assert_allclose(each, whole_centres, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(gradient), whole_gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"form": "v3"}, "form: expected paper or repository, got 'v3'"),
        ({"inter_margin": -0.1}, "inter_margin: expected 0 or more, got -0.1"),
        ({"alpha": 0.0}, "alpha: expected 0 < alpha <= 1, got 0.0"),
        ({"alpha_decay": 1.5}, "alpha_decay: expected 0 < alpha_decay <= 1, got 1.5"),
    ],
)
def test_bad_settings_are_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        RegionLoss(**changed)  # type: ignore[arg-type]
    assert str(error.value) == message
