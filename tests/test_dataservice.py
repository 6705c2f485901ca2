"""Input on tf.data service: addresses, versions, who may reach it, batches by number."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import hashlib
import http.server
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import WriteRecords

from tfforensics import command, configfile, pipeline
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config
from tfforensics.dataservice import __main__ as servers
from tfforensics.dataservice import address, handshake, loopback

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "2"}


@pytest.fixture
def records(write_records: WriteRecords) -> Path:
    counts = {"train": 12, "val": 6, "test": 6}
    return write_records({(m, s): n for m in ("real", "A", "B") for s, n in counts.items()})


def config(records: Path, **sections: dict[str, Any]) -> Config:
    """With every augmentation but self-blending, whose graph takes long to build."""
    base: dict[str, Any] = {
        "data": {"records": str(records), "size": 48, "batch": 4},
        "degrade": {"levels": {"c0": 1, "c23": 1, "c85": 1}, "twice": 0.3, "resize": 0.3},
        "augment": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2, "hue": 0.05},
        "model": {"detector": "meso4", "weights": None},
        "train": {
            "steps": 12, "validate_every": 5, "save_every": 2, "validate_levels": ["c0", "c85"]
        },
        "evaluation": {"levels": ["c0"], "export": False},
    }  # fmt: skip
    return configfile.from_dict(base | {k: base.get(k, {}) | v for k, v in sections.items()})


def digests(dataset: tf.data.Dataset, count: int) -> list[str]:
    return [digest(batch) for batch in dataset.take(count)]


def digest(batch: Any) -> str:
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tf.nest.flatten(batch))).hexdigest()


# Addresses.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("grpc://localhost:5050", "localhost:5050"),
        ("grpc://10.0.0.1:1/", "10.0.0.1:1"),
        ("grpc://[::1]:65535", "[::1]:65535"),
        ("grpc://input-1.cluster_a:05050", "input-1.cluster_a:5050"),
    ],
)
def test_addresses(given: str, expected: str) -> None:
    assert address.authority(given, "x") == expected


@pytest.mark.parametrize(
    "given",
    [
        "", "localhost:5050", "grpc://localhost", "grpc://localhost:", "grpc://localhost:0",
        "grpc://localhost:65536", "http://localhost:5050", "grpc://u@host:5050", "grpc://h:1/x",
        "grpc://h:1?x", "grpc://h h:1", "grpc://h:1\n", "grpc://h:\N{ARABIC-INDIC DIGIT ONE}",
    ],
)  # fmt: skip
def test_an_address_of_another_form_is_refused_with_the_configuration(
    records: Path, given: str
) -> None:
    expected = re.escape(f"data.service: expected grpc://HOST:PORT, got {given!r}")
    with pytest.raises(UsageError, match=f"^{expected}$"):
        config(records, data={"records": str(records), "service": given})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("[::1]", True), ("localhost", True),
        ("0.0.0.0", False), ("10.0.0.1", False), ("localhost.example", False), ("[::]", False),
    ],
)  # fmt: skip
def test_what_is_this_machine_alone(host: str, expected: bool) -> None:
    assert address.is_loopback(host) is expected


# Who may reach it.


def _own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = probe.getsockname()[0]
    return None if address.is_loopback(found) else found


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_server_kept_to_this_machine(family: socket.AddressFamily) -> None:
    """On Linux a packet to an own outer address comes from that address."""
    outer = _own_address()
    if outer is None:
        pytest.skip("this machine has no address but loopback")
    with socket.socket(family) as server:
        server.bind(("", 0))
        server.listen()
        port = server.getsockname()[1]
        socket.create_connection((outer, port), timeout=5).close()
        loopback.keep(port)
        with pytest.raises(TimeoutError):
            socket.create_connection((outer, port), timeout=1)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        if family == socket.AF_INET6:
            socket.create_connection(("::1", port), timeout=5).close()


def test_nothing_to_keep_is_an_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="no listening socket found"):
            loopback.keep(unused.getsockname()[1])


# The command's mistakes.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: dispatcher|worker"),
        (["waiter"], "invalid choice: 'waiter'"),
        (
            ["worker", "--dispatcher", "localhost"],
            "--dispatcher: expected grpc://HOST:PORT, got 'l",
        ),
        (["worker", "--dispatcher", "grpc://10.0.0.1:1"], "--host: expected the name under which"),
        (["dispatcher", "--port", "65536"], "--port: expected 0 to 65535, got '65536'"),
        (["dispatcher", "--host", "a b"], "--host: expected a name or number, got 'a b'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: servers.main(arguments), "prog")
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert expected in err and err.count("\n") == 1 and not out


def test_a_port_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """gRPC would share it, and every second request would go to the other server."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port: expected one that is free, got {port}"):
            servers.main(["dispatcher", "--port", str(port)])


