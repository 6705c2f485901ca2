"""Optimizers and learning-rate schedules from plain settings, and the numeric precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics import addons
from tfforensics.command import UsageError
from tfforensics.config import Config

OPTIMIZERS = ("adam", "adamw", "sgd", "lamb", "radam_lookahead")
SCHEDULES = ("constant", "cosine", "step")
PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")


def resolve_precision(precision: str) -> str:
    """The Keras dtype policy for a precision setting.

    Args:
        precision: "float32", "mixed_float16", "mixed_bfloat16", or "auto": mixed_float16 on a
            machine with a GPU, float32 on one without, where half precision is slower.

    Raises:
        UsageError: another name.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant, cosine or step decay.

    The rate of step s (0-based) is peak * warm(s) * shape(s), with

        warm(s) = min(1, (s + 1) / warmup)
        constant: shape(s) = 1
        cosine:   shape(s) = (1 + cos(pi t)) / 2, t = (s - warmup) / (steps - warmup) in [0, 1]
        step:     shape(s) = decay ** floor(s / decay_every)

    Cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.

    Args:
        peak: the highest rate, above 0.
        kind: "constant", "cosine" or "step".
        steps: training steps in all, where cosine reaches 0.
        warmup: steps of warm-up; 0 for none.
        decay: the factor of step.
        decay_every: steps between two decays of step.

    Raises:
        UsageError: another kind, or a warm-up that leaves nothing of the training.
    """

    def __init__(
        self,
        peak: float,
        kind: str = "constant",
        *,
        steps: int,
        warmup: int = 0,
        decay: float = 0.5,
        decay_every: int = 5000,
    ) -> None:
        if kind not in SCHEDULES:
            raise UsageError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {kind!r}")
        if not 0 <= warmup < steps:
            raise UsageError(f"warmup: expected 0 up to {steps - 1} of {steps} steps, got {warmup}")
        self._settings = {
            "peak": peak, "kind": kind, "steps": steps, "warmup": warmup, "decay": decay,
            "decay_every": decay_every,
        }  # fmt: skip
        self._peak = peak
        self._kind = kind
        self._steps = steps
        self._warmup = warmup
        self._decay = decay
        self._decay_every = decay_every

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """The rate, float32 (), of a 0-based step, any integer dtype."""
        step = tf.cast(step, tf.float32)
        warm = tf.minimum(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        shape = tf.ones_like(step)
        if self._kind == "cosine":
            done = (step - self._warmup) / (self._steps - self._warmup)
            shape = (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0))) / 2
        elif self._kind == "step":
            shape = self._decay ** tf.floor(step / self._decay_every)
        return self._peak * warm * shape

    def get_config(self) -> dict[str, Any]:
        return dict(self._settings)


class _L2:
    """Adds `l2` times the weights to their gradient: weight decay as Adam and SGD had it first.

    The gradient of the penalty l2/2 |w|^2, added after clipping; the logged loss is without it.
    """

    l2 = 0.0

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        super().update_step(gradient + self.l2 * variable, variable)  # type: ignore[misc]


class _Adam(_L2, keras.optimizers.Adam):
    pass


class _SGD(_L2, keras.optimizers.SGD):
    pass


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    precision: str = "float32",
    jit_compile: bool = False,
) -> Any:
    """An optimizer from plain settings.

    Args:
        name: "adam" (Kingma and Ba 2015), "adamw" (Loshchilov and Hutter 2019), "sgd" (momentum
            0.9), "lamb" (You et al. 2020) or "radam_lookahead" (Liu et al. 2020 in Zhang et
            al. 2019, every 6 steps by half); the last two come from tensorflow-addons.
        learning_rate: a number or a schedule.
        weight_decay: added to the gradient, times the weights, by adam and sgd; decoupled from
            it and times the learning rate by the others.
        clip_norm: the largest global norm of the gradients; larger ones are scaled down to it.
        precision: a dtype policy; "mixed_float16" wraps the optimizer in a dynamic loss scale,
            which skips steps whose gradients overflow.
        jit_compile: compile the update with XLA, on a GPU (not for tensorflow-addons').

    Raises:
        UsageError: another name, or tensorflow-addons is needed and not installed.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"optimizer.name: expected one of {', '.join(OPTIMIZERS)}, got {name!r}")
    optimizer: Any
    common = {"global_clipnorm": clip_norm, "jit_compile": jit_compile}
    if name == "adam":
        optimizer = _Adam(learning_rate, **common)
        optimizer.l2 = weight_decay
    elif name == "sgd":
        optimizer = _SGD(learning_rate, momentum=0.9, **common)
        optimizer.l2 = weight_decay
    elif name == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, **common)
    else:
        tfa = addons.load(f"optimizer.name {name}")
        clip = {} if clip_norm is None else {"global_clipnorm": clip_norm}
        if name == "lamb":
            optimizer = tfa.optimizers.LAMB(learning_rate, weight_decay=weight_decay, **clip)
        else:
            inner = tfa.optimizers.RectifiedAdam(learning_rate, weight_decay=weight_decay)
            optimizer = tfa.optimizers.Lookahead(inner, **clip)
    if precision == "mixed_float16":
        return keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def from_config(config: Config, precision: str) -> Any:
    """The optimizer of a configuration, its schedule over the configuration's steps.

    Args:
        precision: a dtype policy, as `resolve_precision` gives it.
    """
    rule = config.optimizer
    schedule = Schedule(
        rule.learning_rate,
        rule.schedule,
        steps=config.train.steps,
        warmup=rule.warmup,
        decay=rule.decay,
        decay_every=rule.decay_every,
    )
    return build_optimizer(
        rule.name,
        schedule,
        weight_decay=rule.weight_decay,
        clip_norm=rule.clip_norm,
        precision=precision,
        jit_compile=config.train.jit_compile,
    )


def create_variables(optimizer: Any, weights: Sequence[tf.Variable]) -> None:
    """Makes what an optimizer otherwise makes at its first step, for a checkpoint to restore.

    Args:
        optimizer: of `build_optimizer`.
        weights: the trainable weights, with their first values (Lookahead starts from those).
    """
    if isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer.build(weights)
    else:  # Keras's older kind, of which tensorflow-addons' are; Keras itself calls this to load
        optimizer._create_all_weights(weights)


def learning_rate_of(optimizer: Any) -> float:
    """The learning rate of the last step that `optimizer` took (before the first: of that)."""
    rate = optimizer.learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(tf.maximum(optimizer.iterations - 1, 0))
    return float(rate)


def loss_scale_of(optimizer: Any) -> float | None:
    """The loss scale, or None for an optimizer without one."""
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return float(optimizer.loss_scale)
    return None
