"""A run that takes a second, as the tests of resume, TensorBoard and addons train it.

As a program it is one process of such a run, killed (SIGKILL) at a given moment or not:

    python small_run.py WORKDIR [--kill-at-step N | --kill-at-sync N] [--optimizer NAME] ...

The last line it prints is the digest of everything that an exact resume must reproduce.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

import tfforensics  # noqa: F401  (before TensorFlow: it says which Keras)
from tfforensics import checkpoint
from tfforensics.checkpoint import CheckpointStore
from tfforensics.ema import AveragedWeights
from tfforensics.models.detector import Detector
from tfforensics.models.dropout import Dropout
from tfforensics.models.normalisation import BatchNormalization
from tfforensics.optimizers import Schedule, build_optimizer
from tfforensics.replicas import Replicas
from tfforensics.resume import ResumableFit

STEPS = 32
EPOCH = 12  # the last epoch is shorter
SAVE_EVERY = 5
BATCH = 8
OVERFLOW = 13  # the step (0-based) whose gradients overflow in float16


def build_model(
    optimizer: str,
    precision: str,
    strategy: tf.distribute.Strategy | None = None,
    **compile_options: Any,
) -> Detector:
    """A detector with batch statistics, dropout and a schedule, compiled."""
    keras.backend.clear_session()  # the same layer names in every process, and model of one
    keras.utils.set_random_seed(7)
    with (strategy or tf.distribute.get_strategy()).scope():
        return _compiled(optimizer, precision, compile_options)


def _compiled(optimizer: str, precision: str, compile_options: dict[str, Any]) -> Detector:
    half = keras.mixed_precision.Policy(precision)
    images = keras.Input((6, 6, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 16)(images)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(8, activation="elu", dtype=half)(x)
    normalized = BatchNormalization(dtype=half)(x)
    # Beside the normalized features the raw ones, so that a bright batch has large gradients.
    x = Dropout(0.3, seed=3, dtype=half)(keras.layers.Concatenate()([x, normalized]))
    x = keras.layers.Dense(1, dtype=half)(x)
    logit = keras.layers.Reshape((), dtype="float32")(x)
    detector = Detector(keras.Model(images, {"logit": logit}))
    rate = Schedule(0.01, "cosine", steps=STEPS, warmup=4)
    detector.compile(
        build_optimizer(optimizer, rate, weight_decay=1e-4, clip_norm=1.0, precision=precision),
        **compile_options,
    )
    return detector


def batches(first: int, pieces: int = 1) -> tf.data.Dataset:
    """Batches that are a function of the step alone; that of step OVERFLOW is much brighter."""

    def batch(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        seed = tf.stack([tf.constant(11, tf.int64), step])
        labels = tf.cast(tf.random.stateless_uniform((BATCH,), seed) < 0.5, tf.float32)
        top = tf.where(step == OVERFLOW, 255.0, 4.0)
        noise = tf.random.stateless_uniform((BATCH, 6, 6, 3), seed + 1, maxval=top)
        images = tf.cast(noise + 3 * labels[:, None, None, None], tf.uint8)
        return {"image": images, "seed": tf.zeros((BATCH, 2), tf.int32)}, labels

    whole = tf.data.Dataset.range(first, 10**9).map(batch)
    return whole if pieces == 1 else whole.unbatch().batch(BATCH // pieces, drop_remainder=True)


class SmallRun:
    """One process of the run, up to the moment before it is trained."""

    def __init__(
        self,
        workdir: Path,
        *,
        optimizer: str = "adamw",
        precision: str = "float32",
        steps_per_execution: int = 1,
        eager: bool = False,
        replicas: Replicas | None = None,
        **options: Any,
    ) -> None:
        how = {"run_eagerly": True} if eager else {"steps_per_execution": steps_per_execution}
        self.replicas = Replicas() if replicas is None else replicas
        strategy = self.replicas.strategy
        self.model = build_model(optimizer, precision, strategy, **how)
        self.averages = AveragedWeights(self.model, 0.9)
        self.store = CheckpointStore(workdir / "checkpoints")
        settings = {"steps": STEPS, "validate_every": EPOCH, "save_every": SAVE_EVERY} | options
        with strategy.scope():
            self.run = ResumableFit(
                self.model,
                self.store,
                monitor="val_auc",
                more={"averages": self.averages},
                **settings,
            )
        self.run.restore()

    def batches(self, first: int) -> tf.data.Dataset:
        pieces = self.replicas.share.pieces
        return self.replicas.distribute(lambda: batches(first, pieces))

    def validate(self, watch: keras.callbacks.Callback) -> dict[str, float]:
        with self.averages.applied():
            scores = self.model.evaluate(
                self.batches(10**6), steps=4, callbacks=[watch], return_dict=True, verbose=0
            )
        return {f"val_{name}": score for name, score in scores.items()}

    def fit(
        self,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        validate: Callable[[keras.callbacks.Callback], Mapping[str, float]] | None = None,
        **more: Any,
    ) -> list[dict[str, float]]:
        return self.run.fit(
            self.batches,
            validate or self.validate,
            callbacks=[self.averages.callback(), *callbacks],
            **more,
        )

    def state(self) -> dict[str, Any]:
        """Everything that an exact resume must reproduce, bit for bit."""
        tensors = [
            *self.model.variables,
            *(v for metric in self.model.metrics for v in metric.variables),
            *_tensors(self.model.optimizer),
            *self.averages.averages,
            self.averages.updates,
        ]
        values = {f"tensor {i}": tensor.numpy().tobytes() for i, tensor in enumerate(tensors)}
        return {"history": json.dumps(self.run.progress.history), **values}


def _tensors(optimizer: Any) -> list[Any]:
    variables = optimizer.variables
    tensors = list(variables() if callable(variables) else variables)
    if isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        tensors += [optimizer.loss_scale, optimizer.dynamic_counter]
    return tensors


class AtStep(keras.callbacks.Callback):
    """Does something at the end of a step, before a checkpoint of it is written."""

    def __init__(self, run: ResumableFit, step: int, action: Callable[[], None]) -> None:
        super().__init__()
        self._run, self._step, self._action = run, step, action

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._run.progress.step >= self._step:
            self._action()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--kill-at-step", type=int)
    parser.add_argument("--kill-at-sync", type=int, help="within a save: at the Nth fsync")
    parser.add_argument("--optimizer", default="adamw")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds to wait in each step")
    options = parser.parse_args()
    tf.config.experimental.enable_op_determinism()
    small = SmallRun(options.workdir, optimizer=options.optimizer, precision=options.precision)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    callbacks = [AtStep(small.run, 0, lambda: time.sleep(options.pace))]
    if options.kill_at_step is not None:
        callbacks.append(AtStep(small.run, options.kill_at_step, die))
    if options.kill_at_sync is not None:
        sync, count = checkpoint.sync, 0

        def sync_or_die(path: Path) -> None:
            nonlocal count
            count += 1
            if count == options.kill_at_sync:
                die()
            sync(path)

        checkpoint.sync = sync_or_die
    print(f"from step {small.run.progress.step}", flush=True)
    small.fit(callbacks)
    print(hashlib.sha256(repr(small.state()).encode()).hexdigest())


if __name__ == "__main__":
    main()
