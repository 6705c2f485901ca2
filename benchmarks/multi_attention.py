"""What does multi-attention cost beside its plain backbone?

    python benchmarks/multi_attention.py [--backbone b4] [--size 224] [--batch 8] [--rounds 5]

Times training steps (forward, backward, AdamW) without and with attention-guided augmentation, and
inference, each beside the plain network's in the same round. A ratio is the median over rounds, of
wall time and of processor time; the second is the steadier one beside other work. Asked for are
wall ratios of at most 1.4, 2.5 and 1.15; the authors' implementation needs 1.6, 2.8 and 1.3.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import tfforensics  # noqa: F401  isort: skip (first, so that TensorFlow takes the right Keras)

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfforensics.agda import Agda
from tfforensics.losses import RegionLoss
from tfforensics.models.backbone import build_backbone
from tfforensics.models.detector import Detector
from tfforensics.models.multi_attention import build_multi_attention
from tfforensics.models.multi_attention_detector import MultiAttentionDetector
from tfforensics.models.plain import build_plain

Run = Callable[[], object]


def networks(backbone: str, size: int) -> tuple[keras.Model, keras.Model]:
    """The plain network and the multi-attentional one."""
    return (
        build_plain(backbone, size=size, weights=None),
        build_multi_attention(build_backbone(backbone, size=size, weights=None)),
    )


def training(detector: Detector, x: dict[str, tf.Tensor], y: tf.Tensor) -> Run:
    """One step as `fit` runs it."""
    detector.compile(keras.optimizers.AdamW(1e-4))
    batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    step = detector.make_train_function()
    return lambda: step(batches)


def inference(network: keras.Model, images: tf.Tensor) -> Run:
    """Probabilities of a batch."""

    @tf.function
    def probabilities(batch: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(network(batch, training=False)["logit"])

    return lambda: probabilities(images).numpy()


def measure(runs: dict[str, Run], rounds: int) -> dict[str, np.ndarray]:
    """Wall and processor seconds of each run in each round, (rounds, 2), after two to warm up."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds + 2):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            if turn >= 2:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.array(values) for name, values in seconds.items()}


def show(title: str, plain: np.ndarray, other: np.ndarray) -> None:
    """Prints one line of the table."""
    wall, processor = np.median(other / plain, axis=0)
    before, after = 1000 * np.median(plain[:, 0]), 1000 * np.median(other[:, 0])
    print(f"{title:<24} {before:9.0f} {after:9.0f} {wall:8.2f} {processor:8.2f}", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="b4")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    shape = (options.batch, options.size, options.size, 3)
    x = {
        "image": tf.constant(rng.integers(0, 256, shape, np.uint8)),
        "seed": tf.constant(rng.integers(0, 2**31, (options.batch, 2), np.int32)),
    }
    y = tf.constant(np.arange(options.batch) % 2, tf.float32)
    print(f"{options.backbone} at {options.size} px, batch {options.batch}")
    print(f"{'':24} {'plain ms':>9} {'ms':>9} {'wall':>8} {'CPU':>8}")

    plain, attentive = networks(options.backbone, options.size)
    times = measure(
        {"plain": inference(plain, x["image"]), "other": inference(attentive, x["image"])},
        4 * options.rounds,
    )
    show("inference", times["plain"], times["other"])
    for title, augmentation in (("training", None), ("training with AGDA", Agda())):
        plain, attentive = networks(options.backbone, options.size)
        detector = MultiAttentionDetector(
            attentive, steps_per_epoch=1000, region=RegionLoss(), augmentation=augmentation
        )
        times = measure(
            {"plain": training(Detector(plain), x, y), "other": training(detector, x, y)},
            options.rounds,
        )
        show(title, times["plain"], times["other"])


if __name__ == "__main__":
    main()
