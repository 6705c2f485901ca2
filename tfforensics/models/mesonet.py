"""Meso4 and MesoInception4, and their authors' released weights.

Afchar, Nozick, Yamagishi & Echizen, "MesoNet: a Compact Facial Video Forgery Detection
Network", WIFS 2018; released weights: https://github.com/DariusAf/MesoNet (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.dropout import Dropout
from tfforensics.models.keras_file import read_keras_file
from tfforensics.models.normalisation import BatchNormalization


def meso4(*, size: int = 256, seed: int = 0) -> keras.Model:
    """Four convolutions with pooling, and a dense layer of 16 (28 k parameters).

    Args:
        size: Side of the square images in pixels; 256 as published.
        seed: Of the dropout masks.

    Returns:
        A network: RGB images (B, size, size, 3), uint8, to {"logit": (B,) float32}, the
        logit of P(manipulated).
    """
    images, x = _start(size)
    x = _pool(_conv(x, 8, 3, number=1), 2, number=1)
    x = _pool(_conv(x, 8, 5, number=2), 2, number=2)
    x = _pool(_conv(x, 16, 5, number=3), 2, number=3)
    x = _pool(_conv(x, 16, 5, number=4), 4, number=4)
    return keras.Model(images, _head(x, seed), name="meso4")


def meso_inception4(*, size: int = 256, seed: int = 0) -> keras.Model:
    """Meso4 with its first two convolutions replaced by inception modules (28.6 k parameters).

    Arguments and result as of `meso4`.
    """
    images, x = _start(size)
    x = _pool(_inception(x, (1, 4, 4, 2), first=1), 2, number=1)
    x = _pool(_inception(x, (2, 4, 4, 2), first=8), 2, number=2)
    x = _pool(_conv(x, 16, 5, number=15), 2, number=3)
    x = _pool(_conv(x, 16, 5, number=16), 4, number=4)
    return keras.Model(images, _head(x, seed), name="meso_inception4")


class ReleasedMesoNet(keras.Model):
    """A released baseline: uint8 RGB images (N, 256, 256, 3) to P(manipulated), (N,) float32.

    Attributes:
        network: The same as a network, from images to {"logit": (N,)}.
    """

    def __init__(self, network: keras.Model) -> None:
        sigmoid = keras.layers.Activation("sigmoid", dtype="float32", name="probability")
        super().__init__(network.input, sigmoid(network.output["logit"]))
        self.network = network


def from_released_weights(path: str | Path) -> ReleasedMesoNet:
    """The network that a released weights file belongs to, with these weights.

    In the released weights 1 stands for a real face; the last layer is negated here, so
    that sigmoid(logit) is P(manipulated) = 1 - the released network's output.

    Args:
        path: An HDF5 file of MesoNet's authors, such as `Meso4_DF.h5` or
            `MesoInception_F2F.h5`.

    Raises:
        UsageError: no such file, no Keras HDF5 file, or weights of another network.
    """
    released = _numbered(read_keras_file(Path(path)))
    for network in (meso4(), meso_inception4()):
        variables = {
            f"{layer.name}/{_name(variable)}": variable
            for layer in network.layers
            for variable in layer.weights
            if _name(variable) != "counter"
        }
        if {name: tuple(variable.shape) for name, variable in variables.items()} == {
            name: array.shape for name, array in released.items()
        }:
            for name, variable in variables.items():
                variable.assign(-released[name] if name.startswith("dense2/") else released[name])
            return ReleasedMesoNet(network)
    raise UsageError(
        f"weights: expected the released weights of Meso4 or MesoInception4, got another "
        f"network's: {path}"
    )


def _numbered(weights: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays by our names: Keras numbered the layers of each kind as they were created."""
    ours = {"conv2d": "conv", "batch_normalization": "norm", "dense": "dense"}
    layers: dict[str, list[tuple[int, dict[str, np.ndarray]]]] = {kind: [] for kind in ours}
    for layer, arrays in weights.items():
        kind, _, number = layer.rpartition("_")
        if not number.isdecimal():
            kind, number = layer, "0"
        layers.setdefault(kind, []).append((int(number), arrays))
    return {
        f"{ours.get(kind, kind)}{position}/{name}": array
        for kind, numbered in layers.items()
        for position, (_, arrays) in enumerate(sorted(numbered, key=lambda item: item[0]), start=1)
        for name, array in arrays.items()
    }


def _name(variable: tf.Variable) -> str:
    return variable.name.rsplit("/", 1)[-1].removesuffix(":0")


def _start(size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    if size < 32:
        raise UsageError(f"size: expected at least 32 pixels for MesoNet, got {size}")
    images = keras.Input((size, size, 3), dtype="uint8", name="image")
    return images, keras.layers.Rescaling(1 / 255, dtype="float32", name="preprocessing")(images)


def _conv(
    x: keras.KerasTensor, filters: int, kernel: int, *, number: int, dilation: int = 1
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters,
        kernel,
        padding="same",
        dilation_rate=dilation,
        activation="relu",
        name=f"conv{number}",
    )(x)


def _pool(x: keras.KerasTensor, side: int, *, number: int) -> keras.KerasTensor:
    x = BatchNormalization(name=f"norm{number}")(x)
    return keras.layers.MaxPooling2D(side, padding="same", name=f"pool{number}")(x)


def _inception(
    x: keras.KerasTensor, filters: tuple[int, int, int, int], *, first: int
) -> keras.KerasTensor:
    """Four branches: 1x1, and 3x3 with dilations 1, 2 and 3 behind a 1x1 each."""
    branches = [_conv(x, filters[0], 1, number=first)]
    for dilation in (1, 2, 3):
        number = first + 2 * dilation - 1
        branch = _conv(x, filters[dilation], 1, number=number)
        branches.append(_conv(branch, filters[dilation], 3, dilation=dilation, number=number + 1))
    return keras.layers.Concatenate(name=f"concatenate{first}")(branches)


def _head(x: keras.KerasTensor, seed: int) -> dict[str, keras.KerasTensor]:
    x = keras.layers.Flatten(name="flatten")(x)
    x = Dropout(0.5, seed=seed, name="dropout1")(x)
    x = keras.layers.Dense(16, name="dense1")(x)
    x = keras.layers.LeakyReLU(0.1, name="leaky_relu")(x)
    x = Dropout(0.5, seed=seed, name="dropout2")(x)
    x = keras.layers.Dense(1, dtype="float32", name="dense2")(x)
    return {"logit": keras.layers.Reshape((), dtype="float32", name="logit")(x)}
