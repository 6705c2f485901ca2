"""The multi-attentional network: a backbone read through attention maps.

Zhao et al., "Multi-attentional Deepfake Detection", CVPR 2021, figure 2; sizes, dropout and
initial weights as in the authors' published network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.attention import (
    AttentionDropout,
    AttentionMaps,
    BilinearAttentionPooling,
)
from tfforensics.models.dropout import Dropout
from tfforensics.models.texture import TextureEnhancement


def build_multi_attention(
    backbone: keras.Model,
    *,
    maps: int = 4,
    attention_tap: str = "b5",
    texture_tap: str = "b2",
    projection: int = 256,
    attention_dropout: float = 0.25,
    final_dropout: float = 0.5,
    seed: int = 0,
    name: str = "multi_attention",
) -> keras.Model:
    """Two branches on a backbone: textures of each attended region, and attended semantics.

    The attention maps come from `attention_tap`. The local branch pools the enhanced textures of
    `texture_tap` through each map and projects them; the global branch pools `final` through the
    sum of the maps and projects it. A head reads both.

    Args:
        backbone: a model from images (B, S, S, 3) to a dict of maps by tap, `final` among them.
        maps: M, at least 1.
        attention_tap: deep enough to know parts of a face.
        texture_tap: shallow enough to have textures.
        projection: width of each branch and of the head.
        attention_dropout: probability that a map is dropped for an example in training.
        final_dropout: probability that a feature of the global branch is dropped in training.
        seed: of the dropout masks.
        name: of the model.

    Returns:
        A model from images in 0..255, uint8 or float (B, S, S, 3), to float32 `logit` (B,),
        `attention` (B, h, w, M) >= 0 and `regions` (B, M, C), the features whose independence is
        trained: the local means of the texture features, standardised over space for each channel
        and pooled through each map.

    Raises:
        UsageError: a tap that the backbone does not have, no map, or an image too small for maps.
    """
    for argument, tap in (
        ("attention_tap", attention_tap),
        ("texture_tap", texture_tap),
        ("backbone", "final"),
    ):
        if tap not in backbone.output:
            raise UsageError(
                f"{argument}: expected a tap of {backbone.name} ({', '.join(backbone.output)}), "
                f"got {tap!r}"
            )
    if projection < 1:
        raise UsageError(f"projection: expected a width of at least 1, got {projection}")

    images = keras.Input(backbone.input_shape[1:], dtype="float32", name="images")
    taps = backbone(images)
    attention = AttentionMaps(maps, name="attention")(taps[attention_tap])
    textures, means = TextureEnhancement(maps, name="texture")(taps[texture_tap], attention)

    matrix = BilinearAttentionPooling(name="texture_pooling")(textures, attention)
    kept, matrix = AttentionDropout(attention_dropout, seed=seed, name="attention_dropout")(
        attention, matrix
    )
    local = keras.layers.Flatten(name="local_flatten")(matrix)
    local = _dense(projection, "local_projection1")(local)
    local = _dense(projection, "local_projection2")(local)

    union = tf.reduce_sum(kept, axis=-1, keepdims=True)
    final = BilinearAttentionPooling("mean", name="final_pooling")(taps["final"], union)
    final = keras.layers.Flatten(name="final_flatten")(final)
    final = Dropout(final_dropout, seed=seed, name="final_dropout")(final)
    final = _dense(projection, "final_projection")(final)

    both = keras.layers.Concatenate(name="branches")([local, final])
    logit = _dense(1, "logit", activation=None, dtype="float32")(_dense(projection, "head")(both))

    means = SpatialStandardisation(name="region_standardisation")(means)
    regions = BilinearAttentionPooling(name="region_pooling")(means, attention)
    return keras.Model(
        images, {"logit": logit[:, 0], "attention": attention, "regions": regions}, name=name
    )


def copy_backbone(source: keras.Model, target: keras.Model) -> None:
    """Starts a network from the trained backbone of another, layer by layer of the same name.

    The counters of drop-connect stay as they are.

    Args:
        source: a network on the same backbone: a plain or a multi-attentional one.
        target: a multi-attentional network, changed in place.

    Raises:
        UsageError: the backbones differ; the first layer that does is named, nothing is copied.
    """
    backbone = _backbone(target)
    wanted = _weights(backbone.layers)
    layers = _backbone(source).layers
    # A plain network goes on behind its backbone.
    names, last = [layer.name for layer in layers], backbone.layers[-1].name
    given = _weights(layers[: names.index(last) + 1] if last in names else layers)
    for layer in [*wanted, *given]:
        shapes, offered = (
            [weight.shape.as_list() for weight in side.get(layer, [])] for side in (wanted, given)
        )
        if shapes != offered:
            raise UsageError(
                f"initial weights: expected the backbone {backbone.name}, whose layer {layer!r} "
                f"has weights of shapes {shapes}; got {offered}"
            )
    for name, weights in wanted.items():
        for weight, value in zip(weights, given[name], strict=True):
            weight.assign(value)


class SpatialStandardisation(keras.layers.Layer):
    """(x - mean) / std over space for each example and channel, std unbiased and at least 1e-5.

    The published network divides by std + 1e-8; the larger floor bounds the gradient where a
    channel is constant. Maps (B, h, w, C) to float32 of the same shape.
    """

    def __init__(self, *, dtype: str = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **kwargs)

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        centred = maps - tf.reduce_mean(maps, axis=(1, 2), keepdims=True)
        samples = maps.shape[1] * maps.shape[2]
        variance = tf.reduce_sum(centred**2, axis=(1, 2), keepdims=True) / (samples - 1)
        return centred * tf.math.rsqrt(tf.maximum(variance, 1e-10))


def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """x ReLU6(x + 3) / 6 (Howard et al., "Searching for MobileNetV3", ICCV 2019)."""
    return x * tf.nn.relu6(x + 3.0) / 6.0


def _dense(
    units: int, name: str, activation: Any = hard_swish, **kwargs: Any
) -> keras.layers.Dense:
    # Uniform in +-1 / sqrt(inputs).
    initial = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return keras.layers.Dense(
        units, activation=activation, kernel_initializer=initial, name=name, **kwargs
    )


def _backbone(network: keras.Model) -> keras.Model:
    """The model within a network, or the network itself where its layers are its own."""
    return next((layer for layer in network.layers if isinstance(layer, keras.Model)), network)


def _weights(layers: Sequence[keras.layers.Layer]) -> dict[str, list[tf.Variable]]:
    """The floating weights of each layer that has some."""
    found = {
        layer.name: [weight for weight in layer.weights if weight.dtype.is_floating]
        for layer in layers
    }
    return {name: weights for name, weights in found.items() if weights}
