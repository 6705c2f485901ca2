"""Arrays of the authors' published modules, where `shared/reference` is at hand.

They are PyTorch's: maps (B, C, H, W), kernels (out, in / groups, kh, kw).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

FILE = Path(__file__).parents[2] / "shared" / "reference" / "multi_attention.npz"

needs_reference = pytest.mark.skipif(
    not FILE.is_file(), reason="shared/reference/multi_attention.npz is not at hand"
)


def load(module: str) -> dict[str, np.ndarray]:
    """The arrays of one module by the rest of their names."""
    with np.load(FILE) as arrays:
        return {
            name.removeprefix(f"{module}/"): arrays[name]
            for name in arrays.files
            if name.startswith(f"{module}/")
        }


def nhwc(maps: np.ndarray) -> np.ndarray:
    return np.moveaxis(maps, 1, -1)


def set_convolution(
    layer: keras.layers.Layer,
    arrays: Mapping[str, np.ndarray],
    name: str,
    group: slice = slice(None),
) -> None:
    """Gives a convolution the weights `name`; of a grouped one, those of the channels `group`."""
    kernel = arrays[f"param/{name}.weight"][group].transpose(2, 3, 1, 0)
    weights = [kernel.reshape(layer.kernel.shape)]
    if f"param/{name}.bias" in arrays:
        weights.append(arrays[f"param/{name}.bias"][group])
    layer.set_weights(weights)


def set_norm(
    layer: keras.layers.Layer,
    arrays: Mapping[str, np.ndarray],
    name: str,
    group: slice = slice(None),
) -> None:
    parts = ("weight", "bias", "running_mean", "running_var")
    layer.set_weights([arrays[f"param/{name}.{part}"][group] for part in parts])
