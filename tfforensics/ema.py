"""An exponential moving average of a model's weights, for evaluation and export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError


class AveragedWeights(tf.Module):
    """Averages of all floating-point weights of a model, batch statistics among them.

    After n updates the average moves by a <- a + (1 - d)(w - a) with d = min(momentum,
    (1 + n) / (10 + n)), so that the first weights, drawn at random, are soon forgotten
    (tf.train.ExponentialMovingAverage with num_updates). It is a tf.Module: put it in the
    checkpoint as `averages` and give `callback()` to `fit`. It works with every optimizer,
    tensorflow-addons' too, unlike `use_ema` of Keras's, and evaluation and export read it
    without building an optimizer.

    Args:
        model: with all its weights there; the averages start from them.
        momentum: d in the long run, between 0 and 1.
    """

    def __init__(self, model: keras.Model, momentum: float) -> None:
        super().__init__(name="averages")
        if not 0 < momentum < 1:
            raise UsageError(f"ema: expected a momentum between 0 and 1, got {momentum}")
        self._momentum = momentum
        self._weights = [weight for weight in model.weights if weight.dtype.is_floating]
        self.updates = tf.Variable(0, trainable=False, dtype=tf.int64, name="updates")
        self.averages = [
            tf.Variable(weight, trainable=False, name=weight.name.partition(":")[0])
            for weight in self._weights
        ]

    @tf.function
    def update(self, steps: tf.Tensor | int = 1) -> None:
        """Moves the averages towards the weights, as far as after `steps` steps of them."""
        count = tf.cast(self.updates.assign_add(tf.cast(steps, tf.int64)), tf.float32)
        decay = tf.minimum(self._momentum, (1 + count) / (10 + count)) ** tf.cast(steps, tf.float32)
        for average, weight in zip(self.averages, self._weights, strict=True):
            average.assign_add((1 - tf.cast(decay, average.dtype)) * (weight - average))

    def callback(self) -> keras.callbacks.Callback:
        """Updates the averages after every step that `fit` shows.

        With `steps_per_execution` N that is every Nth: then by as much as N steps.
        """
        return _Follow(self)

    def assign(self) -> None:
        """Gives the model the averages for good."""
        for average, weight in zip(self.averages, self._weights, strict=True):
            weight.assign(average)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Gives the model the averages, and its own weights back at the end."""
        own = [tf.identity(weight) for weight in self._weights]
        self.assign()
        try:
            yield
        finally:
            for value, weight in zip(own, self._weights, strict=True):
                weight.assign(value)


class _Follow(keras.callbacks.Callback):
    def __init__(self, averages: AveragedWeights) -> None:
        super().__init__()
        self._averages = averages
        self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._seen = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._averages.update(tf.constant(batch + 1 - self._seen))
        self._seen = batch + 1
