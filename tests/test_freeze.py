"""Frozen graphs compute what the network does, folded or not, and look the same each time."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.models.depthwise import DepthwiseConv2D
from tfforensics.serving import freeze

layers = keras.layers


def trained_norm(channels: int, name: str) -> keras.layers.Layer:
    """A normalisation with statistics as training leaves them."""
    rng = np.random.default_rng(len(name))
    norm = layers.BatchNormalization(name=name, epsilon=1e-3)
    norm.build((None, None, None, channels))
    norm.set_weights(
        [
            rng.uniform(0.5, 1.5, channels),
            rng.normal(0, 1, channels),
            rng.normal(0, 1, channels),
            rng.uniform(0.01, 4, channels),
        ]
    )
    return norm


def network() -> keras.Model:
    """Every kind of normalisation: five that can be folded and four that cannot."""
    keras.utils.set_random_seed(3)
    images = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(images)
    x = layers.ReLU()(trained_norm(4, "convolution")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = trained_norm(4, "depthwise")(x)
    x = DepthwiseConv2D(5)(x)
    x = trained_norm(4, "with_a_gradient_of_its_own")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = trained_norm(8, "multiplied")(x)
    x = layers.Conv2D(6, 1, bias_initializer="random_normal")(x)
    x = trained_norm(6, "with_bias")(x)
    x = trained_norm(6, "behind_a_norm")(x)  # behind a bias once the one before is folded
    shared = layers.Conv2D(6, 1)(x)
    x = trained_norm(6, "of_what_others_read")(shared) + shared
    x = trained_norm(6, "behind_an_activation")(layers.ReLU()(x))
    x = layers.Conv2D(5, 3, dilation_rate=2, padding="same")(x)
    x = trained_norm(5, "dilated")(x)
    return keras.Model(images, layers.GlobalAveragePooling2D()(x))


def traced(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    @tf.function(
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), name="images")],
        autograph=False,
    )
    def run(images: tf.Tensor) -> tf.Tensor:
        return tf.identity(model(images, training=False), "answer")

    return run.get_concrete_function()


NAMES = ["answer", "images"]


def runnable(graph: freeze.GraphDef) -> Callable[[np.ndarray], np.ndarray]:
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    function = wrapped.prune("images:0", "answer:0")
    return lambda images: function(tf.constant(images)).numpy()


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return network()


def ops(graph: freeze.GraphDef) -> list[str]:
    return [node.op for node in graph.node]


def test_constants_take_the_place_of_variables(model: keras.Model) -> None:
    graph = freeze.freeze(traced(model), NAMES)
    assert "ReadVariableOp" not in ops(graph) and ops(graph).count("Placeholder") == 1
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(runnable(graph)(images), model(images), atol=1e-6)


def test_folding_moves_no_answer(model: keras.Model) -> None:
    graph = freeze.freeze(traced(model), NAMES)
    folded, count = freeze.fold_normalisations(graph, NAMES)
    assert ops(graph).count("FusedBatchNormV3") == 9
    assert count == 5
    assert ops(folded).count("FusedBatchNormV3") == 4
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(runnable(folded)(images), model(images), rtol=2e-6, atol=2e-6)


def test_a_normalisation_in_training_is_left_alone() -> None:
    images = layers.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(2, 1)(images), training=True)
    graph = freeze.freeze(traced(keras.Model(images, x)), NAMES)
    assert freeze.fold_normalisations(graph, NAMES)[1] == 0


def test_the_form_depends_on_what_is_computed_alone() -> None:
    """Not on the names that Keras and TensorFlow number as a process goes on."""

    def with_loop() -> bytes:
        keras.utils.set_random_seed(5)
        images = layers.Input((4, 4, 3))
        x = layers.Conv2D(3, 1)(layers.Conv2D(3, 1)(images))
        model = keras.Model(images, x)

        @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3), name="images")])
        def run(images: tf.Tensor) -> tf.Tensor:
            def each(image: tf.Tensor) -> tf.Tensor:
                top = tf.reduce_max(image)
                return tf.cond(top > 1, lambda: tf.nn.silu(image), lambda: image * top)

            return tf.identity(tf.map_fn(each, model(images)), "answer")

        graph = freeze.freeze(run.get_concrete_function(), NAMES)
        images = np.full((2, 4, 4, 3), 0.5, np.float32)
        np.testing.assert_allclose(runnable(graph)(images), run(images), atol=1e-6)
        return graph.SerializeToString(deterministic=True)

    first = with_loop()
    layers.Dense(1)
    assert with_loop() == first
    assert b"conv2d_1" in first and b"conv2d_3" not in first


def test_what_no_answer_needs_is_left_out() -> None:
    @tf.function(input_signature=[tf.TensorSpec((2,), name="images")])
    def run(images: tf.Tensor) -> tf.Tensor:
        tf.exp(images, name="unused")
        return tf.identity(2 * images, "answer")

    graph = freeze.freeze(run.get_concrete_function(), NAMES)
    assert [node.name for node in graph.node][-1] == "answer"
    assert "Exp" not in ops(graph)
