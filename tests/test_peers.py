"""Workers find each other, compare what they train, and learn that one is gone. No TensorFlow."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfforensics import peers
from tfforensics.cluster import Cluster
from tfforensics.command import UsageError
from tfforensics.peers import AGAIN, PeerLostError, Peers

ROOT = Path(__file__).parents[1]


def addresses(count: int) -> tuple[str, ...]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = tuple(f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes)
    for probe in probes:
        probe.close()
    return found


def together(*parts: Callable[[], Any]) -> list[Any]:
    """What each part returns or raises, made at the same time."""
    made: list[Any] = [None] * len(parts)

    def make(number: int) -> None:
        try:
            made[number] = parts[number]()
        except BaseException as error:
            made[number] = error

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return made


def test_each_hears_what_all_say() -> None:
    workers = addresses(3)

    def worker(index: int) -> list[Any]:
        with Peers(Cluster(workers, index), {"a": 1}, patience=20) as mine:
            mine.check(0)
            said = [
                mine.exchange(index),
                mine.exchange({"x": "y" * 100_000} if not index else None),
            ]
            mine.exchange("done")
            return said

    first, second = [0, 1, 2], [{"x": "y" * 100_000}, None, None]
    assert together(*(lambda i=i: worker(i) for i in range(3))) == [[first, second]] * 3


def test_the_port_is_free_for_another_server_once_all_are_here() -> None:
    """TensorFlow's listens there, while the connections are open."""
    workers = addresses(2)

    def worker(index: int) -> None:
        with Peers(Cluster(workers, index), {}, patience=20) as mine:
            socket.create_server(Cluster(workers, index).address(index)).close()
            mine.exchange("done")

    assert together(lambda: worker(0), lambda: worker(1)) == [None, None]


def test_a_worker_that_trains_something_else_is_refused_on_both() -> None:
    workers = addresses(2)
    about = {"TensorFlow": "2.21.0", "data.batch": 8}
    both = together(
        lambda: Peers(Cluster(workers, 0), about, patience=20),
        lambda: Peers(Cluster(workers, 1), about | {"data.batch": 4}, patience=20),
    )
    expected = (
        f"TF_CONFIG: expected worker 1 ({workers[1]}) to train what worker 0 trains, "
        "got data.batch 4 in place of 8"
    )
    assert [(type(error), str(error)) for error in both] == [(UsageError, expected)] * 2


@pytest.mark.parametrize(("index", "missing"), [(0, 1), (1, 0)])
def test_a_worker_that_does_not_come_is_named(index: int, missing: int) -> None:
    workers = addresses(2)
    began = time.monotonic()
    expected = re.escape(
        f"TF_CONFIG: expected worker {missing} ({workers[missing]}) to come, which"
    )
    with pytest.raises(UsageError, match=f"^{expected}"):
        Peers(Cluster(workers, index), {}, patience=1)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_that_is_taken_is_refused(index: int) -> None:
    workers = addresses(2)
    port = int(workers[index].rpartition(":")[2])
    with socket.create_server(("", port)):
        expected = f"TF_CONFIG: expected a free port for worker {index}, got {port} "
        with pytest.raises(UsageError, match=f"^{expected}"):
            Peers(Cluster(workers, index), {}, patience=1)


def test_two_of_one_index_and_a_stranger() -> None:
    workers = addresses(3)

    def stranger() -> bytes:
        while True:
            try:
                with socket.create_connection(Cluster(workers, 0).address(0), 5) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    return connection.recv(100)
            except ConnectionRefusedError:
                time.sleep(0.05)
            except ConnectionResetError:
                return b""

    def late() -> Peers:
        time.sleep(1.5)
        return Peers(Cluster(workers, 1), {}, patience=20)

    chief, first, again, heard = together(
        lambda: Peers(Cluster(workers, 0), {}, patience=4),
        lambda: Peers(Cluster(workers, 1), {}, patience=20),
        late,
        stranger,
    )
    assert str(again) == f"TF_CONFIG: expected one worker 1 ({workers[1]}), got two"
    assert heard == b""
    for error in (chief, first):
        assert str(error).startswith(f"TF_CONFIG: expected worker 2 ({workers[2]}) to come")


WAITS = """
import sys, time, json
from tfforensics import peers
from tfforensics.cluster import Cluster
from tfforensics.peers import Peers
workers, index = json.loads(sys.argv[1]), int(sys.argv[2])
peers._GRACE = 1.0
with Peers(Cluster(tuple(workers), index), {}, patience=20) as mine:
    print("here", flush=True)
    time.sleep(60)  # in place of TensorFlow, which waits for the other
"""


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_waits_for_a_killed_one_is_ended(killed: int) -> None:
    workers = addresses(2)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WAITS, json.dumps(workers), str(index)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    both[killed].kill()
    said = [process.communicate(timeout=20)[1] for process in both]
    assert both[killed].returncode == -signal.SIGKILL
    assert both[1 - killed].returncode == AGAIN
    assert said[1 - killed] == (
        f"worker {killed} ({workers[killed]}) is gone, and training ends on all; "
        "run the same command again\n"
    )


def test_one_that_talks_to_a_gone_one_is_told() -> None:
    workers = addresses(2)

    def leaves() -> None:
        with Peers(Cluster(workers, 1), {}, patience=20):
            pass

    def stays() -> None:
        with Peers(Cluster(workers, 0), {}, patience=20) as mine:
            with pytest.raises(PeerLostError, match=r"^worker 1 \(.*\) is gone"):
                mine.check(5)
            mine.exchange(0)

    error, _ = together(stays, leaves)
    assert isinstance(error, PeerLostError)
    assert peers._PATIENCE == 600  # what the README says
