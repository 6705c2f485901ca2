"""`fit` that goes on exactly where it stopped.

Keras's own means do not: `BackupAndRestore` forgets the data position and the running
metrics, `ModelCheckpoint` its best score. Here a checkpoint holds all that the next step
depends on, so a run that was killed and resumed ends with the same bits as one that was not
(on a CPU with op determinism):

- variables: model, optimizer with its loss scale, running metrics, what else the caller has;
- `Progress`: the step, from which the data position follows (what a step sees is a function
  of seed and step alone), and the history, from which best score and patience follow.

An epoch is the stretch between two validations. A run that resumes inside one calls
`Model.fit` for the rest of that epoch, then again for those that remain.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras as keras

from tfforensics.checkpoint import CheckpointStore
from tfforensics.command import DataError, UsageError
from tfforensics.optimizers import create_variables
from tfforensics.replicas import Replicas
from tfforensics.stopping import Stopped, StopRequests

Batches: TypeAlias = Callable[[int], tf.data.Dataset]
Validate: TypeAlias = Callable[[keras.callbacks.Callback], Mapping[str, float]]


class DivergedError(DataError):
    """The loss or a weight is not finite any more; the checkpoints are from before."""


@dataclass
class Progress:
    """How far a run is: what its checkpoints hold beside variables.

    Attributes:
        step: training steps done, those that a loss-scale optimizer skipped among them.
        history: for each finished epoch its last step, the training figures over it and the
            validation scores.
        pending: the training figures of an epoch that is trained and not yet validated.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    pending: dict[str, float] | None = None


