"""How many images a second do backbones train and judge, and how many in PyTorch?

    python benchmarks/models.py [b4 lite0 ...] [--size 224] [--batch 8] [--pytorch PYTHON]

A training step is forward, backward and Adam on the plain detector, float32. PYTHON is an
interpreter that has torch and efficientnet_pytorch: b0 to b8 are measured there, too, with the
same size, batch and threads. Each network has a process of its own; they run in turns, so that
whatever else the machine does meets all alike. Images/s are the best of the turns, by wall time
and by processor time (images for each second of a core); the second does not depend on other
load. Ratios are TensorFlow over PyTorch.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

Run = Callable[[], object]
TASKS = ("training", "inference")


def tensorflow_runs(name: str, size: int, batch: int, threads: int) -> dict[str, Run]:
    """A training step and an inference of the plain detector."""
    import tfforensics  # noqa: F401  isort: skip (first, so that TensorFlow takes the right Keras)

    import numpy as np
    import tensorflow as tf
    import tf_keras as keras

    from tfforensics.models.detector import Detector
    from tfforensics.models.plain import build_plain

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    network = build_plain(name, size=size, weights=None)
    detector = Detector(network)
    detector.compile(keras.optimizers.Adam(1e-4))
    images = tf.constant(
        np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    )
    labels = tf.constant(np.arange(batch) % 2, tf.float32)
    batches = iter(tf.data.Dataset.from_tensors(({"image": images}, labels)).repeat())
    step = detector.make_train_function()

    @tf.function
    def infer() -> tf.Tensor:
        return network(images, training=False)["logit"]

    return {"training": lambda: step(batches), "inference": lambda: infer().numpy()}


def pytorch_runs(name: str, size: int, batch: int, threads: int) -> dict[str, Run]:
    """The same with efficientnet_pytorch."""
    import torch
    from efficientnet_pytorch import EfficientNet

    torch.set_num_threads(threads)
    network = EfficientNet.from_name(f"efficientnet-{name}", num_classes=1, image_size=size)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    images = torch.randn(batch, 3, size, size)
    labels = (torch.arange(batch) % 2).float()
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits

    def train() -> None:
        network.train()
        optimizer.zero_grad()
        loss_of(network(images)[:, 0], labels).backward()
        optimizer.step()

    def infer() -> None:
        network.eval()
        with torch.no_grad():
            network(images)

    return {"training": train, "inference": infer}


def work(framework: str, name: str, size: int, batch: int, threads: int) -> None:
    """Runs the task that each line of the input names; answers with wall and processor seconds."""
    build = tensorflow_runs if framework == "tensorflow" else pytorch_runs
    runs = build(name, size, batch, threads)
    for line in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        runs[line.strip()]()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print("seconds", wall, processor, flush=True)


class Worker:
    """A process that holds one network."""

    def __init__(self, python: str, framework: str, name: str, options: argparse.Namespace) -> None:
        self.framework, self.name = framework, name
        settings = [framework, name, options.size, options.batch, options.threads]
        self._process = subprocess.Popen(
            [python, __file__, "--work", *map(str, settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )

    def run(self, task: str) -> tuple[float, float]:
        """Wall and processor seconds of one run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(task + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("seconds"):
                wall, processor = map(float, line.split()[1:])
                return wall, processor
        raise RuntimeError(f"{self.framework}'s {self.name} ended before it answered")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(name: str, options: argparse.Namespace) -> None:
    """Prints the lines of one network."""
    workers = [Worker(sys.executable, "tensorflow", name, options)]
    if options.pytorch and name in {f"b{n}" for n in range(9)}:
        workers.append(Worker(options.pytorch, "pytorch", name, options))
    for task in TASKS:
        seconds: dict[str, list[tuple[float, float]]] = {w.framework: [] for w in workers}
        for turn in range(options.rounds + 1):  # the first warms up
            for worker in workers:
                took = worker.run(task)
                if turn > 0:
                    seconds[worker.framework].append(took)
        speeds = {
            framework: [options.batch / min(column) for column in zip(*took, strict=True)]
            for framework, took in seconds.items()
        }
        line = f"{name:6} {task:10}"
        for wall, processor in speeds.values():
            line += f"  {wall:8.2f} {processor:8.2f}"
        if len(speeds) == 2:
            ours, theirs = speeds["tensorflow"], speeds["pytorch"]
            line += f"  {ours[0] / theirs[0]:8.2f} {ours[1] / theirs[1]:8.2f}"
        print(line, flush=True)
    for worker in workers:
        worker.close()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=["b4"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pytorch", metavar="PYTHON")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.processor() or platform.machine()}", end=", ")
    print(f"{options.threads} threads, {options.size} px, batch {options.batch}")
    heads = ["TensorFlow", "PyTorch", "ratio"] if options.pytorch else ["TensorFlow"]
    print(f"{'images/s':17}" + "".join(f"  {head:>17}" for head in heads))
    print(" " * 17 + f"  {'wall':>8} {'CPU':>8}" * len(heads))
    for name in options.names:
        compare(name, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        framework, network, *numbers = sys.argv[2:]
        size, batch, threads = map(int, numbers)
        work(framework, network, size, batch, threads)
    else:
        main()
