"""Records on Apache Beam: the bytes of the local run, and mistakes told in one line."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfforensics import beam, records
from tfforensics.command import UsageError

HERE = Path(__file__).parent
WITHOUT = importlib.util.find_spec("apache_beam") is None


def shard_hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*/*/*.tfrecord"))
    }


@pytest.mark.skipif(not WITHOUT, reason="Beam is here")
def test_without_beam_the_error_names_the_extra() -> None:
    with pytest.raises(UsageError, match=r"--runner: local needs .* 'tfforensics\[beam\]'"):
        beam.check("local")


def test_options_without_a_runner_are_refused(tmp_path: Path) -> None:
    given = ["--root", str(tmp_path), "--out", str(tmp_path / "out"), "--", "--region=x"]
    with pytest.raises(UsageError, match="--runner: expected one for the options --region=x"):
        records.main(given)


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT, reason="needs apache-beam")
def test_two_beam_workers_write_the_bytes_of_the_local_run(tmp_path: Path) -> None:
    def run(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=os.environ | {"PYTHONPATH": str(HERE.parent)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    media = tmp_path / "media"
    run("tfforensics.demo", "--out", str(media), "--train", "4", "--val", "2", "--test", "2",
        "--seconds", "1", "--fps", "8")  # fmt: skip
    common = ["tfforensics.records", "--root", str(media), "--frames", "4", "--size", "64"]
    run(*common, "--out", str(tmp_path / "local" / "r"))
    run(*common, "--out", str(tmp_path / "beam" / "r"), "--runner", "local", "--",
        "--direct_num_workers=2", "--direct_running_mode=multi_processing")  # fmt: skip
    written = shard_hashes(tmp_path / "beam" / "r")
    assert written == shard_hashes(tmp_path / "local" / "r") and len(written) == 15
