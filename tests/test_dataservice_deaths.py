"""Input on tf.data service with real processes, which are killed in the middle."""

# ruff: noqa: F811
from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from test_dataservice import config, digest, digests, records  # noqa: F401

from tfforensics import configfile, pipeline
from tfforensics.config import Config
from tfforensics.dataservice import client

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "2"}


class Cluster:
    """A dispatcher and workers as processes on loopback, started as a user starts them."""

    def __init__(self) -> None:
        self.dispatcher, self.address = self._start("dispatcher", "--port", "0")
        self.workers: list[subprocess.Popen[str]] = []

    def add_worker(self) -> subprocess.Popen[str]:
        process, _ = self._start("worker", "--dispatcher", self.address)
        self.workers.append(process)
        return process

    def start_anew(self) -> None:
        """Kills the dispatcher and starts another one at its address."""
        self.dispatcher.kill()
        self.dispatcher.communicate()
        port = self.address.rpartition(":")[2]
        self.dispatcher, _ = self._start("dispatcher", "--port", port)

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
    with_service = {"service": cluster.address}
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
def test_training_ends_with_its_dispatcher_and_goes_on_exactly_with_the_next(
    records: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """The worker outlives the dispatcher, and serves the one that comes after it."""
    cluster.add_worker()
    train = {"steps": 300, "validate_every": 150, "save_every": 10, "validate_levels": ["c0"]}
    served = config(records, data={"service": cluster.address}, train=train)
    arguments = trainer(served, tmp_path / "served", silent=10)
    local = trainer(config(records, train=train), tmp_path / "local")
    plain = subprocess.Popen(local, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    with subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while not [*(tmp_path / "served").glob("checkpoints/step-*")]:
            assert process.poll() is None
            time.sleep(0.02)
        cluster.dispatcher.kill()
        killed = time.monotonic()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert time.monotonic() - killed < 50
    assert errors.splitlines()[-1].startswith(
        f"train: data.service: {cluster.address}: no batch for 10 s: the dispatcher does not answer"
    )
    assert "Traceback" not in errors, errors

    cluster.start_anew()
    again = run(arguments)
    assert again.returncode == 0, again.stderr
    going_on = re.search(r"going on from step (\d+) of 300", again.stderr)
    assert going_on and 10 <= int(going_on[1]) < 150
    assert plain.wait(300) == 0
    found = [json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("local", "served")]
    assert len(found[0]["history"]) == 2 and found[0]["history"] == found[1]["history"]
    for same in ("weights", "figures"):
        assert found[0]["test"][same] == found[1]["test"][same]


@pytest.mark.slow
def test_a_worker_gives_no_training_the_batches_of_one_before(
    records: Path, cluster: Cluster
) -> None:
    """A new dispatcher gives its first task the number of the old one's, which still runs."""
    where = {"service": cluster.address}
    worker = cluster.add_worker()
    before = client.Service(config(records, data=where, train={"seed": 1}))
    batches = iter(before.training_batches())
    next(batches)
    cluster.start_anew()
    # At once, so that the worker has had no time to see it.
    after = client.Service(config(records, data=where, train={"seed": 2}))
    found = digests(after.training_batches(), 20)
    assert found == digests(pipeline.training_batches(config(records, train={"seed": 2})), 20)
    with pytest.raises(tf.errors.OpError):
        for _ in batches:
            pass
    assert "the dispatcher was started anew and knows nothing of this" in str(before.failure)
    assert worker.poll() is None


@pytest.mark.slow
def test_training_ends_the_same_with_a_service_that_dies_and_without(
    records: Path, tmp_path: Path, cluster: Cluster
) -> None:
    """The only worker is killed in the middle; the run goes on with another, and without any."""
    there = {"service": cluster.address}
    plain_ = run(trainer(config(records), tmp_path / "plain"))
    assert plain_.returncode == 0, plain_.stderr

    worker = cluster.add_worker()
    long = config(records, data=there, train={"steps": 10**6, "validate_every": 10**6})
    arguments = trainer(long, tmp_path / "long", silent=10)
    with subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # training goes
        worker.kill()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    last = errors.splitlines()[-1]
    assert last.startswith(f"train: data.service: {cluster.address}: no batch for 10 s: it has 1 w")
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
    where = {"service": cluster.address}
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
