"""What a run writes to TensorBoard, with steps that go on after a resume as if never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from tensorboard.plugins.hparams import api as hparams_api

from tfforensics.optimizers import learning_rate_of, loss_scale_of
from tfforensics.progress import InputWait, Meter
from tfforensics.resume import Progress

_EVENTS = "events.out.tfevents.*"


class Board(keras.callbacks.Callback):
    """Writes a run's event files.

    As a callback it writes, every `every` steps: `training/*` (what `fit` logs: the total loss,
    its parts and the AUC, each over the epoch so far), `optimizer/learning_rate`,
    `optimizer/loss_scale`, `speed/images_per_second` and `speed/input_wait` (a share). The
    methods write the rest, at the step the run is at.

    What an earlier process of the run wrote after its last checkpoint is removed at the start:
    those steps are made again. Flush before each checkpoint (`ResumableFit.fit(before_save=
    board.flush)`), so that nothing before it can be missing.

    Args:
        directory: of the event files; one run's only.
        progress: of the run, restored.
        batch: images in a training step.
        wait: what watches the input.
        every: steps between two points of a curve.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        progress: Progress,
        *,
        batch: int,
        wait: InputWait | None = None,
        every: int = 20,
    ) -> None:
        super().__init__()
        drop_events_after(directory, progress.step)
        self._writer = tf.summary.create_file_writer(os.fspath(directory))
        self._progress = progress
        self._every = every
        self._written = progress.step
        self._meter = Meter(batch, wait)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._meter.pause()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        step = self._progress.step
        # With steps_per_execution not every step is seen: the first at or past a mark writes.
        if step // self._every == self._written // self._every:
            return
        self._written = step
        scalars = {f"training/{name}": float(value) for name, value in (logs or {}).items()}
        scalars["optimizer/learning_rate"] = learning_rate_of(self.model.optimizer)
        loss_scale = loss_scale_of(self.model.optimizer)
        if loss_scale is not None:
            scalars["optimizer/loss_scale"] = loss_scale
        speed = self._meter.lap(step)
        if speed is not None:
            scalars["speed/images_per_second"] = speed.images_per_second
            if speed.input_wait is not None:
                scalars["speed/input_wait"] = speed.input_wait
        self._scalars(scalars)

    def validation(self, scores: Mapping[str, float]) -> None:
        """Writes scores as `validation/NAME` (`validation/auc/c40/Deepfakes`)."""
        self._scalars({f"validation/{name}": value for name, value in scores.items()})

    def image(self, tag: str, image: npt.NDArray[np.uint8], description: str = "") -> None:
        """Writes one figure, uint8 (H, W, 3); see figures.py."""
        with self._writer.as_default(step=self._progress.step):
            tf.summary.image(tag, image[None], description=description)

    def settings(self, text: str, hparams: Mapping[str, object], *, metric: str) -> None:
        """Writes the resolved settings as text, and as HParams, by which runs compare.

        For the start of a run, or of a stretch of it with other settings.

        Args:
            text: YAML.
            hparams: by dotted name; what is no number, string or truth value is written as its
                text.
            metric: the validation score that runs compare by, as `validation` is given it.
        """
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in hparams.items()
        }
        code = "".join(f"    {line}\n" for line in text.splitlines())
        with self._writer.as_default(step=self._progress.step):
            tf.summary.text("settings", code)
            hparams_api.hparams_config(
                hparams=[hparams_api.HParam(name) for name in plain],
                metrics=[hparams_api.Metric(f"validation/{metric}")],
            )
            hparams_api.hparams(plain)

    def flush(self) -> None:
        """Puts everything written so far into the file."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()

    def _scalars(self, scalars: Mapping[str, float]) -> None:
        with self._writer.as_default(step=self._progress.step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)


def drop_events_after(directory: str | os.PathLike[str], step: int) -> None:
    """Removes from event files what lies behind a step, and what a killed process tore.

    Args:
        directory: of the event files; may not exist.
        step: the last one that stays; 0 stands for a run that begins anew: nothing stays.
    """
    for path in sorted(Path(directory).glob(_EVENTS)):
        records, whole = _read_records(path)
        kept = [r for r in records if step > 0 and tf.compat.v1.Event.FromString(r).step <= step]
        if not kept:
            path.unlink()
        elif not whole or len(kept) < len(records):
            temporary = path.with_name(f".{path.name}")  # no name that TensorBoard reads
            with tf.io.TFRecordWriter(os.fspath(temporary)) as writer:
                for record in kept:
                    writer.write(record)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)


def _read_records(path: Path) -> tuple[list[bytes], bool]:
    """The whole records of a file, and whether nothing follows them."""
    records: list[bytes] = []
    try:
        for record in tf.data.TFRecordDataset(os.fspath(path)):
            records.append(record.numpy())
    except tf.errors.DataLossError:
        return records, False
    return records, True