class ResumableFit:
    """Trains a compiled model, saves as it goes, and goes on from the last checkpoint.

    Args:
        model: compiled, with all its variables and metrics there (metrics given to `compile`
            are made at the first batch, which is too late: keep them as attributes) and its
            first weights loaded. It logs `loss`.
        store: where the checkpoints are; this process must hold the run's lock.
        steps: training steps in all.
        validate_every: steps of an epoch; the last one may be shorter.
        monitor: the validation score that picks the best checkpoint; higher is better.
        save_every: steps between checkpoints. With `steps_per_execution` N only every Nth
            step is seen: the first at or past the mark saves. The end of training and every
            best epoch save besides.
        patience: epochs without a better score after which training ends; None for never.
        max_hours: time after which training saves and ends, counted from `fit`; None for never.
        more: what else has variables that training goes by, by name (averaged weights).
        replicas: that train; of several workers the chief alone saves, and all stop together.

    Attributes:
        progress: how far the run is; `step` moves on before the caller's callbacks are called.
    """

    def __init__(
        self,
        model: keras.Model,
        store: CheckpointStore,
        *,
        steps: int,
        validate_every: int,
        monitor: str,
        save_every: int = 500,
        patience: int | None = None,
        max_hours: float | None = None,
        more: Mapping[str, Any] | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.progress = Progress()
        self._model = model
        self._store = store
        self._steps = steps
        self._epoch_steps = validate_every
        self._monitor = monitor
        self._save_every = save_every
        self._patience = patience
        self._stop = StopRequests(max_hours)
        self._replicas = Replicas() if replicas is None else replicas
        create_variables(model.optimizer, model.trainable_variables)
        self._checkpoint = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, metrics=list(model.metrics), **(more or {})
        )
        self._saved = Progress()
        self._running_metrics: list[Any] | None = None
        self._epoch_start = 0

    def restore(self) -> Progress:
        """Takes up the newest whole checkpoint, where there is one.

        Raises:
            CheckpointError: there are checkpoints and all of them are damaged.
            UsageError: they are of another model, of a newer version or of a longer run.
        """
        meta = self._store.restore(self._checkpoint)
        if meta is None:
            return self.progress
        self.progress = Progress(**meta)
        self._saved = copy.deepcopy(self.progress)
        if self.progress.step > self._steps:
            raise UsageError(
                f"steps: {self._store.directory} is at step {self.progress.step} already, past "
                f"the {self._steps} asked for"
            )
        if self.progress.step % self._epoch_steps:
            self._running_metrics = [variable.numpy() for variable in self._metric_variables()]
        return self.progress

    def fit(
        self,
        batches: Batches,
        validate: Validate,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        before_save: Callable[[], None] = lambda: None,
    ) -> list[dict[str, float]]:
        """Trains to the last step, or until patience ends; returns the history.

        Args:
            batches: from a step to the dataset whose first batch is that step's.
            validate: returns the scores of the model as it is, `monitor` among them. It hands
                the callback that it is given to `predict` or `evaluate`, so that a signal is
                heeded there, too. Of several workers the chief alone calls it.
            callbacks: called after `progress.step` has moved on and before a checkpoint is
                written. A run calls their `on_train_begin` up to three times.
            before_save: called before each checkpoint, to flush what must not stay behind it.

        Raises:
            Stopped: SIGTERM, SIGINT or the end of the time budget, after a checkpoint.
            DivergedError: the loss or a weight is not finite; nothing of it is saved.
            CheckpointError: the disk is full; the checkpoints there stay as they are.
            DataError: `monitor` is not finite.
        """
        if self._replicas.chief:
            self._store.remove_leftovers()

        def end_epoch(epoch: int = 0, logs: Any = None) -> None:
            del epoch, logs
            self._end_epoch(validate, before_save)

        def end_batch(batch: int, logs: Mapping[str, Any]) -> None:
            del batch
            self._end_batch(logs, before_save)

        with self._stop:
            if self.progress.pending is not None:
                end_epoch()
            while self.progress.step < self._steps and not self._out_of_patience():
                step, length = self.progress.step, self._epoch_steps
                epoch = step // length
                whole = 0 if step % length else (self._steps - step) // length
                self._model.fit(
                    batches(step),
                    initial_epoch=epoch,
                    epochs=epoch + max(1, whole),
                    steps_per_epoch=length if whole else self._epoch_end(step) - step,
                    callbacks=[
                        keras.callbacks.LambdaCallback(
                            on_epoch_begin=self._begin_epoch, on_batch_end=self._count
                        ),
                        *callbacks,
                        keras.callbacks.LambdaCallback(
                            on_batch_end=end_batch, on_epoch_end=end_epoch
                        ),
                    ],
                    verbose=0,
                )
        return self.progress.history

    def _epoch_end(self, step: int) -> int:
        """The last step of the epoch that the step after `step` belongs to."""
        return min((step // self._epoch_steps + 1) * self._epoch_steps, self._steps)

    def _metric_variables(self) -> list[tf.Variable]:
        return [variable for metric in self._model.metrics for variable in metric.variables]

    def _begin_epoch(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._epoch_start = self.progress.step
        # `Model.fit` has just reset the metrics; inside an epoch they go on instead.
        if self._running_metrics is not None:
            for variable, value in zip(
                self._metric_variables(), self._running_metrics, strict=True
            ):
                variable.assign(value)
            self._running_metrics = None

    def _count(self, batch: int, logs: Mapping[str, Any]) -> None:
        self.progress.step = self._epoch_start + batch + 1
        if not math.isfinite(logs["loss"]):
            raise self._diverged(f"the loss is {logs['loss']}")

    def _end_batch(self, logs: Mapping[str, Any], before_save: Callable[[], None]) -> None:
        if self.progress.step == self._epoch_end(self._epoch_start):
            # Taken here: the logs of `on_epoch_end` are computed anew, outside of the graph,
            # and a signal may come before there are any.
            self.progress.pending = {name: float(value) for name, value in logs.items()}
            return  # the end of the epoch heeds and saves
        try:
            self._replicas.stop_if_any(self._stop.asked())
        except Stopped:
            self._save(before_save)
            raise
        if self._due():
            self._save(before_save)

    def _end_epoch(self, validate: Validate, before_save: Callable[[], None]) -> None:
        progress = self.progress
        assert progress.pending is not None
        heed = lambda batch, logs: self._stop.heed()  # noqa: E731
        watch = keras.callbacks.LambdaCallback(on_test_batch_end=heed, on_predict_batch_end=heed)
        try:
            self._replicas.stop_if_any(self._stop.asked())
            scores = self._replicas.from_chief(lambda: dict(validate(watch)))
        except Stopped:
            self._save(before_save)
            raise
        if not math.isfinite(scores[self._monitor]):
            raise DataError(
                f"validation: {self._monitor} is {scores[self._monitor]} at step {progress.step}: "
                "does the split hold faces of both classes?"
            )
        # The best may be lost with a damaged checkpoint: then this one is.
        best = self._store.best_step() is None or all(
            scores[self._monitor] > epoch[self._monitor] for epoch in progress.history
        )
        figures = {**progress.pending, **scores}
        progress.history.append(
            {"step": progress.step} | {name: float(figures[name]) for name in figures}
        )
        progress.pending = None
        over = progress.step == self._steps or self._out_of_patience()
        if best or over or self._due():
            self._save(before_save, best=best)
        self._model.stop_training = over

    def _out_of_patience(self) -> bool:
        scores = [epoch[self._monitor] for epoch in self.progress.history]
        if self._patience is None or not scores:
            return False
        return len(scores) - 1 - scores.index(max(scores)) >= self._patience

    def _due(self) -> bool:
        """Whether a multiple of `save_every` was reached since the last checkpoint."""
        return self.progress.step // self._save_every > self._saved.step // self._save_every

    def _save(self, before_save: Callable[[], None], *, best: bool = False) -> None:
        if self.progress == self._saved and not best:
            return
        for variable in self._model.variables:
            if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
                raise self._diverged(f"{variable.name} is not finite")
        if self._replicas.chief:
            before_save()
            self._store.save(
                self._checkpoint, asdict(self.progress), step=self.progress.step, best=best
            )
        self._saved = copy.deepcopy(self.progress)

    def _diverged(self, what: str) -> DivergedError:
        steps = self._store.steps()
        last = f"the last checkpoint is of step {steps[-1]}" if steps else "there is no checkpoint"
        return DivergedError(
            f"{self._store.directory}: {what} at step {self.progress.step}; {last}; a lower "
            "learning rate, warm-up or gradient clipping may help"
        )
