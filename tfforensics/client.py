"""Sends faces to a running TF Serving, by gRPC or REST, and prints what it answers.

python -m tfforensics.client face.jpg --server grpc://localhost:8500 --model NAME
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from tfforensics import command
from tfforensics.command import DataError, UsageError
from tfforensics.serving import refusal

SIGNATURE = "serving_default"
_FIGURES = ("probability", "logit")
_SHORTEST_WAIT, _LONGEST_WAIT = 0.25, 8.0  # seconds between two tries


class RefusedError(DataError):
    """The server will not judge this request; to send it again is of no use."""


class BusyError(DataError):
    """The server is not there, overloaded or too slow; another try may help."""


@dataclass(frozen=True)
class Answer:
    """What a server said of one face.

    Attributes:
        probability: P(manipulated).
        logit: before calibration.
    """

    probability: float
    logit: float


class Server(Protocol):
    """A way to a server: files of faces, JPEG or PNG -> one answer each.

    Raises:
        RefusedError, BusyError: as they say.
        DataError: the server has no such model, or is no TF Serving.
    """

    def __call__(self, files: Sequence[bytes]) -> list[Answer]: ...


def connect(address: str, model: str, *, timeout: float = 30.0) -> Server:
    """The way to a server; nothing is sent yet.

    Args:
        address: grpc://HOST:PORT, http://HOST:PORT or https://HOST:PORT.
        model: its name there.
        timeout: seconds that a request may take.

    Raises:
        UsageError: an address of another form.
    """
    parts = urlsplit(address)
    try:
        whole = bool(parts.hostname and parts.port) and parts.path in ("", "/")
    except ValueError:  # of `port`, where it is no number
        whole = False
    if not whole or parts.scheme not in ("grpc", "http", "https"):
        raise UsageError(
            "--server: expected grpc://HOST:PORT, http://HOST:PORT or https://HOST:PORT, "
            f"got {address!r}"
        )
    if parts.scheme == "grpc":
        return _grpc(parts.netloc, model, timeout)
    return _rest(f"{parts.scheme}://{parts.netloc}", model, timeout)


def judge(files: Sequence[bytes], server: Server, *, retries: int = 3) -> list[Answer | str]:
    """Asks about files of faces in one request.

    Where it is refused, each file is sent alone, so that the sound ones get their answer.

    Args:
        files: JPEG or PNG files, a face each.
        server: of `connect`.
        retries: further tries of a request while the server is busy or not there. The waits
            between them double, and are drawn from their upper half, so that clients that
            failed together do not come back together.

    Returns:
        For each file its answer, or the line that says why it has none.

    Raises:
        DataError: no answer after all tries, or one that no detector of ours gives.
    """
    try:
        return [*_persistently(files, server, retries)]
    except RefusedError as error:
        if len(files) == 1:
            return [str(error)]
    return [answer for file in files for answer in judge([file], server, retries=retries)]


def _persistently(files: Sequence[bytes], server: Server, retries: int) -> list[Answer]:
    for attempt in range(retries):
        try:
            return server(files)
        except BusyError:
            wait = min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**attempt)
            time.sleep(wait * random.uniform(0.5, 1.0))
    return server(files)


def _rest(url: str, model: str, timeout: float) -> Server:
    """By https://www.tensorflow.org/tfx/serving/api_rest: a row for each face."""
    address = f"{url}/v1/models/{quote(model)}:predict"

    def ask(files: Sequence[bytes]) -> list[Answer]:
        rows = [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files]
        body = json.dumps({"signature_name": SIGNATURE, "instances": rows}).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            line = f"{address}: {error.code} {_rest_reason(error.read())}"
            kind = {400: RefusedError, 429: BusyError, 503: BusyError, 504: BusyError}
            raise kind.get(error.code, DataError)(line) from error
        except (OSError, http.client.HTTPException) as error:
            raise BusyError(f"{address}: {getattr(error, 'reason', error) or error!r}") from error
        try:
            rows = json.loads(content)["predictions"]
            answers = [Answer(*(float(row[name]) for name in _FIGURES)) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{address}: not an answer of TF Serving: {error!r}") from error
        return _one_each(answers, files, address)

    return ask


def _rest_reason(body: bytes) -> str:
    """TF Serving's message, {"error": ...}, or the start of whatever came."""
    try:
        return refusal.reason(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body[:200].decode(errors="replace").split())


def _grpc(target: str, model: str, timeout: float) -> Server:
    """By TF Serving's PredictionService."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    from tfforensics.serving.predict_request import request

    # Its own limit of 4 MB is a few faces; the server has its own.
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    stub = PredictionServiceStub(grpc.insecure_channel(target, unlimited))
    codes = grpc.StatusCode
    kinds = {
        codes.INVALID_ARGUMENT: RefusedError,
        codes.UNAVAILABLE: BusyError,
        codes.DEADLINE_EXCEEDED: BusyError,
        codes.RESOURCE_EXHAUSTED: BusyError,
    }

    def ask(files: Sequence[bytes]) -> list[Answer]:
        message = request(model, SIGNATURE, {"image_bytes": tf.make_tensor_proto(list(files))})
        message.output_filter.extend(_FIGURES)  # attention maps are large
        try:
            answer = stub.Predict(message, timeout=timeout)
        except grpc.RpcError as error:
            line = f"grpc://{target}: {error.code().name} {refusal.reason(error.details() or '')}"
            raise kinds.get(error.code(), DataError)(line) from error
        if not all(name in answer.outputs for name in _FIGURES):
            raise DataError(f"grpc://{target}: {model} answers with {', '.join(answer.outputs)}")
        columns = [tf.make_ndarray(answer.outputs[name]).tolist() for name in _FIGURES]
        answers = [Answer(*row) for row in zip(*columns, strict=True)]
        return _one_each(answers, files, f"grpc://{target}")

    return ask


def _one_each(answers: list[Answer], files: Sequence[bytes], address: str) -> list[Answer]:
    if len(answers) != len(files):
        raise DataError(f"{address}: expected {len(files)} answers, got {len(answers)}")
    return answers


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"IMAGES: cannot read {path}: {error.strerror}") from error


def _at_least(least: int, kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise command.ArgumentTypeError(f"expected at least {least}, got {text}")
        return value

    return number


def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.client",
        description="Ask a running TF Serving about images of faces: a probability and a path "
        "each, tab between them. 1 = manipulated.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGES", help="JPEG or PNG files, a face each")
    add(
        "--server", required=True, default=argparse.SUPPRESS, metavar="ADDRESS",
        help="grpc://HOST:8500 or http://HOST:8501",
    )  # fmt: skip
    add("--model", required=True, default=argparse.SUPPRESS, metavar="NAME", help="as served")
    add("--batch", type=_at_least(1, int), default=16, metavar="N", help="images in a request")
    add(
        "--timeout",
        type=_at_least(1, float),
        default=30.0,
        metavar="S",
        help="seconds for a request",
    )
    add(
        "--retries", type=_at_least(0, int), default=3, metavar="N", help="while the server is busy"
    )
    return parser


def main(arguments: Iterable[str] | None = None) -> int:
    """The command: 0 where every image got an answer, else 1."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    if options.server.startswith("grpc:"):
        command.start_tensorflow()
    server = connect(options.server, options.model, timeout=options.timeout)
    refused = 0
    for first in range(0, len(options.images), options.batch):
        paths = options.images[first : first + options.batch]
        answers = judge([_read(path) for path in paths], server, retries=options.retries)
        for path, answer in zip(paths, answers, strict=True):
            if isinstance(answer, str):
                refused += 1
                print(f"{path}: {answer}", file=sys.stderr)
            else:
                print(f"{answer.probability:.6f}\t{path}", flush=True)
    return 1 if refused else 0


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.client")
