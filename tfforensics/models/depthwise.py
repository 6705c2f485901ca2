"""Depthwise convolution whose 5x5 filters learn fast on a CPU.

The gradient of a depthwise filter is itself a depthwise convolution: of the input, with the
output's gradient in the place of the filter,

    dW[i, j, c] = sum over b, h, w of x[b, h + i, w + j, c] dy[b, h, w, c].

oneDNN's own kernel for it is slow for 5x5 filters (31 ms against 2 for 8 maps of 7 x 7 x 1632 on
one core of an EPYC with AVX-512, where the forward pass takes 1), which made it a third of a
B4 training step at 224 px. With examples and channels folded together, its forward kernel does
the same sums.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's layer, (B, H, W, C) to (B, h, w, C), "same" padding, without bias.

    Its weights, name and results are Keras's; only the way to the filter's gradient differs,
    for 5x5 filters of stride 1 where there is no GPU.
    """

    def __init__(self, kernel_size: int, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(kernel_size, strides, "same", use_bias=False, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        slow = self.kernel_size == (5, 5) and self.strides == (1, 1)
        if slow and not tf.config.list_logical_devices("GPU"):
            return _convolve(inputs, tf.convert_to_tensor(self.depthwise_kernel))
        return super().call(inputs)


@tf.custom_gradient
def _convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Depthwise convolution of stride 1, "same"."""
    strides, padding = (1, 1, 1, 1), "SAME"

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        dx = tf.nn.depthwise_conv2d_backprop_input(tf.shape(x), kernel, dy, strides, padding)
        return dx, _filter_gradient(x, dy, kernel.shape)

    return tf.nn.depthwise_conv2d(x, kernel, strides, padding), gradient


def _filter_gradient(x: tf.Tensor, dy: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """dW (k, k, C, 1) from x and dy (B, H, W, C)."""
    side, _, channels, _ = shape
    margin = (side // 2, side // 2)
    padded = tf.pad(x, [(0, 0), margin, margin, (0, 0)])
    products = tf.nn.depthwise_conv2d(
        _fold(padded)[tf.newaxis], _fold(dy)[..., tf.newaxis], (1, 1, 1, 1), "VALID"
    )
    return tf.reduce_sum(tf.reshape(products, (side, side, -1, channels)), 2)[..., tf.newaxis]


def _fold(x: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C) to (H, W, B C)."""
    _, height, width, channels = x.shape
    folded = tf.transpose(x, (1, 2, 0, 3))
    return tf.reshape(folded, (height, width, channels * tf.shape(x)[0]))
