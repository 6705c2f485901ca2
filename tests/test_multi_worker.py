"""Two workers of TF_CONFIG on one machine: like one, and killed in the middle like never killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from test_peers import addresses
from test_train import records, settings  # noqa: F401

from tfforensics import configfile
from tfforensics.config import Config
from tfforensics.peers import AGAIN
from tfforensics.run import Run

HERE = Path(__file__).parent


def start(program: list[str], index: int, workers: tuple[str, ...]) -> subprocess.Popen[str]:
    task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *program],
        env=os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CONFIG": json.dumps(task)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both(*programs: list[str]) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of two workers; fails with them if they do not end."""
    workers = addresses(2)
    processes = [start(program, index, workers) for index, program in enumerate(programs)]

    def abort() -> None:
        for process in processes:
            process.send_signal(signal.SIGABRT)  # it says where it is, and ends

    late = threading.Timer(200, abort)
    late.start()
    try:
        said = [process.communicate() for process in processes]
    finally:
        late.cancel()
        abort()
    ended = [(p.returncode, *text) for p, text in zip(processes, said, strict=True)]
    assert -signal.SIGABRT not in {status for status, _, _ in ended}, ended
    return ended


def trained(program: list[str]) -> tuple[dict[str, Any], str]:
    """Figures and digest of two workers, which have the same ones."""
    first, second = both(program, program)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert first[1].splitlines()[-1] == second[1].splitlines()[-1]
    figures, digest = first[1].splitlines()[-2:]
    return json.loads(figures), digest


@pytest.mark.slow
@pytest.mark.promise
def test_two_workers_train_like_one_and_resume_exactly_after_either_is_killed(
    records: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    # A rate at which the rounding of batch means is not magnified from step to step.
    config: Config = settings(records, optimizer={"name": "sgd", "learning_rate": 1e-5})
    file = tmp_path / "config.json"
    file.write_text(json.dumps(configfile.to_dict(config)))

    def program(workdir: str, *options: str) -> list[str]:
        return [str(HERE / "train_run.py"), str(file), str(tmp_path / workdir), *options]

    two, digest = trained(program("whole"))

    alone = subprocess.run(
        [sys.executable, *program("alone")],
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    one = json.loads(alone.stdout.splitlines()[-2])
    # Largest relative difference of a loss found: 3e-6.
    for name in ("step", "loss", "loss/cross_entropy"):
        curve = [epoch[name] for epoch in one["history"]]
        assert [epoch[name] for epoch in two["history"]] == pytest.approx(curve, rel=3e-5), name
    assert two["slots"] == pytest.approx(one["slots"], rel=0.02)

    # The chief in the first epoch, the other in the second.
    for killed, step in ((0, 4), (1, 9)):
        programs = [program("killed"), program("killed")]
        programs[killed] += ["--kill-at-step", str(step)]
        ended = both(*programs)
        assert ended[killed][0] == -signal.SIGKILL, ended[killed][2]
        status, _, errors = ended[1 - killed]
        assert status == AGAIN, errors
        assert f"worker {killed} (127.0.0.1:" in errors.splitlines()[-1]
        assert errors.splitlines()[-1].find("is gone, and training ends on all") > 0
    assert trained(program("killed")) == (two, digest)


@pytest.mark.slow
@pytest.mark.promise
def test_sigterm_on_one_worker_saves_and_ends_both(
    records: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    import yaml

    long: dict[str, Any] = {"steps": 5000, "validate_every": 5000, "save_every": 5000}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configfile.to_dict(settings(records, train=long))))
    workdir = tmp_path / "run"
    program = ["-m", "tfforensics.train", "--config", str(file), "--workdir", str(workdir)]
    workers = addresses(2)
    chief, other = (start(program, index, workers) for index in (0, 1))
    assert chief.stdout is not None
    chief.stdout.readline()  # the first progress line: training goes
    other.send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=200)[1] for process in (chief, other)]
    assert (chief.returncode, other.returncode) == (143, 143), errors
    assert all("stopped by SIGTERM" in said for said in errors)
    (saved,) = Run(workdir).checkpoints.iterdir()
    assert 0 < int(saved.name.removeprefix("step-")) < 5000
