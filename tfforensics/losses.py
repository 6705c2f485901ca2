"""Losses on logits, and the regional independence loss of multi-attentional detection.

Everything here is a plain function of tensors and computes in float32 under any precision policy.
Label 1 = manipulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfforensics.command import UsageError


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Binary cross-entropy of each example, -y log p - (1 - y) log(1 - p) with p = sigmoid(logit).

    Args:
        labels: (B,), in [0, 1]; soft labels are allowed.
        logits: (B,).
        label_smoothing: s in [0, 1); y becomes (1 - s) y + s / 2.

    Returns:
        float32 (B,), finite for any finite logit.
    """
    labels = tf.cast(labels, tf.float32)
    labels = labels * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def focal(
    labels: tf.Tensor, logits: tf.Tensor, *, gamma: float = 2.0, alpha: float | None = 0.25
) -> tf.Tensor:
    """Focal loss of each example, a_t (1 - p_t)^gamma CE (Lin et al. 2017, equation 5).

    p_t is the probability given to the label, a_t = alpha for label 1 and 1 - alpha for label 0.

    Args:
        labels: (B,), in [0, 1]; between the two, p_t and a_t are interpolated.
        logits: (B,).
        gamma: focusing parameter, >= 0; 0 leaves the weighted cross-entropy.
        alpha: weight of label 1 in [0, 1]; None weighs both labels by 1.

    Returns:
        float32 (B,), finite for any finite logit.
    """
    labels = tf.cast(labels, tf.float32)
    logits = tf.cast(logits, tf.float32)
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
    probability = tf.sigmoid(logits)
    # 1 - p_t, written so that it does not cancel for a confident, correct logit.
    missed = labels * tf.sigmoid(-logits) + (1.0 - labels) * probability
    loss *= missed**gamma
    if alpha is None:
        return loss
    return loss * (labels * alpha + (1.0 - labels) * (1.0 - alpha))


@dataclass(frozen=True)
class RegionLoss:
    """The regional independence loss, which keeps the attention maps on regions of their own.

    Two forms exist (Zhao et al. 2021; see `regional_independence` for what they share):

    - "paper": every example moves the centres, and each map has its own distance to its centre.
      Published with an inter margin of 0.2 and intra margins of 0.05 and 0.1.
    - "repository": only real examples move the centres, and the distance is that of all maps
      together. The authors' final settings: an inter margin of 0.8, intra margins of 0.2 and -0.8.

    Args:
        form: "paper" or "repository".
        inter_margin: the distance below which two centres repel each other, >= 0.
        intra_margins: for real and for manipulated examples. At 0 or above, the distance beyond
            which an example is pulled to its centres; below 0, -margin is the distance below which
            it is pushed away.
        alpha: how far the centres follow one batch in the first epoch, in (0, 1].
        alpha_decay: factor on alpha after each epoch, in (0, 1].

    Raises:
        UsageError: a setting is outside its range.
    """

    form: Literal["paper", "repository"] = "repository"
    inter_margin: float = 0.8
    intra_margins: tuple[float, float] = (0.2, -0.8)
    alpha: float = 0.05
    alpha_decay: float = 0.9

    def __post_init__(self) -> None:
        if self.form not in ("paper", "repository"):
            raise UsageError(f"form: expected paper or repository, got {self.form!r}")
        if self.inter_margin < 0.0:
            raise UsageError(f"inter_margin: expected 0 or more, got {self.inter_margin}")
        for name in ("alpha", "alpha_decay"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise UsageError(f"{name}: expected 0 < {name} <= 1, got {getattr(self, name)}")

    def alpha_at(self, step: tf.Tensor, steps_per_epoch: int) -> tf.Tensor:
        """Alpha at a training step counted from 0, float32 ()."""
        epoch = tf.cast(step // steps_per_epoch, tf.float32)
        return self.alpha * tf.pow(self.alpha_decay, epoch)


def regional_independence(
    regions: tf.Tensor,
    labels: tf.Tensor,
    centres: tf.Tensor,
    alpha: tf.Tensor | float,
    settings: RegionLoss,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The regional independence loss of a batch, and the feature centres that it moves to.

    With V the features of an example and c the centres of the M maps,

        c' = c + alpha mean_B(w (V - c)),
        loss = mean(relu(|m| - d)) or mean(relu(d - m)), for a margin m below 0 or not
               + 1 / (M alpha) sum_(j < k) relu(inter_margin - |c'_j - c'_k|),

    where d = |V - c'|. In the form "repository", w is 1 for a real example and 0 for a manipulated
    one (which still counts in the mean) and d is taken over maps and channels; in the form "paper",
    w is 1 and d is taken for each map. The gradient flows through c', and is 0 where a distance is
    0. A batch without real examples leaves the centres of "repository" where they are.

    Under `tf.distribute` the mean is over the examples of all replicas, so the centres (and, up to
    the mean, the loss) do not depend on how many there are.

    Args:
        regions: (B, M, C) features of the regions that the maps attend to.
        labels: (B,), 1 = manipulated; soft labels count as manipulated from 0.5 on.
        centres: (M, C), all zeros at the start of training.
        alpha: () in (0, 1].
        settings: form and margins; its own alpha is not read here.

    Returns:
        The loss, float32 (), and c', float32 (M, C).
    """
    regions = tf.cast(regions, tf.float32)
    manipulated = tf.cast(labels, tf.float32) >= 0.5
    by_map = settings.form == "paper"

    moves = regions - centres
    if not by_map:
        moves = tf.where(manipulated[:, None, None], 0.0, moves)
    replica = tf.distribute.get_replica_context()
    move = replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.reduce_mean(moves, axis=0))
    centres = centres + alpha * move

    distances = norm(regions - centres, axis=2 if by_map else (1, 2))
    fake = tf.reshape(manipulated, [-1] + [1] * (distances.shape.rank - 1))
    real_margin, fake_margin = settings.intra_margins
    intra = tf.where(fake, _hinge(distances, fake_margin), _hinge(distances, real_margin))

    maps = centres.shape[0]
    apart = norm(centres[:, None] - centres[None], axis=2)
    pairs = np.triu(np.ones((maps, maps), np.float32), k=1)
    inter = tf.reduce_sum(pairs * tf.nn.relu(settings.inter_margin - apart)) / (maps * alpha)
    return tf.reduce_mean(intra) + inter, centres


def match(regions: tf.Tensor, augmented: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """How far the regions that were not degraded moved when another one was.

    The mean over examples and maps of |V'_m - V_m|, with 0 for the map whose region was degraded.

    Args:
        regions: (B, M, C) features of the images.
        augmented: (B, M, C) features of the same images after attention-guided augmentation.
        chosen: integers (B,), the map that guided it.

    Returns:
        float32 ().
    """
    distances = norm(tf.cast(augmented, tf.float32) - tf.cast(regions, tf.float32), axis=2)
    others = 1.0 - tf.one_hot(chosen, distances.shape[1])
    return tf.reduce_mean(distances * others)


def norm(x: tf.Tensor, axis: int | tuple[int, ...]) -> tf.Tensor:
    """The Euclidean norm over `axis`, whose gradient at 0 is 0 (that of tf.norm is NaN)."""
    squared = tf.reduce_sum(x * x, axis=axis)
    positive = squared > 0.0
    return tf.where(positive, tf.sqrt(tf.where(positive, squared, 1.0)), 0.0)


def _hinge(distances: tf.Tensor, margin: float) -> tf.Tensor:
    return tf.nn.relu(distances - margin if margin >= 0.0 else -margin - distances)
