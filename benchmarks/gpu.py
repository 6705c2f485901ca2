"""How many images a second does a GPU train and judge, in float32 and in mixed_bfloat16?

    python benchmarks/gpu.py [--backbone b4] [--size 380] [--batch 32] [--steps 20]

Multi-attention without and with its augmentation, and the plain network beside it. A step is
forward, backward and AdamW on one batch that stays the same, so no input pipeline is in it. The
rate is the median over steps, after three to warm up. Needs nothing but the package. Where there
is no GPU it says so and ends with status 1.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
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


def detectors(backbone: str, size: int) -> dict[str, Callable[[], tuple[keras.Model, Detector]]]:
    """How to build each network and what trains it; one at a time fits the memory."""

    def plain() -> tuple[keras.Model, Detector]:
        network = build_plain(backbone, size=size, weights=None)
        return network, Detector(network)

    def attentive(augmentation: Agda | None) -> tuple[keras.Model, Detector]:
        network = build_multi_attention(build_backbone(backbone, size=size, weights=None))
        return network, MultiAttentionDetector(
            network, steps_per_epoch=1000, region=RegionLoss(), augmentation=augmentation
        )

    return {
        "plain": plain,
        "multi-attention": lambda: attentive(None),
        "multi-attention, AGDA": lambda: attentive(Agda()),
    }


def seconds(run: Callable[[], object], steps: int) -> float:
    """Median time of a run, after three to warm up."""
    took = []
    for _ in range(steps + 3):
        begin = time.perf_counter()
        run()
        took.append(time.perf_counter() - begin)
    return statistics.median(took[3:])


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="b4")
    parser.add_argument("--size", type=int, default=380)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        print("no GPU: TensorFlow sees none on this machine", file=sys.stderr)
        return 1
    name = tf.config.experimental.get_device_details(devices[0]).get("device_name", "GPU")
    print(f"{name}, {datetime.date.today()}, TensorFlow {tf.__version__}, ", end="")
    print(f"{options.backbone} at {options.size} px, batch {options.batch}; images/s")

    rng = np.random.default_rng(0)
    shape = (options.batch, options.size, options.size, 3)
    x = {
        "image": tf.constant(rng.integers(0, 256, shape, np.uint8)),
        "seed": tf.constant(rng.integers(0, 2**31, (options.batch, 2), np.int32)),
    }
    y = tf.constant(np.arange(options.batch) % 2, tf.float32)
    for policy in ("float32", "mixed_bfloat16"):
        for title, build in detectors(options.backbone, options.size).items():
            keras.backend.clear_session()
            keras.mixed_precision.set_global_policy(policy)
            network, detector = build()
            detector.compile(keras.optimizers.AdamW(1e-4))
            batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
            step = detector.make_train_function()

            def train(step: Callable[..., object] = step, batches: object = batches) -> object:
                return {k: float(v) for k, v in step(batches).items()}  # type: ignore[attr-defined]

            judge = tf.function(lambda images, net=network: net(images, training=False)["logit"])

            def infer(judge: Callable[..., tf.Tensor] = judge) -> object:
                return judge(x["image"]).numpy()

            rates = [options.batch / seconds(run, options.steps) for run in (train, infer)]
            print(f"{policy:<16}{title:<24}training {rates[0]:8.1f}  inference {rates[1]:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
