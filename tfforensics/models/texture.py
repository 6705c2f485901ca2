"""Texture enhancement: the high frequencies of shallow features, seen through attention maps.

Zhao et al., "Multi-attentional Deepfake Detection", CVPR 2021, section 3.2, in the form of the
authors' published network, where each attention map has a dense block of its own.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics.models import resample
from tfforensics.models.attention import NORM
from tfforensics.models.normalisation import BatchNormalization


class TextureEnhancement(keras.layers.Layer):
    """Textures for each attention map, and the local means that they were freed from.

    With e = W * x + b (3x3) and d the adaptive mean of e over the cells of the attention maps,

        t_m = dense_m((e - up(d)) tanh(a_m)),

    where up repeats each cell over its pixels, a_m is the map resized to the features (bilinear,
    aligned corners) and dense_m is a `DenseTexture` block. No gradient flows into the maps: they
    would learn to hide textures instead of finding regions. Features on a grid no finer than the
    maps' lose no mean.

    The published network writes the M blocks as convolutions in M groups. M separate convolutions
    are the same function, and their gradients are faster on a CPU.

    Call with features (B, H, W, C) and attention (B, h, w, M); returns M textures (B, H, W, C),
    and d, float32 (B, h, w, C).

    Args:
        maps: M.
    """

    def __init__(self, maps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.maps = maps
        self.blocks = [DenseTexture(name=f"map{m}") for m in range(maps)]

    def build(self, input_shape: tf.TensorShape) -> None:
        self.extract = keras.layers.Conv2D(input_shape[-1], 3, padding="same", name="extract")
        super().build(input_shape)

    def call(
        self, features: tf.Tensor, attention: tf.Tensor, training: bool = False
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        features = self.extract(features)
        height, width = features.shape[1:3]
        cells = attention.shape[1:3]
        means = resample.apply(
            tf.cast(features, tf.float32),
            resample.adaptive_mean(cells[0], height),
            resample.adaptive_mean(cells[1], width),
        )
        if height > cells[0]:
            features -= tf.cast(
                resample.apply(
                    means,
                    resample.nearest(height, cells[0]),
                    resample.nearest(width, cells[1]),
                ),
                features.dtype,
            )
        gate = tf.tanh(resample.resize(tf.stop_gradient(attention), height, width))
        gate = tf.cast(gate, features.dtype)
        textures = [
            block(features * gate[..., m : m + 1], training=training)
            for m, block in enumerate(self.blocks)
        ]
        return textures, means

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "maps": self.maps}


class DenseTexture(keras.layers.Layer):
    """A densely connected block of C channels throughout.

    f_0 = W_0 * x (5x5), f_i = W_i * ReLU(BN_i([f_0 .. f_(i-1)])) (3x3) for i = 1, 2, 3, and
    ReLU(BN_5(W_4 * ReLU(BN_4([f_0 .. f_3])))) (1x1) comes out. Every convolution has a bias.

    Maps (B, H, W, C) to the same shape.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = input_shape[-1]
        self.convolutions = [
            keras.layers.Conv2D(channels, kernel, padding="same", name=f"conv{i}")
            for i, kernel in enumerate((5, 3, 3, 3))
        ]
        # A 1x1 convolution, as a matrix product: its gradient is faster on a CPU.
        self.merge = keras.layers.Dense(channels, name="conv4")
        self.norms = [BatchNormalization(name=f"bn{i}", **NORM) for i in range(1, 6)]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        def activate(i: int, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(self.norms[i - 1](x, training=training))

        first, *others = self.convolutions
        found = first(inputs)
        for i, convolution in enumerate(others, start=1):
            found = tf.concat([found, convolution(activate(i, found))], axis=-1)
        return activate(5, self.merge(activate(4, found)))
