"""A network and batches of faces -> scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from scipy.special import expit

from tfforensics.scores import Scores

_TEXTS = ("clip", "manipulation", "level", "target", "source")


def inference(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network as a graph from uint8 (B, S, S, 3) to logits, float32 (B,); B may vary."""
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)]

    @tf.function(input_signature=signature)
    def logits(images: tf.Tensor) -> tf.Tensor:
        return network(images, training=False)["logit"]

    return logits


def score(
    logits: Callable[[tf.Tensor], tf.Tensor],
    batches: Iterable[dict[str, Any]],
    split: str,
    *,
    after_batch: Callable[[int], object] = lambda faces: None,
) -> Scores:
    """What a detector says of every face of `pipeline.evaluation_batches`.

    Args:
        logits: from images to logits, as `inference` gives it.
        batches: dicts with `image`, `label`, `clip`, `manipulation`, `level`, `target`, `source`.
        split: the split that they come from.
        after_batch: called with the number of faces of each batch, for progress.
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("logit", "label", *_TEXTS)}
    for batch in batches:
        values = {name: batch[name] for name in ("label", *_TEXTS)}
        values["logit"] = logits(batch["image"])
        for name, tensor in values.items():
            columns[name].append(tensor.numpy())
        after_batch(len(columns["logit"][-1]))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    texts = {name: np.array([t.decode() for t in joined[name]], np.str_) for name in _TEXTS}
    # In float64: a float32 sigmoid is 1 for every logit above 17.
    probability = expit(joined["logit"].astype(np.float64))
    return Scores(split, probability, joined["label"], **texts)
