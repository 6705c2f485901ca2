"""A request of TF Serving's Predict API."""

from __future__ import annotations

from collections.abc import Mapping

from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest


def request(name: str, signature: str, inputs: Mapping[str, TensorProto]) -> PredictRequest:
    """For the newest version of a model.

    Args:
        name: under which it is served.
        signature: one of its signatures.
        inputs: of that signature.
    """
    message = PredictRequest()
    message.model_spec.name = name
    message.model_spec.signature_name = signature
    for key, tensor in inputs.items():
        message.inputs[key].CopyFrom(tensor)
    return message
