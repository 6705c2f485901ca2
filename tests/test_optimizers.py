"""Optimizers against steps worked out by hand; schedules by their numbers."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as keras

import tfforensics  # noqa: F401  (before TensorFlow: it says which Keras)
from tfforensics.command import UsageError
from tfforensics.optimizers import (
    Schedule,
    build_optimizer,
    create_variables,
    learning_rate_of,
    loss_scale_of,
    resolve_precision,
)

needs_addons = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tensorflow-addons has no wheels for this Python"
)
with_addons = [pytest.param(name, marks=needs_addons) for name in ("lamb", "radam_lookahead")]


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({}, [0, 9, 1000], [0.1, 0.1, 0.1]),
        ({"warmup": 4}, [0, 1, 2, 3, 4, 9], [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]),
        # t = 0, 1/4, 1/2, 1 and past the end
        ({"kind": "cosine", "warmup": 2}, [2, 4, 6, 10, 11], [0.1, 0.08535534, 0.05, 0, 0]),
        ({"kind": "cosine", "warmup": 2}, [0, 1], [0.05, 0.1]),
        (
            {"kind": "step", "decay": 0.5, "decay_every": 3},
            [0, 2, 3, 5, 6, 9],
            [0.1, 0.1, 0.05, 0.05, 0.025, 0.0125],
        ),
        ({"kind": "step", "decay": 0.5, "decay_every": 3, "warmup": 4}, [1, 3], [0.05, 0.05]),
    ],
)
def test_schedule(settings: dict[str, Any], steps: list[int], expected: list[float]) -> None:
    schedule = Schedule(0.1, steps=10, **settings)
    rates = [schedule(tf.constant(step, tf.int64)) for step in steps]
    assert [rate.dtype for rate in rates] == [tf.float32] * len(rates)
    assert [float(rate) for rate in rates] == pytest.approx(expected, abs=1e-8)
    again = Schedule.from_config(schedule.get_config())
    assert [float(again(step)) for step in steps] == [float(rate) for rate in rates]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "linear"}, "schedule: expected one of constant, cosine, step, got 'linear'"),
        ({"warmup": 10}, "warmup: expected 0 up to 9 of 10 steps, got 10"),
    ],
)
def test_schedules_that_do_not_exist(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Schedule(0.1, steps=10, **settings)


def walk(
    name: str, start: list[float], gradients: list[list[float]], rate: Any = 0.1, **settings: Any
) -> list[float]:
    """The weights after one step with each gradient."""
    optimizer = build_optimizer(name, rate, **settings)
    weights = tf.Variable(start)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), weights)])
    return weights.numpy().tolist()


def test_sgd_adds_weight_decay_to_the_gradient() -> None:
    # g = 1 + 0.5 * 2 = 2, so w = 2 - 0.1 * 2 = 1.8; then g = 1.9 and the momentum -0.18:
    # w = 1.8 - 0.18 - 0.19 = 1.43
    assert walk("sgd", [2.0], [[1.0]], weight_decay=0.5) == pytest.approx([1.8])
    assert walk("sgd", [2.0], [[1.0], [1.0]], weight_decay=0.5) == pytest.approx([1.43])


def test_adam_adds_weight_decay_to_the_gradient() -> None:
    # Adam's first step is the rate times the gradient's sign, here of -1 + 1 * 2.
    assert walk("adam", [2.0], [[-1.0]], weight_decay=1.0) == pytest.approx([1.9], abs=1e-5)
    assert walk("adam", [2.0], [[-1.0]]) == pytest.approx([2.1], abs=1e-5)


def test_adamw_decays_weights_apart_from_the_gradient() -> None:
    # 2 (1 - 0.1 * 0.5) + 0.1
    assert walk("adamw", [2.0], [[-1.0]], weight_decay=0.5) == pytest.approx([2.0], abs=1e-5)


@needs_addons
def test_lamb_scales_its_step_to_the_weights() -> None:
    # An update of (1, 1) times |w| / |update| = 5 / sqrt(2), times the rate.
    assert walk("lamb", [3.0, 4.0], [[1.0, 1.0]]) == pytest.approx(
        [3 - 0.35355339, 4 - 0.35355339], abs=1e-5
    )


@needs_addons
def test_radam_lookahead_steps_back_half_way_every_sixth_step() -> None:
    # Five steps of the rate, then the first rectified one: rho_6 = 5.994 gives r = 0.02582.
    assert walk("radam_lookahead", [2.0], [[1.0]] * 5) == pytest.approx([1.5], abs=1e-6)
    expected = 2 - (0.5 + 0.1 * 0.02582111) / 2
    assert walk("radam_lookahead", [2.0], [[1.0]] * 6) == pytest.approx([expected], abs=1e-5)


@pytest.mark.parametrize("name", ["sgd", pytest.param("radam_lookahead", marks=needs_addons)])
def test_gradients_are_clipped_by_their_global_norm(name: str) -> None:
    # The first step of both is the rate times the gradient: (30, 40) has norm 50.
    assert walk(name, [1.0, 2.0], [[30.0, 40.0]], clip_norm=5.0) == pytest.approx(
        [1 - 0.3, 2 - 0.4]
    )
    assert walk(name, [1.0, 2.0], [[0.3, 0.4]], clip_norm=5.0) == pytest.approx(
        [1 - 0.03, 2 - 0.04]
    )


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", *with_addons])
def test_float16_comes_with_a_loss_scale(name: str) -> None:
    scaled = build_optimizer(name, 0.1, precision="mixed_float16")
    assert isinstance(scaled, keras.mixed_precision.LossScaleOptimizer)
    assert loss_scale_of(scaled) == 32768.0
    for precision in ("float32", "mixed_bfloat16"):
        assert loss_scale_of(build_optimizer(name, 0.1, precision=precision)) is None


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", ["adam", "sgd", *with_addons])
def test_learning_rate_of_the_last_step(name: str, precision: str) -> None:
    schedule = Schedule(0.1, "step", steps=10, decay=0.5, decay_every=1)
    optimizer = build_optimizer(name, schedule, precision=precision)
    weights = [tf.Variable([1.0])]
    create_variables(optimizer, weights)
    assert learning_rate_of(optimizer) == pytest.approx(0.1)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for rate in (0.1, 0.05, 0.025):
        inner.apply_gradients([(tf.constant([1.0]), weights[0])])
        assert learning_rate_of(optimizer) == pytest.approx(rate)
    assert learning_rate_of(build_optimizer(name, 0.3)) == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["adam", "sgd", *with_addons])
def test_all_variables_can_be_made_before_the_first_step(name: str) -> None:
    optimizer = build_optimizer(name, 0.1, weight_decay=0.1)
    weights = [tf.Variable([1.0, 2.0])]
    create_variables(optimizer, weights)
    listed = optimizer.variables
    before = [v.name for v in (listed() if callable(listed) else listed)]
    optimizer.apply_gradients([(tf.constant([1.0, 1.0]), weights[0])])
    listed = optimizer.variables
    assert [v.name for v in (listed() if callable(listed) else listed)] == before


def test_an_optimizer_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match=r"optimizer\.name: expected one of adam, .*, got 'lion'"):
        build_optimizer("lion", 0.1)


def test_precision() -> None:
    half_on_gpu = "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    assert resolve_precision("auto") == half_on_gpu
    assert resolve_precision("mixed_bfloat16") == "mixed_bfloat16"
    with pytest.raises(UsageError, match=r"precision: expected one of auto, .*, got 'float16'"):
        resolve_precision("float16")
