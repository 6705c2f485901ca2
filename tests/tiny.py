"""A backbone of three convolutions: the real thing around it, at a size that tests can afford."""

from __future__ import annotations

import tf_keras as keras

from tfforensics.models.normalisation import BatchNormalization


def tiny_backbone(size: int = 32, width: int = 8, activation: str = "relu") -> keras.Model:
    """Maps images (B, size, size, 3) in 0..255 to taps b2, b5 and final, each half the one before.

    Its names, as those of the real ones, do not say how wide it is.
    """
    images = keras.Input((size, size, 3), dtype="float32")
    x = keras.layers.Rescaling(1 / 127.5, -1, dtype="float32", name="preprocessing")(images)
    taps = {}
    for tap in ("b2", "b5", "final"):
        x = keras.layers.Conv2D(
            width, 3, strides=2, padding="same", use_bias=False, name=f"{tap}_conv"
        )(x)
        x = BatchNormalization(name=f"{tap}_bn")(x)
        x = keras.layers.Activation(activation, name=f"{tap}_activation")(x)
        taps[tap] = x
    return keras.Model(images, taps, name="tiny")


def tiny_plain(size: int = 32, width: int = 8) -> keras.Model:
    """The plain detector on it."""
    backbone = tiny_backbone(size, width)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(backbone.output["final"])
    x = keras.layers.Dense(1, dtype="float32", name="logit")(x)
    return keras.Model(backbone.input, {"logit": x[:, 0]})