# What is at an address.


@pytest.fixture
def plain() -> Iterator[Any]:
    """A dispatcher of TensorFlow's own, which knows nothing of us."""
    service = tf.data.experimental.service
    yield service.DispatchServer(service.DispatcherConfig(port=0))


def authority_of(server: Any) -> str:
    return f"127.0.0.1:{servers._port(server)}"


def test_versions_are_compared(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    where = authority_of(plain)
    with pytest.raises(DataError, match=r"expected a dispatcher that python -m tfforensics\.datas"):
        handshake.check(where, "data.service", patience=0)
    handshake.publish(where)
    assert handshake.check(where, "data.service") == handshake.check(where, "data.service")
    ours = re.escape(handshake.versions())
    monkeypatch.setattr(handshake, "__version__", "0.0.9")
    with pytest.raises(
        DataError,
        match=f"^--dispatcher: grpc://{where}: expected tfforensics 0.0.9 .*, got {ours}$",
    ):
        handshake.check(where, "--dispatcher")


def test_a_dispatcher_is_told_from_the_one_before(plain: Any) -> None:
    service = tf.data.experimental.service
    later = service.DispatchServer(service.DispatcherConfig(port=0))
    starts = set()
    for server in (plain, later):
        handshake.publish(authority_of(server))
        starts.add(handshake.check(authority_of(server), "x"))
    assert len(starts) == 2


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("{{function_node __wrapped__X}} Iteration id 1 not found [Op:X] name: ", "Iteration id 1"),
        ("2 root error(s) found.\n  (0) NOT_FOUND: f; No such file\n [[{{node X}}]]", "(0) NOT_FO"),
        ("", "NotFoundError"),
    ],
)
def test_what_an_error_says_without_the_graph(message: str, expected: str) -> None:
    said = handshake.first_line(tf.errors.NotFoundError(None, None, message))
    assert said.startswith(expected) and "{{" not in said and "[" not in said


def test_workers_are_counted(plain: Any) -> None:
    service = tf.data.experimental.service
    assert handshake.state(authority_of(plain)) == "it has 0 workers"
    started = []
    for said in ("it has 1 worker", "it has 2 workers"):
        settings = service.WorkerConfig(dispatcher_address=authority_of(plain))
        started.append(service.WorkerServer(settings))
        assert handshake.state(authority_of(plain)) == said


def test_a_dead_dispatcher_and_another_server_are_told_apart_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(handshake.NoDispatcherError, match=r"no dispatcher of tf\.data service: f"):
        handshake.check(f"127.0.0.1:{port}", "data.service", patience=1)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(handshake.NoDispatcherError):
            handshake.check(f"127.0.0.1:{other.server_port}", "data.service", patience=1)
        other.shutdown()
    mute = socket.create_server(("127.0.0.1", 0))  # accepts and never answers
    with mute, pytest.raises(handshake.NoDispatcherError):
        handshake.check(f"127.0.0.1:{mute.getsockname()[1]}", "data.service", patience=1)
    assert time.monotonic() - began < 30


# Batches by number.


def test_a_batch_is_a_function_of_its_number(records: Path) -> None:
    plain_ = config(records, data={"records": str(records), "size": 64, "selfblend": 0.5})
    whole = digests(pipeline.training_batches(plain_), 9)
    chosen = np.array([7, 2, 2, 5], np.int64)
    numbered = pipeline.numbered_batches(plain_, tf.data.Dataset.from_tensor_slices(chosen))
    found = [(int(number), digest((x, y))) for number, x, y in numbered]
    assert found == [(number, whole[number]) for number in chosen]
