from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import reference
import tensorflow as tf

from tfforensics.models.texture import TextureEnhancement


def random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed=(seed, 0))


@reference.needs_reference
def test_textures_agree_with_the_published_module() -> None:
    arrays = reference.load("texture_enhancement")
    features, maps = (reference.nhwc(arrays[name]) for name in ("features", "attentions"))
    layer = TextureEnhancement(4)
    layer(features, maps)
    reference.set_convolution(layer.extract, arrays, "conv_extract")
    convolutions = ("conv0", "conv1", "conv2", "conv3", "conv_last")
    for m, block in enumerate(layer.blocks):
        outputs = slice(8 * m, 8 * m + 8)
        for name, convolution in zip(convolutions, [*block.convolutions, block.merge], strict=True):
            reference.set_convolution(convolution, arrays, name, outputs)
        for name, norm in zip(("bn1", "bn2", "bn3", "bn4", "bn_last"), block.norms, strict=True):
            width = norm.gamma.shape[0]
            reference.set_norm(norm, arrays, name, slice(width * m, width * (m + 1)))
    textures, means = layer(features, maps)
    np.testing.assert_allclose(
        tf.stack(textures, axis=1), np.moveaxis(arrays["output"], 2, -1), atol=1e-5
    )
    np.testing.assert_allclose(means, reference.nhwc(arrays["pooled"]), atol=1e-5)


def test_no_gradient_reaches_the_attention() -> None:
    layer = TextureEnhancement(2)
    features, maps = random(2, 12, 12, 4), tf.abs(random(2, 6, 6, 2, seed=1))
    with tf.GradientTape() as tape:
        tape.watch([features, maps])
        textures, means = layer(features, maps, training=True)
        loss = tf.add_n([tf.reduce_sum(texture**2) for texture in textures])
        loss += tf.reduce_sum(means)
    to_features, to_maps = tape.gradient(loss, [features, maps])
    assert to_maps is None
    assert np.abs(to_features).min() > 0


def test_a_texture_depends_on_its_own_map_alone() -> None:
    layer = TextureEnhancement(3)
    features, maps = random(1, 10, 10, 4), np.abs(random(1, 5, 5, 3, seed=1))
    before, means = layer(features, maps)
    maps[..., 1] *= 0.5
    after, same_means = layer(features, maps)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[2], after[2])
    assert np.abs(before[1] - after[1]).max() > 1e-3
    np.testing.assert_array_equal(means, same_means)


def test_means_are_taken_away_where_the_features_are_finer_than_the_maps() -> None:
    layer = TextureEnhancement(1)
    flat, maps = tf.ones((1, 8, 8, 2)), tf.ones((1, 4, 4, 1))
    layer(flat, maps)
    layer.extract.set_weights([np.eye(2)[None, None] * _centre_tap(3), np.zeros(2)])
    # Constant features have no texture: what comes out is what zeros would give.
    flat_textures, means = layer(flat, maps)
    zero_textures, _ = layer(tf.zeros_like(flat), maps)
    np.testing.assert_allclose(means, np.ones((1, 4, 4, 2)), rtol=1e-6)
    np.testing.assert_allclose(flat_textures[0], zero_textures[0], atol=1e-6)
    # Features on the grid of the maps keep their means.
    kept, _ = layer(flat, tf.ones((1, 8, 8, 1)))
    assert np.abs(kept[0] - zero_textures[0]).max() > 1e-3


def _centre_tap(size: int) -> np.ndarray:
    taps = np.zeros((size, size, 1, 1))
    taps[size // 2, size // 2] = 1
    return taps


@pytest.mark.parametrize(("fine", "coarse"), [((95, 95), (24, 24)), ((9, 7), (4, 3))])
def test_grids_need_not_divide(fine: tuple[int, int], coarse: tuple[int, int]) -> None:
    textures, means = TextureEnhancement(2)(random(1, *fine, 3), tf.ones((1, *coarse, 2)))
    assert [texture.shape for texture in textures] == 2 * [(1, *fine, 3)]
    assert means.shape == (1, *coarse, 3)


def test_textures_have_the_compute_dtype_and_means_are_float32(
    precision: Callable[[str], None],
) -> None:
    precision("mixed_bfloat16")
    layer = TextureEnhancement(2)
    textures, means = layer(tf.cast(random(1, 8, 8, 3), tf.bfloat16), tf.ones((1, 4, 4, 2)))
    assert means.dtype == tf.float32
    assert {texture.dtype for texture in textures} == {tf.bfloat16}
