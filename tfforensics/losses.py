"""Losses on logits, and the regional independence loss of multi-attentional detection.

Everything here is a plain function of tensors and computes in float32 under any precision policy.
Label 1 = manipulated.
"""

from __future__ import annotations

import tensorflow as tf


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
