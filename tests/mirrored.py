"""One detector on two logical devices of this machine, as a program:

    python mirrored.py small FOLDER
    python mirrored.py multi_attention

print, as JSON, what test_replicas.py compares. It is a process of its own since TensorFlow's
devices are there for the whole process.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from small_run import AtStep, SmallRun
from tiny import tiny_backbone

from tfforensics.agda import Agda
from tfforensics.losses import RegionLoss
from tfforensics.models.multi_attention import build_multi_attention
from tfforensics.models.multi_attention_detector import MultiAttentionDetector
from tfforensics.optimizers import build_optimizer
from tfforensics.replicas import Replicas

BATCH, STEPS, SIZE = 8, 4, 32


def batches(pieces: int) -> tf.data.Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * BATCH, SIZE, SIZE, 3), np.uint8)
    # The first half of each batch is real: replicas that kept to their own would see one class.
    labels = np.tile(np.repeat([0.0, 1.0], BATCH // 2), STEPS).astype(np.float32)
    images[labels == 1, 8:24, 8:24] //= 3
    x = {"image": images, "seed": rng.integers(0, 2**31, (STEPS * BATCH, 2), np.int32)}
    return tf.data.Dataset.from_tensor_slices((x, labels)).batch(
        BATCH // pieces, drop_remainder=True
    )


def multi_attention(devices: Replicas) -> dict[str, Any]:
    """Trains with every part that looks at the whole batch: batch statistics, centres, dropout,
    clipping."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    with devices.strategy.scope():
        model = MultiAttentionDetector(
            build_multi_attention(tiny_backbone(SIZE), maps=2, projection=16),
            steps_per_epoch=2,
            region=RegionLoss(),
            augmentation=Agda(),
        )
        model.compile(build_optimizer("sgd", 0.01, weight_decay=1e-4, clip_norm=1.0))
    figures: dict[str, list[float]] = {}
    note = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: [
            figures.setdefault(name, []).append(float(value)) for name, value in logs.items()
        ]
    )
    data = devices.distribute(lambda: batches(devices.share.pieces))
    model.fit(data, steps_per_epoch=STEPS, callbacks=[note], verbose=0)
    weights = {
        f"{number} {weight.name}": weight.numpy().tolist()
        for number, weight in enumerate(model.network.weights)
    }
    return {"figures": figures, "centres": model.centres.numpy().tolist(), "weights": weights}


class KilledError(BaseException):
    """Leaves everything as it is, as a kill does."""


def kill() -> None:
    raise KilledError


def small(replicas: Replicas, folder: Path) -> dict[str, Any]:
    """The history on one device and on two, and what differs on two between a run and one that
    was killed inside of its first epoch."""
    alone = SmallRun(folder / "alone", replicas=Replicas(), optimizer="sgd")
    straight, first, second = (
        SmallRun(folder / name, replicas=replicas, optimizer="sgd")
        for name in ("straight", "killed", "killed")
    )
    with contextlib.suppress(KilledError):
        first.fit([AtStep(first.run, 8, kill)])
    second.run.restore()
    assert second.run.progress.step == 5
    for run in (alone, straight, second):
        run.fit()
    found, expected = second.state(), straight.state()
    assert found.keys() == expected.keys()
    return {
        "one": alone.run.progress.history,
        "two": straight.run.progress.history,
        "differs": [name for name in found if found[name] != expected[name]],
    }


def main() -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.experimental.enable_op_determinism()
    replicas = Replicas(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    if sys.argv[1] == "small":
        report = small(replicas, Path(sys.argv[2]))
    else:
        report = {"one": multi_attention(Replicas()), "two": multi_attention(replicas)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
