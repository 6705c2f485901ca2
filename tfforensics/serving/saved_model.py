"""A network -> saved_model.pb: one graph of constants with two signatures.

serving_default   image_bytes, string (B,): JPEG or PNG files of faces, of any size
pixels            pixels, uint8 (B, S, S, 3): RGB faces at the network's size

Both answer with `probability` and `logit`, float32 (B,); `attention`, float32 (B, h, w, M),
where the network has maps; and `quality`, int32 (B,), where the calibration needs it.

The graph is flat: the form of SavedModel that has neither functions around it nor variables.
The `pixels` signature feeds the node in the middle at which `serving_default` has decoded its
files, so the network is there once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import tensorflow as tf
import tf_keras as keras
from tensorflow.core.protobuf import fingerprint_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from tfforensics import quality_in_graph
from tfforensics.calibration import Calibration
from tfforensics.serving import freeze
from tfforensics.serving.decode import decode_faces

BY_BYTES = "serving_default"
BY_PIXELS = "pixels"
NETWORK = ("logit", "attention")  # outputs that are the network's own
_PREDICT = "tensorflow/serving/predict"  # the method of TF Serving's Predict API
# Ends the names of the nodes that one signature alone answers with.
_OWN = {BY_BYTES: "_of_files", BY_PIXELS: "_of_pixels"}


@dataclass(frozen=True)
class ServingGraph:
    """A graph of constants, and the tensors of its signatures.

    Attributes:
        graph: the nodes of inputs and outputs have the names of their specs.
        inputs: what each signature takes.
        outputs: what each signature answers with, by the names that clients use.
    """

    graph: freeze.GraphDef
    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, Mapping[str, tf.TensorSpec]]

    def folded(self) -> tuple[ServingGraph, int]:
        """The same with batch normalisations folded into convolutions, and how many were."""
        graph, count = freeze.fold_normalisations(self.graph, _names(self.inputs, self.outputs))
        return replace(self, graph=graph), count


def build(network: keras.Model, calibration: Calibration | None = None) -> ServingGraph:
    """The graph of a network in inference, from files and from pixels.

    A calibration takes the quality of a file from its pixels as they are decoded. Faces that
    come as pixels may have lost their trace to a resize; they then count as uncompressed.

    Args:
        network: uint8 (B, S, S, 3) to a dict with `logit` (B,), built in float32.
        calibration: of its logits; without one, `probability` is sigmoid(logit).
    """
    size = network.input_shape[1]
    image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
    pixels = tf.TensorSpec((None, size, size, 3), tf.uint8, "pixels")
    by_quality = calibration is not None and _depends_on_quality(calibration)

    @tf.function(input_signature=[image_bytes], autograph=False)
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        estimate = quality_in_graph.estimator() if by_quality else None
        decoded, of_files = decode_faces(image_bytes, size, estimate)
        faces = tf.raw_ops.PlaceholderWithDefault(
            input=decoded, shape=pixels.shape, name=pixels.name
        )
        found = network(faces, training=False)
        logit = found["logit"]
        outputs = {name: found[name] for name in NETWORK if name in found}
        if calibration is None:
            outputs["probability"] = tf.sigmoid(logit)
        elif estimate is None:
            any_quality = tf.fill(tf.shape(logit), quality_in_graph.NO_TRACE)
            outputs["probability"] = calibration.probability_in_graph(logit, any_quality)
        else:
            of_pixels = tf.map_fn(estimate, faces, fn_output_signature=tf.TensorSpec((), tf.int32))
            for own, quality in zip(_OWN.values(), (of_files, of_pixels), strict=True):
                outputs[f"quality{own}"] = quality
                outputs[f"probability{own}"] = calibration.probability_in_graph(logit, quality)
        return {name: tf.identity(value, name) for name, value in outputs.items()}

    traced = serve.get_concrete_function()
    inputs = {BY_BYTES: image_bytes, BY_PIXELS: pixels}
    outputs = {
        signature: {
            name.removesuffix(own): tf.TensorSpec(value.shape, value.dtype, name)
            for name, value in sorted(traced.structured_outputs.items())
            if name.endswith(own) or not name.endswith(tuple(_OWN.values()))
        }
        for signature, own in _OWN.items()
    }
    return ServingGraph(freeze.freeze(traced, _names(inputs, outputs)), inputs, outputs)


def _depends_on_quality(calibration: Calibration) -> bool:
    # Bands can be copies of one; `lowest` and `videos`, first and last, change no answer.
    return len({astuple(band)[1:-1] for band in calibration.bands}) > 1


def _names(
    inputs: Mapping[str, tf.TensorSpec], outputs: Mapping[str, Mapping[str, tf.TensorSpec]]
) -> list[str]:
    """The nodes of a graph that must keep their names."""
    specs = [spec for answers in outputs.values() for spec in answers.values()]
    return list(dict.fromkeys(spec.name for spec in (*specs, *inputs.values())))


def write(serving: ServingGraph, folder: Path) -> None:
    """Writes `folder/saved_model.pb` and its fingerprint; the same graph gives the same bytes."""
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append(tf.saved_model.SERVING)
    meta.meta_info_def.tensorflow_version = tf.__version__
    meta.graph_def.CopyFrom(serving.graph)
    for name, spec in serving.inputs.items():
        signature = meta.signature_def[name]
        signature.method_name = _PREDICT
        _describe(signature.inputs[spec.name], spec)
        for key, output in serving.outputs[name].items():
            _describe(signature.outputs[key], output)
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))
    # `tf.saved_model.save` does this last; no public function does it alone.
    fingerprinting_utils.write_fingerprint(str(folder))
    path = folder / "fingerprint.pb"
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    if "uuid" in fingerprint.DESCRIPTOR.fields_by_name:  # not yet in TensorFlow 2.16
        fingerprint.ClearField("uuid")  # random
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))


def _describe(tensor: meta_graph_pb2.TensorInfo, spec: tf.TensorSpec) -> None:
    tensor.name = f"{spec.name}:0"
    tensor.dtype = spec.dtype.as_datatype_enum
    tensor.tensor_shape.CopyFrom(spec.shape.as_proto())
