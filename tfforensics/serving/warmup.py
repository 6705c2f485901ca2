"""The requests that TF Serving replays when it loads a version, so that no client waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tfforensics.serving.predict_request import request
from tfforensics.serving.saved_model import BY_BYTES, BY_PIXELS

FILE = "assets.extra/tf_serving_warmup_requests"  # where TF Serving looks for it


def write(folder: Path, name: str, files: Sequence[bytes], pixels: np.ndarray) -> None:
    """Writes three requests for the version in `folder`: one file, all files, and pixels.

    Args:
        name: under which the model is served.
        files: JPEG and PNG files of faces.
        pixels: uint8 (B, S, S, 3), faces at the network's size.
    """
    requests = [
        request(name, BY_BYTES, {"image_bytes": tf.make_tensor_proto(list(files[:1]))}),
        request(name, BY_BYTES, {"image_bytes": tf.make_tensor_proto(list(files))}),
        request(name, BY_PIXELS, {"pixels": tf.make_tensor_proto(pixels)}),
    ]
    path = folder / FILE
    path.parent.mkdir()
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for each in requests:
                log = PredictionLog()
                log.predict_log.request.CopyFrom(each)
                writer.write(log.SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise OSError(f"{path}: {error.message}") from error
