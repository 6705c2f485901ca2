"""How many images a second do backbones train and judge, and how many in PyTorch?

    python benchmarks/models.py [b4 lite0 mat-b4 ...] [--size 224] [--batch 8] [--pytorch PYTHON]

A training step is forward, backward and Adam on the plain detector, float32; of `mat-b4`, the
multi-attention detector on B4, it is one with attention-guided augmentation. PYTHON is an
interpreter that has torch and efficientnet_pytorch: b0 to b8 are measured there, too, with the
same size, batch and threads, and multi-attention as `peer_multi_attention.py` has it. Each network
has a process of its own; they run in turns, so that whatever else the machine does meets all
alike. Images/s are medians over the turns, by wall time and by processor time (images for each
second of a core; beside other work look at that, with --threads 1, since threads that wait for
each other count, too). Ratios are TensorFlow over PyTorch, medians with their quartiles.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys

from worker import Run, Worker, in_turns, lines, peers, work

MULTI_ATTENTION = "mat-"  # begins the names of its networks
TASKS = ("training", "inference")


def tensorflow_runs(name: str, size: int, batch: int, threads: int) -> dict[str, Run]:
    """A training step and an inference of the detector."""
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

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    if name.startswith(MULTI_ATTENTION):
        backbone = name.removeprefix(MULTI_ATTENTION)
        network = build_multi_attention(build_backbone(backbone, size=size, weights=None))
        detector: Detector = MultiAttentionDetector(
            network, steps_per_epoch=1000, region=RegionLoss(), augmentation=Agda()
        )
    else:
        network = build_plain(name, size=size, weights=None)
        detector = Detector(network)
    detector.compile(keras.optimizers.Adam(1e-4))
    images = tf.constant(
        np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    )
    labels = tf.constant(np.arange(batch) % 2, tf.float32)
    seeds = np.random.default_rng(1).integers(0, 2**31, (batch, 2), np.int32)
    x = {"image": images, "seed": tf.constant(seeds)}
    batches = iter(tf.data.Dataset.from_tensors((x, labels)).repeat())
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
    if name.startswith(MULTI_ATTENTION):
        from peer_multi_attention import runs

        return runs(name.removeprefix(MULTI_ATTENTION), size, batch)
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


def compare(name: str, options: argparse.Namespace) -> None:
    """Prints the lines of one network."""
    settings = list(map(str, (name, options.size, options.batch, options.threads)))

    def command(python: str, framework: str) -> list[str]:
        return [python, __file__, "--work", framework, *settings]

    workers = [Worker("TensorFlow", command(sys.executable, "tensorflow"))]
    if options.pytorch and name.removeprefix(MULTI_ATTENTION) in {f"b{n}" for n in range(9)}:
        workers += peers(command(options.pytorch, "pytorch"))
    for task in options.tasks:
        took = in_turns(workers, task, options.rounds)
        for line in lines(options.batch, took):
            print(f"{name:8} {task:10} {line}", flush=True)
    for worker in workers:
        worker.close()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=["b4"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pytorch", metavar="PYTHON")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.processor() or platform.machine()}", end=", ")
    print(f"{options.threads} threads, {options.size} px, batch {options.batch}")
    print(f"{'':19} {'images/s':20} {'wall':>8} {'CPU':>8}", end="")
    print("  over PyTorch, memory kept: wall; CPU (quartiles)" if options.pytorch else "")
    for name in options.names:
        compare(name, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        framework, network, *numbers = sys.argv[2:]
        size, batch, threads = map(int, numbers)
        build = tensorflow_runs if framework == "tensorflow" else pytorch_runs
        work(build(network, size, batch, threads))
    else:
        main()
