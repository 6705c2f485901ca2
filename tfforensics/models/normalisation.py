"""Batch normalisation over the examples of all replicas."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer for (B, ..., C), whose batch is that of the step, on however many devices.

    On one device it is Keras's, fused kernel and all. On several, mean and variance are taken over
    all replicas in training, the moving variance with the correction N / (N - 1) where Keras's
    kernel is the fused one, which has it, so that training follows the one device up to rounding.
    Keras's own `synchronized` leaves out the correction and takes the variance as
    E x^2 - (E x)^2, which cancels.

    Moving statistics are the same on every replica, and the first one's are read and saved: a mean
    over replicas would round, and would need every worker at each checkpoint.
    """

    def add_weight(self, *args: Any, **kwargs: Any) -> tf.Variable:
        if kwargs.get("aggregation") == tf.VariableAggregation.MEAN:
            kwargs["aggregation"] = tf.VariableAggregation.ONLY_FIRST_REPLICA
        return super().add_weight(*args, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        if not (training and self.trainable and replica and replica.num_replicas_in_sync > 1):
            return super().call(inputs, training=training)
        x = tf.cast(inputs, tf.float32)
        axes = list(range(x.shape.rank - 1))

        def mean_of(values: tf.Tensor) -> tf.Tensor:
            return replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(values, axes))

        mean = mean_of(x)
        variance = mean_of(tf.math.squared_difference(x, mean))
        count = tf.cast(replica.num_replicas_in_sync * tf.size(x) / x.shape[-1], tf.float32)
        unbiased = variance * count / (count - 1.0) if self.fused else variance
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            moving.assign_sub((moving - value) * (1.0 - self.momentum))
        y = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(y, inputs.dtype)
