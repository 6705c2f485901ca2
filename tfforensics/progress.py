"""How fast training goes, how long it waits for its input, and the line that says so."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import tensorflow as tf
import tf_keras as keras

from tfforensics.resume import Progress


class InputWait:
    """Adds up the time that training waits for its next batch.

    Not for op determinism: there a clock in the pipeline, as any op with a state, takes away
    its parallelism and prefetching, and so makes the wait that it measures.

    Attributes:
        seconds: waited so far.
    """

    def __init__(self) -> None:
        self._seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64)

    @property
    def seconds(self) -> float:
        return float(self._seconds)

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same dataset, its waits noted; for the very end of a pipeline.

        `zip` asks its parts one after the other: the clock is read before `dataset` is asked,
        and again when the batch is there.
        """
        asked = tf.data.Dataset.counter().map(lambda _: tf.timestamp())

        def note(start: tf.Tensor, batch: Any) -> Any:
            self._seconds.assign_add(tf.timestamp() - start)
            return batch

        return tf.data.Dataset.zip((asked, dataset)).map(note)


@dataclass(frozen=True)
class Speed:
    """Over a stretch of training, validation and saving not counted.

    Attributes:
        images_per_second: over all replicas.
        input_wait: the share of the time that was spent waiting for batches, in [0, 1]; None
            where nothing watched the input.
    """

    images_per_second: float
    input_wait: float | None


class Meter:
    """Measures the speed between laps.

    Args:
        batch: images in a training step, over all replicas.
        wait: what watches the input, if anything does.
    """

    def __init__(self, batch: int, wait: InputWait | None = None) -> None:
        self._batch = batch
        self._wait = wait
        self._mark: tuple[int, float, float] | None = None

    def pause(self) -> None:
        """Forgets the lap that has begun: what follows is no training."""
        self._mark = None

    def lap(self, step: int) -> Speed | None:
        """The speed since the last lap; None for the first, after a pause, or without a step."""
        waited = 0.0 if self._wait is None else self._wait.seconds
        before, self._mark = self._mark, (step, time.perf_counter(), waited)
        if before is None or step == before[0]:
            return None
        steps, seconds, waiting = (now - then for now, then in zip(self._mark, before, strict=True))
        share = None if self._wait is None else min(1.0, waiting / seconds)
        return Speed(steps * self._batch / seconds, share)


class ProgressLine(keras.callbacks.Callback):
    """Says how training goes: step, loss, AUC, images/s, time left.

    On a terminal one line that is written over; otherwise (a log file, a pipe) a line every
    `every` seconds and at the end of each epoch.

    Args:
        progress: of the run.
        steps: training steps in all.
        batch: images in a training step.
        wait: what watches the input.
        stream: where to write; standard output if not given.
        every: seconds between two lines where `stream` is no terminal.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        steps: int,
        batch: int,
        wait: InputWait | None = None,
        stream: TextIO | None = None,
        every: float = 30.0,
    ) -> None:
        super().__init__()
        self._progress = progress
        self._steps = steps
        self._stream = sys.stdout if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every = 0.5 if self._terminal else every
        self._meter = Meter(batch, wait)
        self._speed: Speed | None = None
        self._first: tuple[int, float] | None = None
        self._last_line = float("-inf")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._meter.pause()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        now = time.perf_counter()
        if self._first is None:
            self._first = (self._progress.step, now)
            self._meter.lap(self._progress.step)
        if now - self._last_line >= self._every:
            self._write(logs or {}, now)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._write(logs or {}, time.perf_counter())

    def close(self) -> None:
        """Ends the line, so that what comes next starts on its own."""
        if self._terminal and self._first is not None:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, logs: Mapping[str, Any], now: float) -> None:
        self._last_line = now
        self._speed = self._meter.lap(self._progress.step) or self._speed
        line = self._line(logs, now)
        if self._terminal:
            # One column less than there are: a full line would wrap.
            line = f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K"
        else:
            line += "\n"
        self._stream.write(line)
        self._stream.flush()

    def _line(self, logs: Mapping[str, Any], now: float) -> str:
        step = self._progress.step
        parts = [f"step {step:,}/{self._steps:,}"]
        parts += [f"{name} {float(logs[name]):.4f}" for name in ("loss", "auc") if name in logs]
        if self._speed is not None:
            parts.append(f"{self._speed.images_per_second:.1f} images/s")
            if self._speed.input_wait is not None:
                parts.append(f"input wait {self._speed.input_wait:.0%}")
        if self._first is not None and step > self._first[0]:
            seconds = (self._steps - step) * (now - self._first[1]) / (step - self._first[0])
            parts.append(f"{duration(seconds)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
