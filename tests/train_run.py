"""One process of a training run that tests kill, as a program:

    python train_run.py CONFIG WORKDIR [--kill-at-step N | --kill-at-sync N]

Trains like `python -m tfforensics.train` without the evaluation at the end, notes in
WORKDIR/seen.txt (of several workers: seen-N.txt) which examples each finished step was given, and
prints the history, a norm, and the digest of all that an exact resume must reproduce: weights,
optimizer, metrics, history.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tfforensics import cluster, command, configfile, pipeline, train
from tfforensics.run import Run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--kill-at-step", type=int)
    parser.add_argument("--kill-at-sync", type=int, help="within a save: at the Nth fsync")
    options = parser.parse_args()
    command.start_tensorflow()
    import tensorflow as tf
    import tf_keras as keras

    config = configfile.from_dict(json.loads(options.config.read_text()))
    options.workdir.mkdir(exist_ok=True)
    run = Run(options.workdir)
    batches = pipeline.training_batches

    def noted(settings: Any, start: int = 0, share: Any = pipeline.WHOLE) -> tf.data.Dataset:
        name = "seen.txt" if share == pipeline.WHOLE else f"seen-{share.part}.txt"
        seen = (options.workdir / name).open("a", buffering=1)

        def note(step: int, seeds: Any) -> None:
            seen.write(f"{step} {hashlib.sha256(seeds.tobytes()).hexdigest()[:16]}\n")

        def pass_on(step: tf.Tensor, batch: Any) -> Any:
            written = tf.numpy_function(note, [step, batch[0]["seed"]], [])
            with tf.control_dependencies([written]):
                return tf.nest.map_structure(tf.identity, batch)

        steps = tf.data.Dataset.counter(start)
        return tf.data.Dataset.zip((steps, batches(settings, start, share))).map(pass_on)

    pipeline.training_batches = noted

    from tfforensics import checkpoint, resume
    from tfforensics.peers import AGAIN, PeerLostError
    from tfforensics.replicas import join
    from tfforensics.workdir import take_up

    sync, synced = checkpoint.sync, itertools.count(1)

    def sync_or_die(path: Path) -> None:
        if next(synced) == options.kill_at_sync:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)

    checkpoint.sync = sync_or_die

    class Killed(resume.ResumableFit):
        """Dies at the end of a step, before anything of it can be saved."""

        def _end_batch(self, *given: Any) -> None:
            if options.kill_at_step is not None and self.progress.step >= options.kill_at_step:
                os.kill(os.getpid(), signal.SIGKILL)
            super()._end_batch(*given)

        def digest(self) -> str:
            variables = [
                *self._model.variables,
                *(v for metric in self._model.metrics for v in metric.variables),
                *self._model.optimizer.variables,
            ]
            parts = [variable.numpy().tobytes() for variable in variables]
            parts.append(json.dumps(self.progress.history).encode())
            return hashlib.sha256(b"".join(parts)).hexdigest()

        def slots(self) -> float:
            """The norm of all that the optimizer adds up (of SGD: of the moves)."""
            variables = [v for v in self._model.optimizer.variables if v.dtype.is_floating]
            return float(tf.linalg.global_norm([v.numpy() for v in variables]))

    made: list[Killed] = []

    def make(*given: Any, **named: Any) -> Killed:
        made.append(Killed(*given, **named))
        return made[-1]

    resume.ResumableFit = make  # type: ignore[assignment, misc]
    keras.backend.clear_session()
    try:
        with join(config, cluster.from_environment()) as replicas:
            take_up(run, config, False, replicas)
            history = train._fit(config, run, replicas)
            digest, slots = made[-1].digest(), made[-1].slots()
    except PeerLostError as lost:
        print(lost, file=sys.stderr, flush=True)
        os._exit(AGAIN)
    print(json.dumps({"history": history, "slots": slots}))
    print("digest", digest)


if __name__ == "__main__":
    main()
