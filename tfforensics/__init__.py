"""Detect manipulated faces, and keep detecting them after heavy JPEG compression."""

import os
import sys

__version__ = "0.1.0.dev0"

# keras-cv, mtcnn and tensorflow-addons ask TensorFlow which Keras is its own: the
# answer has to be tf-keras before any of them is imported (README, "Which Keras").
os.environ["TF_USE_LEGACY_KERAS"] = "1"
if "tensorflow" in sys.modules and not (
    sys.modules["tensorflow"].keras.layers.Layer.__module__.startswith("tf_keras.")
):
    raise ImportError(
        "TensorFlow already runs on Keras 3 in this process: import tfforensics before anything "
        "that touches tf.keras, or set TF_USE_LEGACY_KERAS=1"
    )
