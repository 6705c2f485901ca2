"""Spatial attention maps and what reads features through them.

Zhao et al., "Multi-attentional Deepfake Detection", CVPR 2021, section 3; where the paper leaves
a detail open, the authors' published network decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models import resample
from tfforensics.models.dropout import Dropout
from tfforensics.models.normalisation import BatchNormalization

# PyTorch's batch normalisation, with which the method was published.
NORM = {"momentum": 0.9, "epsilon": 1e-5}
_MASK_GRID = 24
_MASK_BORDER = 2


class AttentionMaps(keras.layers.Layer):
    """M attention maps from a feature map: mask x (ELU(BN(W2 ReLU(BN(W1 * x + b)))) + 1).

    W1 is a 3x3 convolution that keeps the channels, W2 a 1x1 convolution to M maps without bias.
    The mask is 0 in a border (see `border_mask`) and 1 within, which keeps the maps off what the
    padding of so many convolutions does to the features there.

    Maps features (B, h, w, c) to float32 (B, h, w, M), each value >= 0. The convolutions are in the
    compute dtype, the last normalisation and what follows in float32.

    Args:
        maps: M, at least 1.

    Raises:
        UsageError: `maps` is below 1, or the features are so small that the border is all of them.
    """

    def __init__(self, maps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if maps < 1:
            raise UsageError(f"maps: expected at least 1 attention map, got {maps}")
        self.maps = maps

    def build(self, input_shape: tf.TensorShape) -> None:
        _, height, width, channels = input_shape
        if min(height, width) < 2:
            raise UsageError(
                "attention: expected features of at least 2 x 2 at the attention tap, "
                f"got {height} x {width}: enlarge the image or tap an earlier stage"
            )
        self.mask = border_mask(height, width)
        self.extract = keras.layers.Conv2D(channels, 3, padding="same", name="extract")
        self.extract_norm = BatchNormalization(name="extract_bn", **NORM)
        self.project = keras.layers.Conv2D(self.maps, 1, use_bias=False, name="project")
        self.project_norm = BatchNormalization(name="project_bn", dtype="float32", **NORM)
        super().build(input_shape)

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.extract_norm(self.extract(features), training=training)
        x = self.project_norm(self.project(tf.nn.relu(x)), training=training)
        return (tf.nn.elu(x) + 1.0) * self.mask

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "maps": self.maps}


class BilinearAttentionPooling(keras.layers.Layer):
    """Reads features through attention maps: p_m = sum over space of a_m f.

    The maps are resized to the features (bilinear, aligned corners) before.

    Args:
        normalisation: "l2" divides each p_m by its norm over channels (at least 1e-6);
            "mean" divides it by the sum of the map, to which 1e-8 has been added everywhere, so
            that maps of zeros give the plain mean.

    Call with features (B, H, W, C), or a sequence of M such tensors to read each through its own
    map, and attention (B, h, w, M); returns float32 (B, M, C).
    """

    def __init__(self, normalisation: str = "l2", *, dtype: str = "float32", **kwargs: Any) -> None:
        # Thousands of products are added up: beyond the range of half precision.
        super().__init__(dtype=dtype, **kwargs)
        if normalisation not in ("l2", "mean"):
            raise UsageError(f"normalisation: expected l2 or mean, got {normalisation!r}")
        self.normalisation = normalisation

    def call(self, features: tf.Tensor | Sequence[tf.Tensor], attention: tf.Tensor) -> tf.Tensor:
        if isinstance(features, (list, tuple)):
            attention = self._fit(attention, features[0])
            pooled = tf.concat(
                [_pool(each, attention[..., m : m + 1]) for m, each in enumerate(features)],
                axis=1,
            )
        else:
            attention = self._fit(attention, features)
            pooled = _pool(features, attention)
        if self.normalisation == "l2":
            return tf.math.l2_normalize(pooled, axis=-1, epsilon=1e-12)
        return pooled / tf.reduce_sum(attention, axis=(1, 2))[..., None]

    def _fit(self, attention: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        attention = resample.resize(attention, features.shape[1], features.shape[2])
        return attention + 1e-8 if self.normalisation == "mean" else attention

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalisation": self.normalisation}


class AttentionDropout(keras.layers.Layer):
    """Drops whole attention maps of an example, and their row of a feature matrix, in training.

    Both inputs are multiplied by one mask: 0 with probability `rate` and 1 / (1 - rate) otherwise,
    for each example and map. Keeps the network from leaning on one region.

    Call with attention (B, h, w, M) and a feature matrix (B, M, C); returns both, masked.
    """

    def __init__(
        self, rate: float, *, seed: int = 0, dtype: str = "float32", **kwargs: Any
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.dropout = Dropout(rate, seed=seed, dtype=dtype, name=f"{self.name}_mask")

    def call(
        self, attention: tf.Tensor, matrix: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        mask = self.dropout(tf.ones_like(matrix[:, :, 0]), training=training)
        return attention * mask[:, None, None, :], matrix * mask[:, :, None]

    def get_config(self) -> dict[str, Any]:
        settings = {"rate": self.dropout.rate, "seed": self.dropout.seed}
        return {**super().get_config(), **settings}


def border_mask(height: int, width: int) -> npt.NDArray[np.float32]:
    """The mask (1, height, width, 1) of the attention maps.

    On a 24 x 24 grid the outer two cells are 0 and the others 1; the mask takes the cell
    floor(24 i / size) for each row and column i. The border is therefore wider above and on the
    left than below and on the right: with 14 rows, rows 0, 1 and 13 are 0.
    """

    def edge(size: int) -> npt.NDArray[np.float32]:
        cell = np.arange(size) * _MASK_GRID // size
        return ((cell >= _MASK_BORDER) & (cell < _MASK_GRID - _MASK_BORDER)).astype(np.float32)

    return (edge(height)[:, None] * edge(width)[None, :])[None, :, :, None]


def _pool(features: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
    """Sums over space of attention (B, H, W, M) times features (B, H, W, C): (B, M, C)."""

    def flat(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))

    return tf.matmul(flat(attention), flat(features), transpose_a=True)
