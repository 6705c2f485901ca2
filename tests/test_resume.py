"""A run that was stopped or killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from small_run import EPOCH, OVERFLOW, STEPS, AtStep, SmallRun, build_model

from tfforensics.checkpoint import CheckpointStore
from tfforensics.command import DataError, UsageError
from tfforensics.ema import AveragedWeights
from tfforensics.resume import DivergedError
from tfforensics.stopping import Stopped

SCRIPT = Path(__file__).with_name("small_run.py")
needs_addons = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tensorflow-addons has no wheels for this Python"
)


class Killed(BaseException):
    """Leaves everything as it is, as a kill does."""


def kill() -> None:
    raise Killed


def term() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """From settings to the final state of the run that nothing interrupts."""
    states: dict[str, dict[str, Any]] = {}

    def state(**settings: Any) -> dict[str, Any]:
        key = repr(sorted(settings.items()))
        if key not in states:
            small = SmallRun(tmp_path_factory.mktemp("straight"), **settings)
            small.fit()
            states[key] = small.state()
        return states[key]

    return state


def assert_same(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert state["history"] == expected["history"]
    assert state.keys() == expected.keys()
    assert [name for name in state if state[name] != expected[name]] == []


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="adamw", marks=pytest.mark.slow),
        pytest.param(
            {"optimizer": "sgd", "precision": "mixed_bfloat16", "steps_per_execution": 3},
            id="sgd-bfloat16-by-3",
        ),
        pytest.param({"optimizer": "lamb"}, id="lamb", marks=[needs_addons, pytest.mark.slow]),
        pytest.param(
            {"optimizer": "radam_lookahead", "precision": "mixed_float16"},
            id="radam_lookahead-float16",
            marks=[needs_addons, pytest.mark.slow],
        ),
    ],
)
def test_killed_and_resumed_equals_uninterrupted(
    settings: dict[str, Any], straight: Any, tmp_path: Path
) -> None:
    # Inside the first epoch, after its first checkpoint; and in the last epoch, where the last
    # checkpoint is of the epoch before.
    for step in (8, 25):
        small = SmallRun(tmp_path, **settings)
        with pytest.raises(Killed):
            small.fit([AtStep(small.run, step, kill)])
    small = SmallRun(tmp_path, **settings)
    small.fit()
    assert_same(small.state(), straight(**settings))
    assert [epoch["step"] for epoch in small.run.progress.history] == [12, 24, 32]


def test_the_process_is_killed_while_it_saves(straight: Any, tmp_path: Path) -> None:
    # A checkpoint syncs six things (two files of variables, meta, manifest, its folder, the one
    # above): 9 is the meta of the second. It dies of a real SIGKILL, under op determinism.
    first = _process(tmp_path, "--kill-at-sync", "9")
    assert first.returncode == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        ".saving-step-00000010",
        "step-00000005",
    ]
    second = SmallRun(tmp_path)
    assert second.run.progress.step == 5
    second.fit()
    assert_same(second.state(), straight())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_ten_kills_at_random_moments(precision: str, tmp_path: Path) -> None:
    settings = ("--precision", precision, "--pace", "0.05")
    whole = _process(tmp_path / "whole", *settings)
    random_moments = random.Random(0)
    workdir = tmp_path / "killed"
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, SCRIPT, workdir, *settings], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is about to train
            time.sleep(random_moments.uniform(0, 3))
            process.kill()
    last = _process(workdir, *settings)
    assert last.stdout.splitlines()[1] == whole.stdout.splitlines()[1]


def _process(workdir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, workdir, *options], capture_output=True, text=True, check=False
    )


def test_an_overflow_skips_the_update_and_not_the_data(straight: Any, tmp_path: Path) -> None:
    settings = {"optimizer": "adam", "precision": "mixed_float16"}
    small = SmallRun(tmp_path, **settings)
    kernels, scales = [], []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            kernels.append(small.model.trainable_weights[0].numpy())
            scales.append(float(small.model.optimizer.loss_scale))
            if small.run.progress.step == OVERFLOW + 2:
                kill()

    with pytest.raises(Killed):
        small.fit([Watch()])
    assert scales[OVERFLOW - 1 :] == [32768.0, 16384.0, 16384.0]
    np.testing.assert_array_equal(kernels[OVERFLOW], kernels[OVERFLOW - 1])
    assert (kernels[OVERFLOW + 1] != kernels[OVERFLOW]).any()
    # The checkpoint is of step 10: the overflow comes again, and once.
    resumed = SmallRun(tmp_path, **settings)
    resumed.fit()
    assert float(resumed.model.optimizer.loss_scale) == 16384.0
    assert int(resumed.model.step) == STEPS
    assert_same(resumed.state(), straight(**settings))


@pytest.mark.parametrize("signals", [1, 2])
def test_sigterm_saves_at_the_end_of_the_step(signals: int, tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True)

    def terms() -> None:
        for _ in range(signals):
            term()

    with pytest.raises(Stopped, match="SIGTERM") as stopped:
        small.fit([AtStep(small.run, 8, terms)])
    assert stopped.value.exit_status == 143
    assert small.store.steps() == [5, 8]


def test_sigterm_between_training_and_validation_loses_nothing(
    straight: Any, tmp_path: Path
) -> None:
    small = SmallRun(tmp_path)

    def validate(watch: keras.callbacks.Callback) -> dict[str, float]:
        term()
        return small.validate(watch)

    with pytest.raises(Stopped):
        small.fit(validate=validate)
    # Raised inside the validation, with averaged weights in the model: its own are saved.
    assert small.store.steps()[-1] == EPOCH
    resumed = SmallRun(tmp_path)
    assert resumed.run.progress.pending is not None
    assert resumed.run.progress.history == []
    resumed.fit()
    assert_same(resumed.state(), straight())


def test_time_budget_saves_and_ends(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True, max_hours=1e-9)
    with pytest.raises(Stopped, match="1e-09 hours") as stopped:
        small.fit()
    assert stopped.value.exit_status == 0
    assert small.store.steps() == [1]


def scores(*values: float) -> Any:
    """A validation that gives one score after the other."""
    given: Iterator[float] = iter(values)
    return lambda watch: {"val_auc": next(given)}


def test_saves_at_the_first_step_seen_past_a_mark(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, steps_per_execution=3)
    saved: list[int] = []
    small.fit(
        validate=scores(0.5, 0.5, 0.5),
        before_save=lambda: saved.append(small.run.progress.step),
    )
    # Seen are 3, 6, 9, 12 | 15, ... 24 | 27, 30, 32. Marks are the multiples of 5; 24 is neither
    # a mark nor better than 12; 32 is the end.
    assert saved == [6, 12, 15, 21, 27, 30, 32]
    assert small.store.steps() == [12, 30, 32]
    assert small.store.best_step() == 12


def test_patience_ends_training_and_a_resume_does_not_go_on(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True, steps=20, validate_every=4, patience=2)
    history = small.fit(validate=scores(0.6, 0.7, 0.7, 0.65))
    assert [epoch["val_auc"] for epoch in history] == [0.6, 0.7, 0.7, 0.65]
    assert small.store.steps() == [8, 15, 16]
    assert small.store.best_step() == 8
    again = SmallRun(tmp_path, eager=True, steps=20, validate_every=4, patience=2)
    assert again.fit(validate=scores()) == history


def test_a_loss_that_is_not_finite_ends_training_with_the_last_good_state(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True)

    def poison() -> None:
        small.model.trainable_weights[0].assign(
            tf.fill(small.model.trainable_weights[0].shape, math.nan)
        )

    with pytest.raises(DivergedError, match=r"loss is nan at step 9; .* is of step 5;"):
        small.fit([AtStep(small.run, 8, poison)])
    assert small.store.steps() == [5]


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True)

    def poison() -> None:  # after the loss of step 10, a mark, was found finite
        small.model.trainable_weights[0].assign(
            tf.fill(small.model.trainable_weights[0].shape, math.inf)
        )

    with pytest.raises(DivergedError, match="dense/kernel:0 is not finite at step 10"):
        small.fit([AtStep(small.run, 10, poison)])
    assert small.store.steps() == [5]


def test_an_undefined_score_is_an_error(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True, steps=4, validate_every=4)
    with pytest.raises(DataError, match=r"val_auc is nan at step 4: .* both classes"):
        small.fit(validate=scores(math.nan))


def test_workdir_of_another_run_is_refused(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True, steps=4, validate_every=4)
    small.fit(validate=scores(0.5))
    with pytest.raises(UsageError, match="step-00000004: holds another model"):
        SmallRun(tmp_path, optimizer="sgd")
    with pytest.raises(UsageError, match="is at step 4 already, past the 3 asked for"):
        SmallRun(tmp_path, steps=3)


def test_evaluation_reads_averages_without_an_optimizer(tmp_path: Path) -> None:
    small = SmallRun(tmp_path, eager=True, steps=6, validate_every=6)
    small.fit(validate=scores(0.5))
    expected = [average.numpy() for average in small.averages.averages]
    model = build_model("adamw", "float32")
    averages = AveragedWeights(model, 0.9)
    meta = CheckpointStore(tmp_path / "checkpoints").restore_best(
        tf.train.Checkpoint(model=model, averages=averages), partial=True
    )
    assert meta is not None
    assert meta["step"] == 6
    averages.assign()
    floating = [weight.numpy() for weight in model.weights if weight.dtype.is_floating]
    np.testing.assert_array_equal(
        np.concatenate([w.ravel() for w in floating]), np.concatenate([w.ravel() for w in expected])
    )
