"""Masks are a function of seed, name, count of calls and place in the batch, nothing else."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.dropout import DropConnect, Dropout


def mask(layer, shape=(4, 6)):
    """Which entries survive the next training call."""
    return (layer(tf.ones(shape), training=True).numpy() > 0).astype(int).tolist()


def test_masks_are_these_on_every_machine():
    layer = Dropout(0.3, seed=3, name="d")
    assert mask(layer) == [
        [1, 0, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 1],
        [1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert mask(layer) == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 1],
        [1, 1, 1, 0, 0, 1],
        [0, 1, 0, 0, 0, 1],
    ]


def test_a_graph_draws_the_masks_of_eager_execution():
    layers = [Dropout(0.5, seed=1, name="d") for _ in range(2)]
    graph = tf.function(lambda x, training: layers[1](x, training=training))
    x = tf.ones((8, 8))
    for _ in range(2):
        expected = layers[0](x, training=True).numpy()
        np.testing.assert_array_equal(graph(x, tf.constant(True)), expected)
    np.testing.assert_array_equal(graph(x, tf.constant(False)), x)


def test_a_compiled_graph_counts_too():
    """XLA orders Philox's numbers otherwise, so its masks are others, but reproducible."""
    x, drawn = tf.ones((8, 8)), []
    for _ in range(2):
        layer = Dropout(0.5, seed=1, name="d")
        step = tf.function(lambda layer=layer: layer(x, training=True), jit_compile=True)
        drawn.append([step().numpy(), step().numpy()])
    np.testing.assert_array_equal(*drawn)
    assert np.any(drawn[0][0] != drawn[0][1])


@pytest.mark.parametrize("other", [{"seed": 4}, {"name": "e"}])
def test_another_seed_or_name_draws_other_masks(other):
    settings = {"seed": 3, "name": "d"}
    one, another = Dropout(0.5, **settings), Dropout(0.5, **{**settings, **other})
    assert mask(one, (16, 16)) != mask(another, (16, 16))


def test_survivors_are_scaled_and_the_mean_is_kept():
    x = DropConnect(0.25, seed=0, name="d")(tf.ones((40_000, 1)), training=True).numpy()
    np.testing.assert_allclose(np.unique(x), [0, 4 / 3], rtol=1e-6)
    assert abs(np.mean(x == 0) - 0.25) < 0.01


def test_drop_connect_drops_whole_examples():
    x = DropConnect(0.5, seed=0, name="d")(tf.ones((64, 3, 5, 7)), training=True).numpy()
    per_example = x.reshape(64, -1)
    assert np.all(per_example == per_example[:, :1])
    assert 0 < np.count_nonzero(per_example[:, 0]) < 64


def test_the_gradient_passes_the_survivors_only():
    layer, x = Dropout(0.5, seed=0, name="d"), tf.Variable(tf.ones((8, 8)))
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), y)


def test_inference_is_the_identity_and_counts_nothing():
    layer, x = Dropout(0.5, name="d"), tf.ones((4, 4))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    assert layer.counter.numpy() == 0
    layer(x, training=True)
    assert layer.counter.numpy() == 1


def model():
    images = keras.Input((6,))
    x = DropConnect(0.5, seed=3, name="connect")(Dropout(0.5, seed=3, name="drop")(images))
    return keras.Model(images, x)


def test_restored_weights_continue_the_very_same_masks(tmp_path):
    x, first = tf.ones((16, 6)), model()
    for _ in range(3):
        first(x, training=True)
    first.save_weights(tmp_path / "weights.h5")
    checkpoint = tf.train.Checkpoint(model=first).save(str(tmp_path / "checkpoint"))
    expected = [first(x, training=True).numpy() for _ in range(3)]

    from_weights, from_checkpoint = model(), model()
    from_weights.load_weights(tmp_path / "weights.h5")
    tf.train.Checkpoint(model=from_checkpoint).restore(checkpoint).assert_consumed()
    for resumed in (from_weights, from_checkpoint):
        for step in range(3):
            np.testing.assert_array_equal(resumed(x, training=True), expected[step])
    assert np.any(expected[0] != model()(x, training=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_draws_the_masks_of_float32(dtype):
    x = tf.ones((8, 8))
    full = Dropout(0.3, seed=5, name="d")(x, training=True).numpy()
    half = Dropout(0.3, seed=5, name="d", dtype=f"mixed_{dtype}")(x, training=True)
    assert half.dtype == dtype
    np.testing.assert_array_equal(half.numpy() > 0, full > 0)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(UsageError, match=r"rate: expected a probability in \[0, 1\), got"):
        Dropout(rate)


def test_a_seed_outside_its_range_is_refused():
    with pytest.raises(UsageError, match="seed: expected an integer"):
        Dropout(0.5, seed=-1)


REPLICAS = """
import tfforensics, numpy as np, sys, tensorflow as tf, tf_keras as keras
from tfforensics.models.dropout import Dropout
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    images = keras.Input((32,))
    model = keras.Model(images, Dropout(0.5, seed=3, name="d")(images))
step = tf.function(lambda: strategy.run(lambda: model(tf.ones((4, 32)), training=True)))
run = lambda: [y.numpy() for y in strategy.experimental_local_results(step())]
one, two = run()
assert np.any(one != two), "the replicas drew one mask"
checkpoint = tf.train.Checkpoint(model=model)
path = checkpoint.save(sys.argv[1] + "/checkpoint")
expected = run()
assert all(np.any(a != b) for a, b in zip(expected, (one, two))), "a mask was drawn twice"
checkpoint.restore(path)
np.testing.assert_array_equal(run(), expected)
assert [w.tolist() for w in model.get_weights()] == [2], "replicas' counts were added up"
whole = Dropout(0.5, seed=3, name="d")(tf.ones((8, 32)), training=True)
np.testing.assert_array_equal(np.concatenate([one, two]), whole)
"""


def test_replicas_draw_the_masks_of_their_part_of_the_batch_and_count_together(tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
