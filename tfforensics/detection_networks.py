"""The three networks of MTCNN as TensorFlow graphs, with the weights of the `mtcnn` package."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Which outputs leave the proposal network: scores above this.
PNET_SCORE = 0.6

_DIGESTS = {
    "pnet.lz4": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet.lz4": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet.lz4": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}

Network = Callable[[NDArray[np.float32]], list[Any]]


class Networks(NamedTuple):
    """Functions of float32 RGB images in 0..255 (n, H, W, 3) to lists of tensors.

    Attributes:
      propose: for images of any size: the cells that score above PNET_SCORE as int64 (m, 3),
        image, row and column; their boxes' offsets (m, 4); their scores (m,).
      refine: for images of 24 x 24: offsets (n, 4), scores (n,).
      output: for images of 48 x 48: offsets (n, 4), landmarks (n, 10), five x then five y,
        scores (n,).
    """

    propose: Network
    refine: Network
    output: Network


def load_networks() -> Networks:
    """Reads the weights and builds the graphs, each traced once for images of all sizes.

    Raises:
      ImportError: the package `mtcnn` 1.0 is missing, or its files are not the known ones.
    """
    import tensorflow as tf

    pnet, rnet, onet = (_load_weights(name) for name in _DIGESTS)

    def prelu(x: Any, slope: Any) -> Any:
        return tf.nn.relu(x) - slope * tf.nn.relu(-x)

    def conv(x: Any, kernel: Any, bias: Any, slope: Any) -> Any:
        return prelu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias), slope)

    def dense(x: Any, kernel: Any, bias: Any, slope: Any) -> Any:
        return prelu(tf.matmul(x, kernel) + bias, slope)

    def heads(x: Any, *parameters: Any) -> list[Any]:
        """Linear outputs side by side; of the last, the share of "face" in a softmax."""
        kernels = [kernel.reshape(-1, kernel.shape[-1]) for kernel in parameters[::2]]
        biases = parameters[1::2]
        joint = tf.matmul(x, np.concatenate(kernels, axis=1)) + np.concatenate(biases)
        *outputs, logits = tf.split(joint, [len(bias) for bias in biases], axis=1)
        return [*outputs, tf.nn.softmax(logits)[:, 1]]

    def normal(x: Any) -> Any:
        return (x - 127.5) / 128.0

    def flat(x: Any) -> Any:
        # The weights come from a framework that stores images column by column.
        return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [tf.shape(x)[0], -1])

    def graph(network: Network) -> Network:
        images = tf.TensorSpec((None, None, None, 3), tf.float32)
        return tf.function(network, input_signature=[images], autograph=False)

    def propose(images: Any) -> list[Any]:
        x = conv(normal(images), *pnet[0:3])
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        x = conv(x, *pnet[3:6])
        x = conv(x, *pnet[6:9])
        offsets, scores = heads(tf.reshape(x, [-1, x.shape[-1]]), *pnet[9:])
        grid = tf.shape(x)[:3]
        cells = tf.where(tf.reshape(scores, grid) > PNET_SCORE)
        offsets = tf.reshape(offsets, tf.concat([grid, [4]], 0))
        return [cells, tf.gather_nd(offsets, cells), tf.boolean_mask(scores, scores > PNET_SCORE)]

    def refine(images: Any) -> list[Any]:
        x = conv(normal(images), *rnet[0:3])
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        x = conv(x, *rnet[3:6])
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = conv(x, *rnet[6:9])
        x = dense(flat(x), *rnet[9:12])
        return heads(x, *rnet[12:])

    def output(images: Any) -> list[Any]:
        x = conv(normal(images), *onet[0:3])
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        x = conv(x, *onet[3:6])
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = conv(x, *onet[6:9])
        x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        x = conv(x, *onet[9:12])
        x = dense(flat(x), *onet[12:15])
        return heads(x, *onet[15:])

    return Networks(graph(propose), graph(refine), graph(output))


def _load_weights(name: str) -> list[NDArray[np.float32]]:
    """Reads one network's arrays from the installed `mtcnn` package.

    The file is a pickle, so nothing else may be read in its place: the path is the package's
    own (the package itself would take a file of that name in the working directory first),
    and the bytes are compared with the known ones before they are opened.
    """
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise ImportError("the face detector needs the package mtcnn 1.0, which is not installed")
    path = Path(spec.origin).parent / "assets" / "weights" / name
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != _DIGESTS[name]:
        raise ImportError(
            f"{path}: expected the weights of mtcnn 1.0.0 with SHA-256 {_DIGESTS[name]}, "
            f"got {digest}"
        )
    import joblib

    return joblib.load(io.BytesIO(content))
