"""How much of a network's bare speed is left in evaluation?

    python benchmarks/evaluation.py [--backbone b0] [--size 224] [--faces 192] [--rounds 5]

Bare: the compiled network, batch after batch, over faces that lie in memory. Evaluation: as
`tfforensics.evaluate` scores a split, at c0 and at c40 made on the fly: records read, checked,
decoded, compressed, scored, answers gathered. They run in turns in one process, the weights are
untrained, and the figures are medians of the turns' ratios of images/s. What is done once per run
whatever its size (intervals, pictures, the report) is not in it. Asked for is at least 0.9.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tfforensics  # noqa: F401  isort: skip (first, so that TensorFlow takes the right Keras)

from growth import write_examples

from tfforensics import command, pipeline
from tfforensics.models.plain import build_plain
from tfforensics.scoring import inference, score


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="b0", help="default: %(default)s")
    parser.add_argument("--size", type=int, default=224, help="default: %(default)s")
    parser.add_argument("--faces", type=int, default=192, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    logits = inference(build_plain(options.backbone, size=options.size, weights=None))
    with tempfile.TemporaryDirectory() as temporary:
        records = Path(temporary)
        write_examples(records, options.faces, shards=1, split="test", side=options.size)

        def evaluate(level: str) -> None:
            batches = pipeline.evaluation_batches(
                records, "test", level, size=options.size, batch=options.batch
            )
            assert len(score(logits, batches, "test").label) == options.faces

        c0 = pipeline.evaluation_batches(
            records, "test", "c0", size=options.size, batch=options.batch
        )
        held = [batch["image"] for batch in c0]
        ways: dict[str, Callable[[], object]] = {
            "bare inference": lambda: [logits(images).numpy() for images in held],
            "evaluation, c0": lambda: evaluate("c0"),
            "evaluation, c40": lambda: evaluate("c40"),
        }
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):
            for name, way in ways.items():
                found = seconds(way)
                if turn:  # the first builds graphs
                    took[name].append(found)
    print(
        f"{datetime.date.today()}, {platform.machine()}, {command.cores()} cores, load "
        f"{os.getloadavg()[0]:.1f}; {options.backbone}, {options.size} px, batch {options.batch}, "
        f"{options.faces} faces"
    )
    print("| | images/s | ratio | ms of processor an image | ratio |\n|---|---:|---:|---:|---:|")
    for name, turns in took.items():
        pairs = list(zip(turns, took["bare inference"], strict=True))
        faster, cheaper = (statistics.median(b[i] / t[i] for t, b in pairs) for i in (0, 1))
        wall, processor = (statistics.median(t[i] for t in turns) for i in (0, 1))
        print(
            f"| {name} | {options.faces / wall:.1f} | {faster:.2f} "
            f"| {1e3 * processor / options.faces:.2f} | {cheaper:.2f} |"
        )


if __name__ == "__main__":
    main()
