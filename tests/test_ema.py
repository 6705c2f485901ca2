"""Averaged weights: the formula, what is averaged, and that the model gets its own back."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tf_keras as keras

import tfforensics  # noqa: F401  (before TensorFlow: it says which Keras)
from tfforensics.command import UsageError
from tfforensics.ema import AveragedWeights


class Weights(keras.Model):
    """A model of one weight, which moves by 1 a step, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.w = self.add_weight(name="w", shape=(), initializer="zeros")
        self.counter = self.add_weight(name="n", shape=(), dtype=tf.int64, trainable=False)

    def train_step(self, data: object) -> dict[str, tf.Tensor]:
        self.w.assign_add(1.0)
        self.counter.assign_add(1)
        return {"loss": self.w}


def test_the_first_updates_move_further() -> None:
    model = Weights()
    averages = AveragedWeights(model, 0.3)
    seen = []
    for value in (1.0, 2.0, 4.0):
        model.w.assign(value)
        averages.update()
        seen.append(float(averages.averages[0]))
    # d = 2/11, 3/12 and, from 4/13 = 0.308 on, the momentum: 0.3.
    first = 9 / 11
    second = first + 3 / 4 * (2 - first)
    third = second + 0.7 * (4 - second)
    assert seen == pytest.approx([first, second, third], abs=1e-6)


def test_batch_statistics_are_averaged_and_counters_are_not() -> None:
    model = keras.Sequential(
        [keras.layers.Dense(2, input_shape=(2,)), keras.layers.BatchNormalization()]
    )
    averages = AveragedWeights(model, 0.9)
    assert len(averages.averages) == 6  # kernel, bias, gamma, beta, moving mean and variance
    assert len(AveragedWeights(Weights(), 0.9).averages) == 1


def test_equal_weights_stay_equal_to_the_bit() -> None:
    model = Weights()
    model.w.assign(0.1)
    averages = AveragedWeights(model, 0.9)
    for _ in range(20):
        averages.update()
    assert averages.averages[0].numpy() == model.w.numpy()


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_applied_gives_the_own_weights_back(error: type[Exception] | None) -> None:
    model = Weights()
    averages = AveragedWeights(model, 0.9)
    model.w.assign(1.0)
    try:
        with averages.applied():
            assert float(model.w) == 0.0
            if error is not None:
                raise error
    except ZeroDivisionError:
        assert error is ZeroDivisionError
    assert float(model.w) == 1.0
    averages.assign()
    assert float(model.w) == 0.0


@pytest.mark.parametrize(("steps_per_execution", "shown"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5])])
def test_callback_counts_the_steps_that_fit_does_not_show(
    steps_per_execution: int, shown: list[int]
) -> None:
    model = Weights()
    model.compile(steps_per_execution=steps_per_execution)
    averages = AveragedWeights(model, 0.9)
    seen = []
    look = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: seen.append(int(averages.updates))
    )
    data = tf.data.Dataset.from_tensors(0.0).repeat()
    model.fit(data, steps_per_epoch=5, epochs=2, callbacks=[averages.callback(), look], verbose=0)
    assert seen == [*shown, *(5 + step for step in shown)]


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_out_of_range(momentum: float) -> None:
    with pytest.raises(
        UsageError, match=f"ema: expected a momentum between 0 and 1, got {momentum}"
    ):
        AveragedWeights(Weights(), momentum)
