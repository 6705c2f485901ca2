from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import reference
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.attention import (
    AttentionDropout,
    AttentionMaps,
    BilinearAttentionPooling,
    border_mask,
)


def random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed=(seed, 0))


@reference.needs_reference
def test_maps_agree_with_the_published_module() -> None:
    arrays = reference.load("attention_map")
    layer = AttentionMaps(4)
    features = reference.nhwc(arrays["input"])
    layer(features)
    reference.set_convolution(layer.extract, arrays, "conv_extract")
    reference.set_norm(layer.extract_norm, arrays, "bn1")
    reference.set_convolution(layer.project, arrays, "conv2")
    reference.set_norm(layer.project_norm, arrays, "bn2")
    np.testing.assert_allclose(layer(features), reference.nhwc(arrays["output"]), atol=1e-5)


@reference.needs_reference
def test_poolings_agree_with_the_published_module() -> None:
    arrays = reference.load("attention_pooling")
    features, maps = (reference.nhwc(arrays[name]) for name in ("features", "attentions"))
    pool = BilinearAttentionPooling()
    np.testing.assert_allclose(pool(features, maps), arrays["output_l2"], atol=1e-5)
    per_map = [reference.nhwc(arrays["features_per_map"][:, m]) for m in range(4)]
    np.testing.assert_allclose(pool(per_map, maps), arrays["output_per_map_l2"], atol=1e-5)
    mean = BilinearAttentionPooling("mean")(features, maps.sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(mean, arrays["output_weighted_mean"], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "edge"),
    [
        (2, "01"),
        (4, "0111"),
        (7, "0111111"),
        (12, "011111111110"),
        (14, "00111111111110"),
        (24, "001111111111111111111100"),
        (48, "0000" + 40 * "1" + "0000"),
    ],
)
def test_border_is_that_of_a_24_grid_read_by_its_nearest_cell(size: int, edge: str) -> None:
    ones = np.array([int(cell) for cell in edge])
    np.testing.assert_array_equal(border_mask(size, size)[0, :, :, 0], np.outer(ones, ones))


def test_maps_are_positive_within_the_border_and_zero_in_it() -> None:
    maps = AttentionMaps(3)(random(2, 14, 12, 8))
    inside = border_mask(14, 12)[0, :, :, 0].astype(bool)
    assert maps.shape == (2, 14, 12, 3)
    assert (maps.numpy()[:, inside] > 0).all()
    assert (maps.numpy()[:, ~inside] == 0).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_maps_and_pooled_features_are_float32_under_mixed_precision(
    policy: str, precision: Callable[[str], None]
) -> None:
    precision(policy)
    layer = AttentionMaps(2)
    maps = layer(tf.cast(random(2, 8, 8, 4), policy[6:]))
    assert maps.dtype == tf.float32
    assert layer.extract.compute_dtype == policy[6:]
    # The sum over 64 x 64 pixels is beyond float16.
    features = tf.fill((2, 64, 64, 3), tf.constant(100, policy[6:]))
    pooled = BilinearAttentionPooling("mean")(features, maps)
    assert pooled.dtype == tf.float32
    np.testing.assert_allclose(pooled, np.full((2, 2, 3), 100.0), rtol=1e-5)


def test_l2_pooling_forgets_the_scale_of_a_map() -> None:
    features, maps = random(2, 8, 8, 5), tf.abs(random(2, 4, 4, 3, seed=1))
    pool = BilinearAttentionPooling()
    pooled = pool(features, maps)
    np.testing.assert_allclose(tf.norm(pooled, axis=-1), np.ones((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(pool(features, 7.0 * maps), pooled, atol=1e-6)
    np.testing.assert_allclose(pool([features] * 3, maps), pooled, atol=1e-6)


def test_maps_of_zeros_pool_to_the_mean_and_to_zero() -> None:
    features, maps = random(2, 6, 6, 5), tf.zeros((2, 3, 3, 1))
    np.testing.assert_allclose(
        BilinearAttentionPooling("mean")(features, maps)[:, 0],
        tf.reduce_mean(features, axis=(1, 2)),
        atol=1e-6,
    )
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = BilinearAttentionPooling()(features, maps)
    np.testing.assert_array_equal(pooled, np.zeros((2, 1, 5)))
    assert np.isfinite(tape.gradient(pooled, maps)).all()


def test_one_pixel_of_attention_reads_that_pixel() -> None:
    features = random(1, 4, 4, 2)
    maps = tf.one_hot([[6]], 16, axis=1)
    pooled = BilinearAttentionPooling("mean")(features, tf.reshape(maps, (1, 4, 4, 1)))
    np.testing.assert_allclose(pooled[0, 0], features[0, 1, 2], rtol=1e-5)


def test_dropout_drops_a_map_with_its_features() -> None:
    layer = AttentionDropout(0.4, seed=3)
    maps, matrix = tf.ones((50, 2, 2, 4)), tf.ones((50, 4, 6))
    kept, features = layer(maps, matrix, training=True)
    kept, features = kept.numpy(), features.numpy()
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.6], rtol=1e-6)
    np.testing.assert_array_equal(kept[:, 0, 0, :], features[:, :, 0])
    assert (kept == kept[:, :1, :1]).all()
    assert (features == features[:, :, :1]).all()
    assert abs((kept[:, 0, 0] == 0).mean() - 0.4) < 0.1
    same, unchanged = layer(maps, matrix, training=False)
    np.testing.assert_array_equal(same, maps)
    np.testing.assert_array_equal(unchanged, matrix)


@pytest.mark.parametrize(
    "layer", [AttentionMaps(3), BilinearAttentionPooling("mean"), AttentionDropout(0.2, seed=1)]
)
def test_layers_are_rebuilt_from_their_config(layer: keras.layers.Layer) -> None:
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_no_map_is_an_error() -> None:
    with pytest.raises(UsageError, match="maps: expected at least 1 attention map, got 0"):
        AttentionMaps(0)


def test_features_that_are_all_border_are_an_error() -> None:
    with pytest.raises(UsageError, match=r"expected features of at least 2 x 2 .* got 1 x 1"):
        AttentionMaps(4)(random(1, 1, 1, 8))


def test_unknown_normalisation_is_an_error() -> None:
    with pytest.raises(UsageError, match="normalisation: expected l2 or mean, got 'max'"):
        BilinearAttentionPooling("max")
