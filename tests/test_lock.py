"""One process a folder, and a killed one holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tfforensics import lock
from tfforensics.command import UsageError

HOLDER = """
import sys, time
from tfforensics import lock
with lock.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        expected = f"{tmp_path}: process {first.pid} is writing here"
        with pytest.raises(UsageError, match=expected), lock.hold(tmp_path):
            pass
        first.send_signal(signal.SIGKILL)
    assert (tmp_path / ".lock").read_text() == str(first.pid)
    with lock.hold(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with lock.hold(tmp_path / "new"):
        pass
    with lock.hold(tmp_path / "new"):
        pass


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"file/run: cannot write here"),
        lock.hold(tmp_path / "file" / "run"),
    ):
        pass
