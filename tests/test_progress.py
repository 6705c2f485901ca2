"""The progress line, the speed it shows, and the wait for input."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
import tensorflow as tf

import tfforensics  # noqa: F401  (before TensorFlow: it says which Keras)
from tfforensics import progress
from tfforensics.progress import InputWait, Meter, ProgressLine, Speed, duration
from tfforensics.resume import Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (3599, "1 h 00 min"),
     (3 * 3600 + 299, "3 h 05 min"), (100 * 3600, "100 h 00 min")],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        patch.setattr(progress.time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Waited(InputWait):
    seconds = 0.0  # type: ignore[assignment]


def test_meter(clock: Clock) -> None:
    wait = Waited()
    meter = Meter(16, wait)
    assert meter.lap(500) is None
    clock.now, wait.seconds = 104.0, 1.0
    assert meter.lap(510) == Speed(images_per_second=40.0, input_wait=0.25)
    meter.pause()
    clock.now = 1000.0
    assert meter.lap(510) is None
    clock.now = 1001.0
    assert meter.lap(511) == Speed(16.0, 0.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(line: ProgressLine, state: Progress, clock: Clock, steps: int, seconds: float) -> None:
    """Trains: each step takes some seconds, and its loss is 1 / step."""
    for batch in range(steps):
        clock.now += seconds
        state.step += 1
        line.on_train_batch_end(batch, {"loss": 1 / state.step, "auc": 0.5, "other": 1.0})


def test_a_line_every_while_where_there_is_no_terminal(clock: Clock) -> None:
    state, stream = Progress(step=1000), io.StringIO()
    line = ProgressLine(state, steps=2000, batch=8, stream=stream, every=10)
    line.on_epoch_begin(0)
    run(line, state, clock, steps=9, seconds=4)
    line.on_epoch_end(0, {"loss": 0.25})
    line.close()
    assert stream.getvalue().splitlines() == [
        "step 1,001/2,000  loss 0.0010  auc 0.5000",
        "step 1,004/2,000  loss 0.0010  auc 0.5000  2.0 images/s  1 h 06 min left",
        "step 1,007/2,000  loss 0.0010  auc 0.5000  2.0 images/s  1 h 06 min left",
        "step 1,009/2,000  loss 0.2500  2.0 images/s  1 h 06 min left",
    ]


def test_one_line_on_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    state, stream = Progress(), Terminal()
    line = ProgressLine(state, steps=10, batch=8, stream=stream)
    line.on_epoch_begin(0)
    run(line, state, clock, steps=2, seconds=4)
    line.close()
    assert stream.getvalue() == (
        "\rstep 1/10  loss 1.0000  auc 0\x1b[K\rstep 2/10  loss 0.5000  auc 0\x1b[K\n"
    )


def test_nothing_trained_nothing_said() -> None:
    stream = Terminal()
    ProgressLine(Progress(), steps=10, batch=8, stream=stream).close()
    assert stream.getvalue() == ""


def slow(dataset: tf.data.Dataset, seconds: float) -> tf.data.Dataset:
    def sleep(element: tf.Tensor) -> tf.Tensor:
        time.sleep(seconds)
        return element

    return dataset.map(lambda x: tf.ensure_shape(tf.numpy_function(sleep, [x], tf.int64), ()))


def test_waiting_for_a_slow_input_is_counted() -> None:
    wait = InputWait()
    dataset = wait.watch(slow(tf.data.Dataset.range(5), 0.05))
    start = time.perf_counter()
    assert [int(element) for element in dataset] == [0, 1, 2, 3, 4]
    assert 0.25 <= wait.seconds <= time.perf_counter() - start


def test_a_slow_training_step_is_no_wait() -> None:
    wait = InputWait()
    for _ in wait.watch(tf.data.Dataset.range(5).prefetch(5)):
        time.sleep(0.05)
    assert wait.seconds < 0.1


def test_watching_changes_no_element() -> None:
    dataset = tf.data.Dataset.range(3).map(lambda i: ({"image": tf.fill([2], i)}, i))
    watched = InputWait().watch(dataset)
    assert watched.element_spec == dataset.element_spec
    x, y = next(iter(watched.skip(2)))
    assert x["image"].numpy().tolist() == [2, 2]
    assert int(y) == 2


def test_default_stream_is_standard_output(capsys: Any, clock: Clock) -> None:
    state = Progress()
    line = ProgressLine(state, steps=2, batch=1)
    run(line, state, clock, steps=1, seconds=1)
    assert re.fullmatch(r"step 1/2  loss 1\.0000  auc 0\.5000\n", capsys.readouterr().out)
