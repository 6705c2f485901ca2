"""A multi-attentional network with the losses that it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics import agda, losses
from tfforensics.command import UsageError
from tfforensics.models.detector import Detector, Outputs


class MultiAttentionDetector(Detector):
    """Trains a multi-attentional network (Zhao et al. 2021) on

        L = CE + w_r region + w_a CE(augmented) + w_m match.

    A training step degrades what one attention map of each image looked at and reads the degraded
    images too: they have to be classified as well (CE), and the regions that were left alone have
    to look as before (match).

    The feature centres of the regional independence loss are weights, moved once a step. Their
    alpha decays by epochs of `steps_per_epoch`, counted by `step`.

    Args:
        network: a model to `logit` (B,), `attention` (B, h, w, M) and `regions` (B, M, C).
        steps_per_epoch: at least 1.
        region: settings of the regional independence loss.
        augmentation: settings of attention-guided augmentation, or None to train without it, at
            half the cost.
        region_weight: w_r.
        agda_weight: w_a.
        match_weight: w_m.
        classification: loss settings and the name, as `Detector` has them.

    Raises:
        UsageError: `steps_per_epoch` is below 1, or as `Detector` raises it.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        steps_per_epoch: int,
        region: losses.RegionLoss,
        augmentation: agda.Agda | None,
        region_weight: float = 0.5,
        agda_weight: float = 1.0,
        match_weight: float = 0.1,
        **classification: Any,
    ) -> None:
        if steps_per_epoch < 1:
            raise UsageError(f"steps_per_epoch: expected at least 1, got {steps_per_epoch}")
        weights = {"region": region_weight}
        if augmentation is not None:
            weights |= {"agda": agda_weight, "match": match_weight}
        super().__init__(network, auxiliary=weights, **classification)
        self._steps_per_epoch = steps_per_epoch
        self._region = region
        self._augmentation = augmentation
        self.centres = self.add_weight(
            name="centres",
            shape=network.output["regions"].shape[1:],
            dtype=tf.float32,
            initializer="zeros",
            trainable=False,
            experimental_autocast=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def auxiliary_losses(
        self, x: Mapping[str, tf.Tensor], y: tf.Tensor, outputs: Outputs
    ) -> dict[str, tf.Tensor]:
        """Region, AGDA and match loss of a batch with `image` and `seed`; moves the centres."""
        region, centres = losses.regional_independence(
            outputs["regions"],
            y,
            self.centres,
            self._region.alpha_at(self.step, self._steps_per_epoch),
            self._region,
        )
        self.centres.assign(centres)
        if self._augmentation is None:
            return {"region": region}
        images, chosen = agda.augment(
            x["image"], outputs["attention"], x["seed"], self._augmentation
        )
        augmented = self.network(images, training=True)
        return {
            "region": region,
            "agda": self.classification_loss(y, augmented["logit"]),
            "match": losses.match(outputs["regions"], augmented["regions"], chosen),
        }
