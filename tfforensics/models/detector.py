"""A network with its loss: what `fit` trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import tensorflow as tf
import tf_keras as keras

from tfforensics import losses
from tfforensics.command import UsageError

Outputs: TypeAlias = Mapping[str, tf.Tensor]
LOSSES = ("cross_entropy", "focal")


class _Alike:
    """A metric that is told the same on every replica: the first one's figures stand for all."""

    def add_weight(self, *args: Any, **kwargs: Any) -> tf.Variable:
        kwargs["aggregation"] = tf.VariableAggregation.ONLY_FIRST_REPLICA
        return super().add_weight(*args, **kwargs)  # type: ignore[misc]


class _Mean(_Alike, keras.metrics.Mean):
    pass


class _AUC(_Alike, keras.metrics.AUC):
    pass


class Detector(keras.Model):
    """Wraps a network from images to logits with the loss that it learns from.

    Compile it with an optimizer alone: the loss is its own, and so are the metrics. Training logs
    `loss` (the total), `auc` and each unweighted part of the total (`loss/cross_entropy`, ...);
    validation logs `loss` (the classification loss alone, comparable between detectors) and `auc`.

    `step`, a weight, counts training steps, also those whose update a loss-scale optimizer drops.
    What changes in the course of training depends on it alone.

    Under `tf.distribute` every replica's weights and metrics are the same after each step, and all
    figures are those of the whole batch, so that one replica's can be saved for all.

    Args:
        network: a model from images (B, S, S, 3) to a dict with `logit`, float32 (B,).
        loss: "cross_entropy" or "focal".
        label_smoothing: of the cross-entropy, in [0, 1).
        focal_gamma: of the focal loss, >= 0.
        focal_alpha: of the focal loss, the weight of label 1 in [0, 1], or None.
        auxiliary: the weight in the total of each further loss that a subclass computes in
            `auxiliary_losses`, by name.
        name: of the model.

    Raises:
        UsageError: for a loss or a setting of it that does not exist.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        loss: Literal["cross_entropy", "focal"] = "cross_entropy",
        label_smoothing: float = 0.0,
        focal_gamma: float = 2.0,
        focal_alpha: float | None = 0.25,
        auxiliary: Mapping[str, float] | None = None,
        name: str = "detector",
    ) -> None:
        # Images are whole numbers in 0..255: half precision is the network's business.
        super().__init__(name=name, autocast=False)
        if loss not in LOSSES:
            raise UsageError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")
        if not 0.0 <= label_smoothing < 1.0:
            raise UsageError(f"label_smoothing: expected 0 <= s < 1, got {label_smoothing}")
        if focal_gamma < 0.0:
            raise UsageError(f"focal_gamma: expected 0 or more, got {focal_gamma}")
        if focal_alpha is not None and not 0.0 <= focal_alpha <= 1.0:
            raise UsageError(f"focal_alpha: expected 0 to 1 or none, got {focal_alpha}")
        self.network = network
        self._classification = loss
        self._label_smoothing = label_smoothing
        self._focal_gamma = focal_gamma
        self._focal_alpha = focal_alpha
        self._loss_weights = dict(auxiliary or {})
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self._total = _Mean(name="loss")
        self._parts = {part: _Mean(name=f"loss/{part}") for part in (loss, *self._loss_weights)}
        self._auc = _AUC(name="auc")
        self.distribute_reduction_method = "first"  # Keras adds the replicas' figures up

    def call(self, inputs: tf.Tensor | Mapping[str, tf.Tensor], training: bool = False) -> Outputs:
        """The network's outputs.

        Args:
            inputs: images in 0..255, uint8 or float (B, S, S, 3), or a batch with them as `image`.
            training: whether dropout acts and batch statistics move.
        """
        return self.network(images_of(inputs), training=training)

    def classification_loss(
        self, labels: tf.Tensor, logits: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The mean over the batch of the loss of each example, float32 ()."""
        if self._classification == "focal":
            loss = losses.focal(labels, logits, gamma=self._focal_gamma, alpha=self._focal_alpha)
        else:
            loss = losses.cross_entropy(labels, logits, label_smoothing=self._label_smoothing)
        if sample_weight is not None:
            loss *= tf.cast(sample_weight, tf.float32)
        return tf.reduce_mean(loss)

    def auxiliary_losses(
        self, x: Mapping[str, tf.Tensor], y: tf.Tensor, outputs: Outputs
    ) -> dict[str, tf.Tensor]:
        """The further losses of a training step, float32 () each, under the names of `auxiliary`.

        Called once a step, before `step` moves on.
        """
        del x, y, outputs
        return {}

    def compute_loss(
        self,
        x: Mapping[str, tf.Tensor],
        y: tf.Tensor,
        y_pred: Outputs,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The total loss of one training step, float32 (); `fit` calls it inside the tape.

        Under `tf.distribute` it is this replica's share: gradients are summed over replicas.
        """
        parts = {
            self._classification: self.classification_loss(y, y_pred["logit"], sample_weight),
            **self.auxiliary_losses(x, y, y_pred),
        }
        total = tf.add_n([self._loss_weights.get(name, 1.0) * part for name, part in parts.items()])
        if self.losses:
            total += tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses])
        figures = _mean_over_replicas([total, *parts.values()])
        for metric, value in zip((self._total, *self._parts.values()), figures, strict=True):
            metric.update_state(value)
        self.step.assign_add(1)
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(
        self,
        x: Mapping[str, tf.Tensor],
        y: tf.Tensor,
        y_pred: Outputs,
        sample_weight: tf.Tensor | None = None,
    ) -> dict[str, Any]:
        """Updates the AUC and returns every running figure of the epoch."""
        del x
        self._update_auc(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """One validation step: no auxiliary loss, no weight changes."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.classification_loss(y, y_pred["logit"], sample_weight)
        self._total.update_state(*_mean_over_replicas([loss]))
        self._update_auc(y, y_pred, sample_weight)
        return {metric.name: metric.result() for metric in (self._total, self._auc)}

    def _update_auc(self, y: tf.Tensor, y_pred: Outputs, sample_weight: tf.Tensor | None) -> None:
        given = [tf.cast(y, tf.float32), y_pred["logit"]]
        if sample_weight is not None:
            given.append(tf.cast(sample_weight, tf.float32))
        labels, logits, *weights = _of_all_replicas(given)
        # A soft label counts as manipulated from one half on.
        self._auc.update_state(labels >= 0.5, tf.sigmoid(logits), *weights)


def _mean_over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def _of_all_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Numbers (B,) of each replica as (n B,) on every one; B is the same on all.

    By a sum of the numbers in their place and zeros elsewhere, which is exact: gathering fails
    under MultiWorkerMirroredStrategy, whose merge in `fit` has no device to gather to.
    """
    replica = tf.distribute.get_replica_context()
    count = replica.num_replicas_in_sync
    if count == 1:
        return values
    place = tf.one_hot(replica.replica_id_in_sync_group, count)[:, None]
    apart = [tf.reshape(place * value, [-1]) for value in values]
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, apart)


def images_of(inputs: tf.Tensor | Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The images of a training batch, or the images themselves."""
    return inputs["image"] if isinstance(inputs, Mapping) else inputs
