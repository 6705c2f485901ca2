"""Dropout and drop-connect whose masks continue exactly after a resume.

Keras's own Dropout draws from a generator whose state no checkpoint holds: a run that
was stopped and resumed sees other masks than one that was not. Here a mask is a function
of numbers alone: the run's seed, the layer's name, the count of training calls (an int64
weight, so every checkpoint has it) and the example's place in the step's batch. A replica
takes its rows of the mask of all, so that several drop what one device drops.
"""

from __future__ import annotations

import zlib
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError

_CALL_SHIFT = 16  # of the count of calls in a mask's second seed


class _CountedDrop(keras.layers.Layer):
    """What both layers share: the counter, and uniform numbers that depend on it.

    Args:
        rate: Probability that an entry (or an example) is dropped, in [0, 1).
        seed: The run's seed, in [0, 2**31). Layers of different names draw different
            masks from one seed.

    Raises:
        UsageError: `rate` or `seed` is outside its range.
    """

    def __init__(self, rate: float, *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise UsageError(f"rate: expected a probability in [0, 1), got {rate!r}")
        if not 0 <= seed < 2**31:
            raise UsageError(f"seed: expected an integer in [0, 2**31), got {seed!r}")
        self.rate = rate
        self.seed = seed

    def build(self, input_shape: tf.TensorShape) -> None:
        # Each replica counts its own calls (no reduction inside the step); they all count
        # the same, so a checkpoint keeps the first one's.
        self.counter = self.add_weight(
            name="counter",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0.0:
            return inputs
        keep = self._uniform(self._mask_shape(inputs)) >= self.rate
        return inputs * tf.cast(keep, inputs.dtype) * tf.cast(1.0 / (1.0 - self.rate), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}

    def _mask_shape(self, inputs: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _uniform(self, shape: tf.Tensor) -> tf.Tensor:
        """Float32 numbers in [0, 1) for this replica's part of the batch, others at every call."""
        call = self.counter.assign_add(1, read_value=True)
        layer = (self.seed << 32) | zlib.crc32(self.name.encode())
        seed = tf.stack([tf.constant(layer, tf.int64), tf.bitwise.left_shift(call, _CALL_SHIFT)])
        context = tf.distribute.get_replica_context()
        replicas = 1 if context is None else context.num_replicas_in_sync
        whole = tf.concat([replicas * shape[:1], shape[1:]], axis=0) if replicas > 1 else shape
        # Named, because "auto_select" picks another generator on a TPU than on a CPU or GPU.
        numbers = tf.random.stateless_uniform(whole, seed, alg="philox")
        if replicas == 1:
            return numbers
        first = context.replica_id_in_sync_group * shape[0]
        return numbers[first : first + shape[0]]


class Dropout(_CountedDrop):
    """Zeroes entries with probability `rate` and scales the others by 1 / (1 - rate).

    Maps floating tensors of any shape to the same shape and dtype; the identity outside
    of training. Srivastava et al., "Dropout", JMLR 15, 2014.
    """

    def _mask_shape(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.shape(inputs)


class DropConnect(_CountedDrop):
    """Zeroes whole examples with probability `rate` and scales the others by 1 / (1 - rate).

    Put on the branch of a residual block (B, ...), it skips the block for some examples.
    The identity outside of training. Huang et al., "Deep Networks with Stochastic Depth",
    ECCV 2016; EfficientNet's authors call it drop-connect.
    """

    def _mask_shape(self, inputs: tf.Tensor) -> tf.Tensor:
        ones = tf.ones([tf.rank(inputs) - 1], tf.int32)
        return tf.concat([tf.shape(inputs)[:1], ones], axis=0)
