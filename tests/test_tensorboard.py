"""Event files read back: what is in them, and that no step is there twice after a resume."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from browser import Browser, free_port, needs_browser, request, serving, until
from small_run import AtStep, SmallRun

from tfforensics.figures import face_grid
from tfforensics.progress import InputWait
from tfforensics.resume import Progress
from tfforensics.tensorboard import Board, drop_events_after


def events(directory: Path) -> list[tuple[str, int, Any]]:
    """(tag, step, value) of all event files, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.append((value.tag, event.step, tf.make_ndarray(value.tensor).tolist()))
    return found


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    series: dict[str, list[tuple[int, float]]] = {}
    for tag, step, value in events(directory):
        if isinstance(value, float):
            series.setdefault(tag, []).append((step, value))
    return series


class Killed(BaseException):
    """Leaves everything as it is, as a kill does."""


def kill() -> None:
    raise Killed


def train(workdir: Path, *, kill_at: int | None = None, **settings: Any) -> Board:
    """Trains a run with a board, until it is done or killed."""
    small = SmallRun(workdir, **settings)
    board = Board(workdir / "tensorboard", small.run.progress, batch=8, wait=InputWait(), every=3)
    callbacks: list[keras.callbacks.Callback] = [board]
    if kill_at is not None:
        callbacks.append(AtStep(small.run, kill_at, kill))

    def validate(watch: keras.callbacks.Callback) -> dict[str, float]:
        scores = small.validate(watch)
        board.validation({"auc": scores["val_auc"]})
        return scores

    with contextlib.suppress(Killed):
        small.fit(callbacks, validate, before_save=board.flush)
    board.flush()  # a kill may find anything flushed
    return board


def test_steps_after_a_resume_are_those_of_a_run_that_never_stopped(tmp_path: Path) -> None:
    train(tmp_path / "whole", optimizer="adam", precision="mixed_float16")
    whole = scalars(tmp_path / "whole" / "tensorboard")
    parts = ["auc", "loss", "loss/cross_entropy"]
    assert sorted(whole) == [
        "optimizer/learning_rate",
        "optimizer/loss_scale",
        "speed/images_per_second",
        "speed/input_wait",
        *(f"training/{name}" for name in parts),
        "validation/auc",
    ]
    marks = [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    assert [step for step, _ in whole["training/loss"]] == marks
    assert [step for step, _ in whole["validation/auc"]] == [12, 24, 32]
    assert dict(whole["optimizer/loss_scale"])[12] == 32768.0
    assert dict(whole["optimizer/loss_scale"])[15] == 16384.0  # the overflow of small_run
    assert dict(whole["optimizer/learning_rate"])[3] == pytest.approx(0.01 * 3 / 4)
    assert all(0 <= share <= 1 for _, share in whole["speed/input_wait"])

    # Killed at 23, having saved 20.
    for step in (23, None):
        train(tmp_path / "killed", kill_at=step, optimizer="adam", precision="mixed_float16")
    killed = scalars(tmp_path / "killed" / "tensorboard")
    assert killed.keys() == whole.keys()
    for tag in whole:
        if not tag.startswith("speed/"):  # what a clock says is another thing each time
            assert killed[tag] == whole[tag]


def written(directory: Path, steps: range) -> Path:
    """An event file with a scalar at each step, and its path."""
    progress = Progress()
    board = Board(directory, progress, batch=1)
    for step in steps:
        progress.step = step
        board.validation({"score": float(step)})
    board.close()
    return sorted(directory.glob("events.*"))[-1]


def test_events_after_a_step_are_dropped(tmp_path: Path) -> None:
    written(tmp_path, range(1, 6))
    drop_events_after(tmp_path, 3)
    assert scalars(tmp_path) == {"validation/score": [(1, 1.0), (2, 2.0), (3, 3.0)]}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_record_that_a_kill_has_torn_is_dropped(tmp_path: Path) -> None:
    path = written(tmp_path, range(1, 6))
    path.write_bytes(path.read_bytes()[:-3])
    drop_events_after(tmp_path, 100)
    assert [step for step, _ in scalars(tmp_path)["validation/score"]] == [1, 2, 3, 4]


def test_a_file_that_needs_no_change_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, range(1, 6))
    before = path.stat()
    drop_events_after(tmp_path, 5)
    after = path.stat()  # reading it may change when it was last read
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_run_that_begins_anew_keeps_nothing(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    drop_events_after(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    drop_events_after(tmp_path / "not there", 0)


def test_settings_and_images(tmp_path: Path) -> None:
    progress = Progress(step=40)
    board = Board(tmp_path, progress, batch=8)
    board.settings("train:\n  steps: 5\n", {"a.b": 5, "c": None}, metric="auc")
    board.image("inputs", np.zeros((4, 5, 3), np.uint8), "as the network sees them")
    board.close()
    (text, image) = (e for e in events(tmp_path) if e[0] in ("settings", "inputs"))
    assert text == ("settings", 40, b"    train:\n      steps: 5\n")
    tag, step, (width, height, png) = image
    assert (tag, step, width, height) == ("inputs", 40, b"5", b"4")
    assert tf.io.decode_png(png).shape == (4, 5, 3)
    tags = [tag for tag, _, _ in events(tmp_path)]
    assert tags == [
        "settings", "_hparams_/experiment", "_hparams_/session_start_info", "inputs"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.promise
def test_tensorboard_shows_it_in_a_browser(tmp_path: Path) -> None:
    needs_browser()
    for name, rate in (("first", 0.125), ("second", 0.0625)):
        board = train(tmp_path / "runs" / name, eager=True)
        settings = {"optimizer.learning_rate": rate, "train.deterministic": True}
        board.settings("optimizer:\n  name: adamw\n", settings, metric="auc")
        faces = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), np.uint8)
        board.image("inputs", face_grid(faces, [f"c{10 * i}" for i in range(8)]))
        board.close()
    with tensorboard(tmp_path / "runs") as page, Browser(tmp_path) as browser:
        browser.open(f"{page}/?tagFilter=validation%2Fauc#timeseries")
        browser.wait_for("validation/auc", "first/tensorboard", "second/tensorboard", "32")
        browser.open(f"{page}/?tagFilter=inputs#timeseries")
        browser.wait_for("inputs", "Step 32")
        browser.open(f"{page}/#hparams")
        browser.wait_for("optimizer.learning_rate", "validation/auc", "0.12500", "0.062500")
        browser.open(f"{page}/#text")
        browser.wait_for("settings", "name: adamw")


@contextlib.contextmanager
def tensorboard(runs: Path) -> Iterator[str]:
    """TensorBoard over runs; its address."""
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs)]
    address = f"http://127.0.0.1:{port}"
    with serving([*command, "--host=127.0.0.1", f"--port={port}"], f"{address}/data/runs"):
        until(lambda: len(request(f"{address}/data/runs")) == 2, 60)
        yield address
