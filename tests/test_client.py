"""The client: patience with a busy server, none with a wrong one, one line for each failure."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from loopback import http_server

from tfforensics import client
from tfforensics.client import Answer, BusyError, RefusedError
from tfforensics.command import DataError, UsageError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which are not waited for."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def rows(count: int) -> dict[str, Any]:
    return {"predictions": [{"probability": 0.25, "logit": -1.1, "attention": []}] * count}


def test_a_rest_request_has_the_documented_form() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    def answer(path: str, body: bytes) -> tuple[int, Any]:
        seen.append((path, json.loads(body)))
        return 200, rows(2)

    with http_server(answer) as url:
        found = client.judge([b"one", b"\xff\x00"], client.connect(url, "a b"))
    assert found == [Answer(0.25, -1.1)] * 2
    assert seen == [
        (
            "/v1/models/a%20b:predict",
            {
                "signature_name": "serving_default",
                "instances": [
                    {"image_bytes": {"b64": base64.b64encode(b"one").decode()}},
                    {"image_bytes": {"b64": "/wA="}},
                ],
            },
        )
    ]


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_busy_server_is_asked_again(status: int, waits: list[float]) -> None:
    left = [status, status, 200]
    with http_server(lambda *_: (left.pop(0), rows(1))) as url:
        assert client.judge([b"x"], client.connect(url, "m"), retries=3) == [Answer(0.25, -1.1)]
    assert len(waits) == 2 and 0.125 <= waits[0] <= 0.25 <= waits[1] <= 0.5


def test_patience_ends_in_one_line(waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match=r"127\.0\.0\.1.*refused"):
        client.judge([b"x"], client.connect(url, "m"), retries=9)
    assert len(waits) == 9 and max(waits) <= 8


def test_a_slow_server_is_given_up(waits: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BusyError, match="timed out"):
            client.judge([b"x"], client.connect(url, "m", timeout=0.2), retries=1)
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (404, {"error": "Servable not found for request: Latest(m)"}, "404 Servable not found"),
        (500, b"<html>\n oops </html>", "500 <html> oops </html>"),
        (200, b"hello", "not an answer of TF Serving"),
        (200, {"outputs": {}}, "not an answer of TF Serving"),
        (200, {"predictions": [0.5]}, "not an answer of TF Serving"),
        (200, rows(2), "expected 1 answers, got 2"),
    ],
)
def test_a_wrong_server_is_not_asked_again(
    status: int, content: Any, message: str, waits: list[float]
) -> None:
    with http_server(lambda *_: (status, content)) as url, pytest.raises(DataError, match=message):
        client.judge([b"x"], client.connect(url, "m"))
    assert waits == []


def test_where_a_request_is_refused_sound_files_get_their_answer() -> None:
    sizes = []

    def server(files: Sequence[bytes]) -> list[Answer]:
        sizes.append(len(files))
        if b"bad" in files:
            raise RefusedError("image_bytes[0]: bad")
        return [Answer(0.5, float(len(file))) for file in files]

    found = client.judge([b"a", b"bad", b"ccc"], server)
    assert found == [Answer(0.5, 1.0), "image_bytes[0]: bad", Answer(0.5, 3.0)]
    assert sizes == [3, 1, 1, 1]


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8500", "grpc://localhost", "http://:8501", "ftp://localhost:1",
        "http://localhost:port", "http://localhost:8501/v1/models", "http://localhost:99999", "",
    ],
)  # fmt: skip
def test_addresses_have_one_form(address: str) -> None:
    with pytest.raises(UsageError, match="--server: expected grpc://HOST:PORT"):
        client.connect(address, "m")


def test_grpc_is_patient_too(waits: list[float]) -> None:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    left = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    asked: list[predict_pb2.PredictRequest] = []

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            asked.append(request)
            if left:
                context.abort(left.pop(0), "busy")
            response = predict_pb2.PredictResponse()
            for name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto([0.5], tf.float32))
            return response

    unlimited = [("grpc.max_receive_message_length", -1)]  # as TF Serving has it
    server = grpc.server(futures.ThreadPoolExecutor(1), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    ask = client.connect(address, "m", timeout=60)
    assert client.judge([b"x" * 5_000_000], ask) == [Answer(0.5, 0.5)]
    assert len(asked) == 3 and len(waits) == 2
    assert asked[0].model_spec.name == "m"
    assert asked[0].model_spec.signature_name == "serving_default"
    assert tf.make_ndarray(asked[0].inputs["image_bytes"]).tolist() == [b"x" * 5_000_000]
    assert list(asked[0].output_filter) == ["probability", "logit"]
    server.stop(None).wait()
    with pytest.raises(BusyError, match=f"{address}: UNAVAILABLE"):
        client.judge([b"x"], ask, retries=1)


def test_the_command_sends_batches_and_tells_failures_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(b"bad" if i == 3 else b"good")
    sizes = []

    def answer(_: str, body: bytes) -> tuple[int, Any]:
        instances = json.loads(body)["instances"]
        sizes.append(len(instances))
        if {"image_bytes": {"b64": "YmFk"}} in instances:
            return 400, {"error": "assertion failed: [image_bytes[0]: bad]\n\t [[{{node x}}]]"}
        return 200, rows(len(instances))

    with http_server(answer) as url:
        arguments = [*map(str, paths), "--server", url, "--model", "m", "--batch", "2"]
        assert client.main(arguments) == 1
        assert sizes == [2, 2, 1, 1, 1]
        out, err = capsys.readouterr()
        good = [path for i, path in enumerate(paths) if i != 3]
        assert out == "".join(f"0.250000\t{path}\n" for path in good)
        assert err == f"{paths[3]}: {url}/v1/models/m:predict: 400 image_bytes[0]: bad\n"
        assert client.main([str(paths[0]), "--server", url, "--model", "m"]) == 0
        with pytest.raises(UsageError, match=r"cannot read .*none\.jpg: No such file"):
            client.main([str(tmp_path / "none.jpg"), "--server", url, "--model", "m"])


@pytest.mark.parametrize(
    ("option", "value"),
    [("--batch", "0"), ("--timeout", "0"), ("--retries", "-1"), ("--batch", "x")],
)
def test_options_out_of_range_are_one_line(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        client.main(["x.jpg", "--server", "http://h:1", "--model", "m", option, value])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert option in err and err.count("\n") == 1


def test_help_and_rest_need_no_tensorflow() -> None:
    program = """
import sys
from tfforensics import client, export
client.connect("http://localhost:1", "m")
sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
