"""Reads the arrays of a Keras HDF5 weights file, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tfforensics.command import UsageError


def read_keras_file(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The weights in a file that Keras's `save_weights` (or `save`) wrote as HDF5.

    A model's configuration, where the file has one, is not looked at: it can hold code.

    Returns:
        For each layer that has weights, in the file's order, its arrays by name ("kernel",
        "gamma", ...). float32 throughout.

    Raises:
        UsageError: there is no such file, or it is not of this kind.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = {
                _text(layer): {
                    _text(name).rsplit("/", 1)[-1].removesuffix(":0"): _array(
                        root[layer][name], path
                    )
                    for name in root[layer].attrs["weight_names"]
                }
                for layer in root.attrs["layer_names"]
            }
    except FileNotFoundError as error:
        raise UsageError(f"weights: no such file: {path}") from error
    except OSError as error:
        raise UsageError(f"weights: expected an HDF5 file, got {path}: {error}") from error
    except (KeyError, AttributeError) as error:
        raise UsageError(
            f"weights: expected Keras weights in HDF5 (layers with their weights' names), "
            f"got {path}: {error}"
        ) from error
    return {layer: arrays for layer, arrays in layers.items() if arrays}


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _array(dataset: h5py.Dataset, path: Path) -> np.ndarray:
    # The size of an array is a claim until its bytes are there; other files are not opened.
    if dataset.nbytes > path.stat().st_size or dataset.external or dataset.is_virtual:
        raise UsageError(f"weights: {path}: {dataset.name} is not stored in the file itself")
    if dataset.dtype.kind not in "fiu":
        raise UsageError(f"weights: {path}: {dataset.name} holds {dataset.dtype}, not numbers")
    return np.asarray(dataset[()], np.float32)
