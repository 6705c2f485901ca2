"""The training command on a tiny run: resume, refusals, signals, and kills at any moment."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfforensics import configfile, manifest
from tfforensics.command import UsageError
from tfforensics.config import Config
from tfforensics.run import Run
from tfforensics.serving.exported import CARD
from tfforensics.serving.publish import versions

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent)}


@pytest.fixture
def records(write_records: Any) -> Path:
    """Two manipulations; validation and test hold both classes."""
    counts = {"train": 12, "val": 6, "test": 6}
    return write_records({(m, s): n for m in ("real", "A", "B") for s, n in counts.items()})


def settings(records: Path, **sections: dict[str, Any]) -> Config:
    """A detector that trains in seconds; `sections` on top."""
    base: dict[str, Any] = {
        "data": {"records": str(records), "size": 64, "batch": 4},
        "degrade": {"levels": {"c0": 1, "c40": 1}},
        "model": {"detector": "meso4", "weights": None},
        "optimizer": {"learning_rate": 0.003, "ema": 0.9},
        "train": {
            "steps": 12, "validate_every": 5, "save_every": 2, "validate_levels": ["c0", "c85"]
        },
        "evaluation": {"levels": ["c0", "c85"], "export": False},
    }  # fmt: skip
    for name, section in sections.items():
        base[name] = base.get(name, {}) | section
    return configfile.from_dict(base)


def command_line(config: Config, workdir: Path, folder: Path) -> list[str]:
    import yaml

    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(configfile.to_dict(config)))
    program = [sys.executable, "-m", "tfforensics.train"]
    return [*program, "--config", str(file), "--workdir", str(workdir)]


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False, **options
    )


def test_a_run_leaves_what_its_directory_promises(records: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    whole = settings(records, evaluation={"export": True})
    done = run(command_line(whole, workdir, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| frame AUC |" in done.stdout and "Traceback" not in done.stderr

    metrics = json.loads(Run(workdir).metrics_file.read_text())
    assert [epoch["step"] for epoch in metrics["history"]] == [5, 10, 12]
    levels = ("c0", "c85")
    for epoch in metrics["history"]:
        by_level = [epoch[f"val_auc/{level}"] for level in levels]
        assert epoch["val_auc"] == pytest.approx(sum(by_level) / 2)
        assert {f"val_auc/{level}/{m}" for level in levels for m in "AB"} <= epoch.keys()
    assert set(metrics["test"]["figures"]) == set(levels)
    assert Run(workdir).config() == whole
    assert sorted(p.name for p in Run(workdir).checkpoints.iterdir())[-1] == "step-00000012"

    card = json.loads((Run(workdir).export / "1" / CARD).read_text())
    assert card["evaluation"]["figures"] == metrics["test"]["figures"]

    # Once more: nothing is left to train or to export, and the figures stay.
    again = run(command_line(whole, workdir, tmp_path))
    assert again.returncode == 0 and "going on from step 12 of 12" in again.stderr
    assert json.loads(Run(workdir).metrics_file.read_text()) == metrics
    assert versions(Run(workdir).export) == [1]

    # Another seed is another experiment.
    changed = dataclasses.replace(whole, train=dataclasses.replace(whole.train, seed=1))
    refused = run(command_line(changed, workdir, tmp_path))
    assert refused.returncode == 2
    assert "train.seed: 0 -> 1" in refused.stderr and refused.stderr.count("\n") == 1


def test_a_damaged_shard_ends_training_with_its_name(records: Path, tmp_path: Path) -> None:
    shard = next(manifest.load(records).select("train", "c0"))
    path = records / shard.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    ended = run(command_line(settings(records), tmp_path / "run", tmp_path))
    assert ended.returncode == 1
    assert str(path) in ended.stderr and "Traceback" not in ended.stderr


def test_sigterm_saves_and_exits_143(records: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    long = settings(records, train={"steps": 5000, "validate_every": 5000, "save_every": 5000})
    arguments = command_line(long, workdir, tmp_path)
    with subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first progress line: training goes
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    (saved,) = Run(workdir).checkpoints.iterdir()
    assert 0 < int(saved.name.removeprefix("step-")) < 5000
    assert "run the same command to go on" in errors


class Killed:
    """A run that is killed (SIGKILL) again and again, and beside it one that is not."""

    def __init__(self, config: Config, tmp_path: Path) -> None:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(configfile.to_dict(config)))
        program = [sys.executable, str(HERE / "train_run.py"), str(file)]
        self.steps = config.train.steps
        self.whole, self.killed = tmp_path / "whole", tmp_path / "killed"
        self.program = [*program, str(self.killed)]
        start = time.monotonic()
        whole = run([*program, str(self.whole)])
        self.seconds = time.monotonic() - start
        assert whole.returncode == 0, whole.stderr
        self._digest = whole.stdout.splitlines()[-1]

    def kill(self, option: str, at: int) -> None:
        """One process that dies at a step (`--kill-at-step`) or within a save (`...-sync`)."""
        process = run([*self.program, option, str(at)])
        assert process.returncode == -signal.SIGKILL, process.stderr

    def ends_like_the_other(self) -> None:
        resumed = run(self.program)
        assert resumed.returncode == 0, resumed.stderr
        assert resumed.stdout.splitlines()[-1] == self._digest
        assert _examples(self.killed, self.steps) == _examples(self.whole, self.steps)


def _examples(workdir: Path, steps: int) -> dict[int, str]:
    """By step what it was given, which is the same however often the step was made."""
    seen: dict[int, str] = {}
    for line in (workdir / "seen.txt").read_text().splitlines():
        step, digest = line.split()
        if int(step) < steps:  # beyond lies what was fetched ahead
            assert seen.setdefault(int(step), digest) == digest
    assert sorted(seen) == list(range(steps))
    return seen


def kill_and_resume(config: Config, tmp_path: Path, kills: int, seed: int) -> None:
    """Asserts that a run killed at `kills` steps ends like one that was not."""
    pair = Killed(config, tmp_path)
    draw = random.Random(seed)
    for step in sorted(draw.randint(1, config.train.steps) for _ in range(kills)):
        pair.kill("--kill-at-step", step)
    pair.ends_like_the_other()


def test_killed_and_resumed_ends_with_the_same_bits(records: Path, tmp_path: Path) -> None:
    kill_and_resume(settings(records), tmp_path, kills=2, seed=1)


def efficientnet(records: Path, detector: str, precision: str, **train: Any) -> Config:
    return settings(
        records,
        model={"detector": detector, "backbone": "lite0", "weights": None},
        train={"precision": precision, "validate_levels": ["c0"], **train},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("detector", "precision"),
    [
        ("plain", "float32"),
        ("plain", "mixed_bfloat16"),
        ("multi_attention", "float32"),
        pytest.param("multi_attention", "mixed_bfloat16", marks=pytest.mark.promise),
    ],
)
def test_efficientnets_killed_and_resumed(
    records: Path, tmp_path: Path, detector: str, precision: str
) -> None:
    steps = {"steps": 7, "validate_every": 3, "save_every": 2}
    kill_and_resume(efficientnet(records, detector, precision, **steps), tmp_path, kills=2, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("detector", ["plain", "multi_attention"])
def test_ten_kills_at_random_moments(
    records: Path, tmp_path: Path, detector: str, precision: str
) -> None:
    """SIGKILL from outside, whatever the process is doing: starting, saving, validating."""
    steps = {"steps": 60, "validate_every": 20, "save_every": 3}
    config = efficientnet(records, detector, precision, **steps)
    pair = Killed(config, tmp_path)
    pair.kill("--kill-at-sync", 9)  # the second checkpoint, half written
    assert list((pair.killed / "checkpoints").glob(".saving-*"))
    draw = random.Random(3)
    for _ in range(9):
        with subprocess.Popen(pair.program, env=ENVIRONMENT) as process:
            time.sleep(draw.uniform(0.3, 0.8) * pair.seconds)
            process.kill()
    pair.ends_like_the_other()


@pytest.mark.slow
@pytest.mark.promise
def test_multi_attention_starts_from_the_best_of_a_plain_backbone(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfforensics import models
    from tfforensics.train import train

    config = settings(
        records,
        data={"size": 32},
        model={"detector": "multi_attention", "backbone": "lite0", "weights": None},
        attention={"backbone_steps": 2, "maps": 2},
        train={"steps": 3, "validate_every": 2, "validate_levels": ["c0"]},
        evaluation={"levels": ["c0"]},
    )
    started: list[tuple[Any, Any]] = []
    start_from = models.start_from

    def noted(initial: Any, network: Any) -> None:
        start_from(initial, network)
        started.append((initial, {v.name: v.numpy() for v in network.weights}))

    monkeypatch.setattr(models, "start_from", noted)
    run = Run(tmp_path / "run")
    metrics = train(config, run.folder)
    first = Run(run.folder / "backbone")
    assert first.config().model.detector == "plain"
    assert sorted(p.name for p in first.checkpoints.iterdir())[-1] == "step-00000002"
    assert [epoch["step"] for epoch in metrics["history"]] == [2, 3]
    (initial, begun), *more = started
    assert not more
    # But for the last layer and the counters of dropout.
    floats = [v for v in first.load_network().weights if v.dtype.is_floating]
    shared = [v for v in floats if v.name in begun and not v.name.startswith("logit/")]
    assert len(shared) > 100
    for variable, given in zip(first.load_network().weights, initial.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), given.numpy(), err_msg=variable.name)
    for variable in shared:
        np.testing.assert_array_equal(variable.numpy(), begun[variable.name])

    # Once more: both are taken up where they ended, and nothing starts anew.
    assert train(config, run.folder)["history"] == metrics["history"]
    assert len(started) == 1


def test_xla_is_refused_without_a_gpu(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from tfforensics.train import train

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(UsageError, match=r"^train\.jit_compile: expected false .*, got true$"):
        train(settings(records, train={"jit_compile": True}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_never_began_takes_other_settings(records: Path, tmp_path: Path) -> None:
    from tfforensics.train import train

    run = Run(tmp_path / "run")
    short = {"steps": 2, "validate_every": 2, "validate_levels": ["c0"]}
    one = {"evaluation": {"levels": ["c0"]}, "train": short}
    warm = settings(records, optimizer={"warmup": 2}, **one)
    with pytest.raises(UsageError, match=r"^optimizer\.warmup: expected fewer than the 2 training"):
        train(warm, run.folder)
    assert not run.folder.exists()
    with pytest.raises(UsageError, match=r"^data\.level: expected one of c0, which"):
        train(settings(records, data={"level": "c23"}, **one), run.folder)
    assert run.config_file.is_file()
    train(settings(records, **one), run.folder)
    with pytest.raises(UsageError, match=r"a run with other settings \(data\.level: c0 -> c23"):
        train(settings(records, data={"level": "c23"}, **one), run.folder)


def test_fresh_keeps_the_run_that_was_there(records: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.yaml").write_text("train: {seed: 9}\n")
    short = settings(records, train={"steps": 2, "validate_every": 2})
    done = run([*command_line(short, workdir, tmp_path), "--fresh"])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run.1" / "config.yaml").read_text() == "train: {seed: 9}\n"
    assert Run(workdir).config() == short
