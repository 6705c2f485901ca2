"""TF Serving's two interfaces on loopback, around a loaded export, for tests of the wire format.

They follow the documents: the PredictionService of tensorflow-serving-api, and
https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np


class Served:
    """The signatures of an export as a server runs them."""

    def __init__(self, name: str, folder: Path) -> None:
        import tensorflow as tf

        self.name = name
        self._model = tf.saved_model.load(str(folder))

    def run(self, signature: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        answers = self._model.signatures[signature or "serving_default"](**inputs)
        return {name: answer.numpy() for name, answer in answers.items()}


@contextlib.contextmanager
def grpc_server(served: Served) -> Iterator[str]:
    """Serves by gRPC; gives the address."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            if request.model_spec.name != served.name:
                text = f"Servable not found for request: Latest({request.model_spec.name})"
                context.abort(grpc.StatusCode.NOT_FOUND, text)
            inputs = {
                key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()
            }
            try:
                answers = served.run(request.model_spec.signature_name, inputs)
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
            response = predict_pb2.PredictResponse()
            response.model_spec.CopyFrom(request.model_spec)
            for key in request.output_filter or answers:
                response.outputs[key].CopyFrom(tf.make_tensor_proto(answers[key]))
            return response

    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(served: Served) -> Iterator[str]:
    """Serves by REST; gives the address."""
    import tensorflow as tf

    def answer(path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        name = path.removeprefix("/v1/models/").removesuffix(":predict")
        if name != served.name:
            return 404, {"error": f"Servable not found for request: Latest({name})"}
        try:
            request = json.loads(body)
            columns: dict[str, list[Any]] = {}
            for row in request["instances"]:
                for key, value in row.items():
                    binary = isinstance(value, dict) and value.keys() == {"b64"}
                    decoded = base64.b64decode(value["b64"], validate=True) if binary else value
                    columns.setdefault(key, []).append(decoded)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return 400, {"error": f"JSON Parse error: {error!r}"}
        try:
            inputs = {key: tf.constant(column) for key, column in columns.items()}
            found = served.run(request.get("signature_name", ""), inputs)
        except tf.errors.InvalidArgumentError as error:
            return 400, {"error": error.message}
        rows = zip(*(values.tolist() for values in found.values()), strict=True)
        return 200, {"predictions": [dict(zip(found, row, strict=True)) for row in rows]}

    with http_server(answer) as url:
        yield url


@contextlib.contextmanager
def http_server(answer: Callable[[str, bytes], tuple[int, Any]]) -> Iterator[str]:
    """Any HTTP server: path and body of a POST -> status and JSON (or bytes as they are)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, content = answer(self.path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
