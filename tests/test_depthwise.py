"""The depthwise convolution is Keras's: the same weights, outputs and gradients, made faster."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.models import depthwise
from tfforensics.models.depthwise import DepthwiseConv2D


@pytest.mark.parametrize(
    ("kernel", "strides", "side"),
    [(5, 1, 7), (5, 1, 4), (5, 1, 3), (3, 1, 7), (5, 2, 8), (3, 2, 7)],
)
def test_outputs_and_gradients_are_those_of_keras(kernel, strides, side):
    ours = DepthwiseConv2D(kernel, strides, name="dw")
    theirs = keras.layers.DepthwiseConv2D(kernel, strides, "same", use_bias=False, name="dw")
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(3, side, side + 2, 6)), tf.float32)
    upstream = tf.constant(random.normal(size=theirs(x).shape), tf.float32)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())

    def gradients(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * upstream)
        return y, *tape.gradient(loss, [x, layer.depthwise_kernel])

    for found, wanted in zip(gradients(ours), gradients(theirs), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_fast_way_is_taken_for_five_by_five_of_stride_one_alone(monkeypatch):
    taken = []
    convolve = depthwise._convolve
    monkeypatch.setattr(
        depthwise, "_convolve", lambda x, w: taken.append(w.shape) or convolve(x, w)
    )
    for kernel, strides in [(3, 1), (5, 2), (5, 1)]:
        DepthwiseConv2D(kernel, strides)(tf.ones((1, 8, 8, 2)))
    expected = [] if tf.config.list_logical_devices("GPU") else [(5, 5, 2, 1)]
    assert taken == expected


def test_bfloat16_keeps_its_types():
    layer = DepthwiseConv2D(5, dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
    x = tf.ones((2, 6, 6, 3))
    with tf.GradientTape() as tape:
        y = layer(x)
        loss = tf.reduce_sum(tf.cast(y, tf.float32))
    assert y.dtype == tf.bfloat16
    gradient = tape.gradient(loss, layer.depthwise_kernel)
    assert gradient.dtype == tf.float32
    # Each tap meets the 6 x 6 ones but for the border it reaches over: 4, 5, 6, 5, 4 of 6.
    counts = np.outer([4, 5, 6, 5, 4], [4, 5, 6, 5, 4]) * 2.0
    np.testing.assert_array_equal(gradient[:, :, 0, 0], counts)
