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


class Detector(keras.Model):
    """Wraps a network from images to logits with the loss that it learns from.

    Compile it with an optimizer alone: the loss is its own, and so are the metrics. Training logs
    `loss` (the total), `auc` and each unweighted part of the total (`loss/cross_entropy`, ...);
    validation logs `loss` (the classification loss alone, comparable between detectors) and `auc`.

    `step`, a weight, counts training steps, also those whose update a loss-scale optimizer drops.
    What changes in the course of training depends on it alone.

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
        self._total = keras.metrics.Mean(name="loss")
        self._parts = {
            part: keras.metrics.Mean(name=f"loss/{part}") for part in (loss, *self._loss_weights)
        }
        self._auc = keras.metrics.AUC(name="auc")

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
        for name, value in parts.items():
            self._parts[name].update_state(value)
        total = tf.add_n([self._loss_weights.get(name, 1.0) * part for name, part in parts.items()])
        if self.losses:
            total += tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses])
        self._total.update_state(total)
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
        self._total.update_state(self.classification_loss(y, y_pred["logit"], sample_weight))
        self._update_auc(y, y_pred, sample_weight)
        return {metric.name: metric.result() for metric in (self._total, self._auc)}

    def _update_auc(self, y: tf.Tensor, y_pred: Outputs, sample_weight: tf.Tensor | None) -> None:
        # A soft label counts as manipulated from one half on.
        self._auc.update_state(y >= 0.5, tf.sigmoid(y_pred["logit"]), sample_weight)


def images_of(inputs: tf.Tensor | Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The images of a training batch, or the images themselves."""
    return inputs["image"] if isinstance(inputs, Mapping) else inputs
