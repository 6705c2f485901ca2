"""Input on tf.data service: addresses, versions, who may reach it; real processes that die."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import hashlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
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
from tfforensics.dataservice import address, client, handshake, loopback

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
        handshake.check(where, "data.service")
    handshake.publish(where)
    handshake.check(where, "data.service")
    ours = re.escape(handshake.versions())
    monkeypatch.setattr(handshake, "__version__", "0.0.9")
    with pytest.raises(
        DataError,
        match=f"^--dispatcher: grpc://{where}: expected tfforensics 0.0.9 .*, got {ours}$",
    ):
        handshake.check(where, "--dispatcher")


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


# Real processes.


class Cluster:
    """A dispatcher and workers as processes on loopback, started as a user starts them."""

    def __init__(self) -> None:
        self.dispatcher, self.address = self._start("dispatcher", "--port", "0")
        self.workers: list[subprocess.Popen[str]] = []

    def add_worker(self) -> subprocess.Popen[str]:
        process, _ = self._start("worker", "--dispatcher", self.address)
        self.workers.append(process)
        return process

    def _start(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfforensics.dataservice", *arguments],
            env=ENVIRONMENT, cwd="/", stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.readline()
        return process, said.split()[2]

    def stop(self) -> list[int]:
        """Ends what still runs by SIGTERM; returns the exit statuses."""
        processes = [*self.workers, self.dispatcher]
        for process in processes:
            process.terminate()
        statuses = [process.wait(20) for process in processes]
        for process in processes:
            assert process.stdout is not None
            process.stdout.close()
        return statuses


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    yield started
    started.stop()


@pytest.mark.slow
@pytest.mark.promise
def test_a_killed_worker_changes_nothing(
    records: Path, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Batches are those of this process, from any step, by one worker or two."""
    first = cluster.add_worker()
    plain_ = config(records)
    expected = digests(pipeline.training_batches(plain_), 80)
    with_service = {"records": str(records), "service": cluster.address}
    service = client.Service(config(records, data=with_service))

    found = []
    for batch in service.training_batches().take(80):
        found.append(digest(batch))
        if len(found) == 10:
            cluster.add_worker()  # meanwhile the first one fills its hands
        if len(found) == 20:
            first.kill()
    assert found == expected
    made_here = [r for r in caplog.records if r.name.endswith("dataservice.order")]
    assert made_here, "the killed worker had nothing in hand"

    assert digests(service.training_batches(37), 20) == expected[37:57]
    assert cluster.stop() == [-signal.SIGKILL, 0, 0]


def trainer(config_: Config, workdir: Path, *, silent: float = 60) -> list[str]:
    """The training command, which waits no longer than `silent` seconds for a batch."""
    file = workdir.with_suffix(".json")
    file.write_text(json.dumps(configfile.to_dict(config_)))  # YAML, too
    program = (
        "from tfforensics import command, train\nfrom tfforensics.dataservice import client, "
        f"handshake\nclient._SILENT, handshake._PATIENCE = {silent}, 1\n"
        "command.run(train.main, 'train')"
    )
    return [sys.executable, "-c", program, "--config", str(file), "--workdir", str(workdir)]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
@pytest.mark.promise
def test_training_ends_the_same_with_a_service_that_dies_and_without(
    records: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """Worker and dispatcher are killed in the middle; the run goes on without them."""
    there = {"records": str(records), "service": cluster.address}
    plain_ = run(trainer(config(records), tmp_path / "plain"))
    assert plain_.returncode == 0, plain_.stderr

    worker = cluster.add_worker()
    long = config(records, data=there, train={"steps": 10**6, "validate_every": 10**6})
    arguments = trainer(long, tmp_path / "long", silent=3)
    with subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # training goes
        worker.kill()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    last = errors.splitlines()[-1]
    assert last.startswith(f"train: data.service: {cluster.address}: no batch for 3 s: it has 1 w")
    assert "Traceback" not in errors, errors

    cluster.add_worker()
    served = run(trainer(config(records, data=there), tmp_path / "served"))
    assert served.returncode == 0, served.stderr
    found = [json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("plain", "served")]
    assert found[0]["history"] == found[1]["history"] and len(found[0]["history"]) == 3
    assert found[0]["test"]["figures"] == found[1]["test"]["figures"]
    # Where batches are made is no other experiment, and a finished run needs no dispatcher.
    cluster.dispatcher.kill()
    for same in (config(records), config(records, data=there)):
        again = run(trainer(same, tmp_path / "served"))
        assert again.returncode == 0 and "going on from step 12 of 12" in again.stderr, again.stderr

    dead = run(trainer(config(records, data=there), tmp_path / "dead"))
    assert dead.returncode == 1 and "no dispatcher of tf.data service: " in dead.stderr
    assert "Traceback" not in dead.stderr


@pytest.mark.slow
def test_a_worker_that_sees_no_records_or_is_of_another_version(
    records: Path, cluster: Cluster
) -> None:
    where = {"records": str(records), "service": cluster.address}
    cluster.add_worker()
    service = client.Service(config(records, data=where))
    batches = service.training_batches()
    for shard in records.rglob("*.tfrecord"):
        shard.unlink()
    with pytest.raises(tf.errors.OpError):
        digests(batches, 1)
    assert re.search(
        f"No such file .*; a worker must see the records as {records}", str(service.failure)
    )

    program = (
        "import tfforensics\ntfforensics.__version__ = '0.0.9'\n"
        "from tfforensics import command\nfrom tfforensics.dataservice import __main__\n"
        f"command.run(lambda: __main__.main(['worker', '--dispatcher', '{cluster.address}']), 'w')"
    )
    refused = run([sys.executable, "-c", program])
    assert refused.returncode == 1 and not refused.stdout
    assert refused.stderr.splitlines()[-1].startswith(
        f"w: --dispatcher: {cluster.address}: expected tfforensics 0.0.9 on TensorFlow"
    )
