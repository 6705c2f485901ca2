"""The plain detector: a backbone, its mean over space, one logit."""

from __future__ import annotations

import tf_keras as keras

from tfforensics.models.backbone import build_backbone
from tfforensics.models.dropout import Dropout


def build_plain(
    backbone: str,
    *,
    size: int,
    weights: str | None,
    dropout: float = 0.2,
    drop_connect: float = 0.2,
    seed: int = 0,
) -> keras.Model:
    """The network that every method is compared with.

    Args:
        backbone: one of `architecture.NAMES`.
        size: side of the input in pixels.
        weights: "imagenet", a file of weights, or None.
        dropout: share of the mean features dropped in training, 0 up to 1.
        drop_connect: of the backbone, see `build_backbone`.
        seed: of the initial head and of dropout.

    Returns:
        A model from uint8 images (B, size, size, 3) to {"logit": float32 (B,)}.

    Raises:
        UsageError: as `build_backbone`.
    """
    base = build_backbone(
        backbone, size=size, weights=weights, taps=["final"], drop_connect=drop_connect, seed=seed
    )
    features = keras.layers.GlobalAveragePooling2D(name="mean")(base.output["final"])
    features = Dropout(dropout, seed=seed, name="dropout")(features)
    logit = keras.layers.Dense(
        1, dtype="float32", kernel_initializer=keras.initializers.GlorotUniform(seed), name="logit"
    )(features)
    return keras.Model(base.input, {"logit": keras.layers.Reshape((), dtype="float32")(logit)})
