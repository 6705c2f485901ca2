"""Writes multi_attention.npz: what this package's own multi-attention modules give.

It guards them where the authors' numbers (shared/reference) are not at hand. Run by hand, after a
change that is meant to move the numbers:

    python tests/goldens/make_goldens.py
"""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip (first, so that TensorFlow takes the right Keras)

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfforensics import agda, losses
from tfforensics.models.attention import AttentionMaps, BilinearAttentionPooling
from tfforensics.models.texture import TextureEnhancement

FILE = Path(__file__).with_name("multi_attention.npz")
BATCH, MAPS, CHANNELS, FINE, COARSE = 3, 3, 4, 11, 5  # 11 is no multiple of 5: windows overlap

Arrays = dict[str, np.ndarray]


def inputs() -> Arrays:
    """Random inputs and weights, the batch statistics among them."""
    rng = np.random.default_rng(20260301)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    arrays = {
        "features": normal(BATCH, FINE, FINE, CHANNELS),
        "deep": normal(BATCH, COARSE, COARSE, CHANNELS),
        "maps": np.abs(normal(BATCH, COARSE, COARSE, MAPS)),
        "labels": np.array([0, 1, 0], np.float32),
        "images": rng.integers(0, 256, (BATCH, 24, 24, 3), np.uint8),
        "seeds": rng.integers(0, 2**31, (BATCH, 2), np.int32),
    }
    for layer in (AttentionMaps(MAPS, name="attention"), TextureEnhancement(MAPS, name="texture")):
        _call(layer, arrays)
        for weight in layer.weights:
            values = 0.5 * normal(*weight.shape)
            positive = "variance" in weight.name or "gamma" in weight.name
            arrays[weight.name] = np.abs(values) + 0.5 if positive else values
    return arrays


def outputs(arrays: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """What the modules make of the inputs."""
    attention = _with_weights(AttentionMaps(MAPS, name="attention"), arrays)
    texture = _with_weights(TextureEnhancement(MAPS, name="texture"), arrays)
    features, maps = arrays["features"], arrays["maps"]
    textures, means = _call(texture, arrays)
    regions = BilinearAttentionPooling()(means, maps)
    found = {
        "attention": _call(attention, arrays),
        "textures": tf.stack(textures, axis=1),
        "means": means,
        "pooled_l2": BilinearAttentionPooling()(features, maps),
        "pooled_mean": BilinearAttentionPooling("mean")(features, maps),
        "pooled_per_map": BilinearAttentionPooling()(textures, maps),
    }
    for form in ("paper", "repository"):
        settings = losses.RegionLoss(form, inter_margin=0.5, intra_margins=(0.1, -2.0))
        centres = tf.zeros((MAPS, CHANNELS))
        for step in range(3):
            loss, centres = losses.regional_independence(
                regions, arrays["labels"], centres, 0.05, settings
            )
            found[f"region_{form}_{step}_loss"] = loss
            found[f"region_{form}_{step}_centres"] = centres
    settings = agda.Agda(scale=0.3)
    found["augmented"], found["chosen"] = agda.augment(
        arrays["images"], maps, arrays["seeds"], settings
    )
    return found


def _call(layer: keras.layers.Layer, arrays: Mapping[str, np.ndarray]) -> tf.Tensor:
    if isinstance(layer, AttentionMaps):
        return layer(arrays["deep"])
    return layer(arrays["features"], arrays["maps"])


def _with_weights(
    layer: keras.layers.Layer, arrays: Mapping[str, np.ndarray]
) -> keras.layers.Layer:
    _call(layer, arrays)
    layer.set_weights([arrays[weight.name] for weight in layer.weights])
    return layer


if __name__ == "__main__":
    given = inputs()
    made = {f"output/{name}": value.numpy() for name, value in outputs(given).items()}
    np.savez_compressed(FILE, **given, **made)
    print(f"{FILE}: {FILE.stat().st_size} bytes")
