"""How much of training goes into checkpoints?

    python benchmarks/checkpoint_cost.py [--backbone b4] [--size 224] [--batch 8] [--every 500]

Times steps of `fit` (the first, which builds the graph, left out) and saves of everything that
a run has: model, AdamW, averaged weights. Asked for is a share under 3%.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time

import tfforensics  # noqa: F401  isort: skip (first, so that TensorFlow takes the right Keras)

import tensorflow as tf
import tf_keras as keras

from tfforensics.checkpoint import CheckpointStore
from tfforensics.ema import AveragedWeights
from tfforensics.models.detector import Detector
from tfforensics.models.plain import build_plain
from tfforensics.optimizers import build_optimizer, resolve_precision

STEPS = 4
SAVES = 5


class Clock(keras.callbacks.Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="b4")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    args = parser.parse_args()

    precision = resolve_precision("auto")
    keras.mixed_precision.set_global_policy(precision)
    detector = Detector(build_plain(args.backbone, size=args.size, weights=None))
    detector.compile(build_optimizer("adamw", 1e-4, precision=precision))
    averages = AveragedWeights(detector, 0.999)
    x = {"image": tf.zeros([args.batch, args.size, args.size, 3], tf.uint8)}
    batches = tf.data.Dataset.from_tensors((x, tf.ones([args.batch]))).repeat()
    clock = Clock()
    detector.fit(
        batches, steps_per_epoch=STEPS + 1, callbacks=[averages.callback(), clock], verbose=0
    )
    step = (clock.ends[-1] - clock.ends[0]) / STEPS

    state = tf.train.Checkpoint(model=detector, optimizer=detector.optimizer, averages=averages)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = CheckpointStore(folder)
        seconds = []
        for number in range(SAVES):
            start = time.perf_counter()
            saved = store.save(state, {"step": number}, step=number, best=False)
            seconds.append(time.perf_counter() - start)
        megabytes = sum(path.stat().st_size for path in saved.iterdir()) / 1e6
    save = sorted(seconds)[SAVES // 2]

    devices = [gpu.name for gpu in tf.config.list_physical_devices("GPU")] or [platform.machine()]
    print(f"{datetime.date.today()}, {', '.join(devices)}, {precision}")
    print("| backbone | px | batch | checkpoint, MB | save, s | step, s | share of training |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {args.backbone} | {args.size} | {args.batch} | {megabytes:.0f} | {save:.2f} | "
        f"{step:.2f} | {save / (save + args.every * step):.2%} |"
    )


if __name__ == "__main__":
    main()
