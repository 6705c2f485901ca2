"""What benchmarks share that set processes against each other: one that does what it is told.

Each thing that is measured has a process of its own, and an interpreter of its own where it needs
one (nothing beyond the standard library is imported here). They run in turns, so that whatever else
the machine does meets all alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

Run = Callable[[], object]
Rounds = list[tuple[float, float]]

PYTORCH = "PyTorch"
# glibc gives memory back after every layer and gets it anew, at 54,000 page faults a face for B4 at
# 224 px and batch 16; PyTorch is measured without that, too.
KEPT = "PyTorch, memory kept"
KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}


def work(runs: Mapping[str, Run]) -> None:
    """Runs the task that each line of the input names; answers with wall and processor seconds."""
    for line in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        runs[line.strip()]()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        print("seconds", wall, processor, flush=True)


class Worker:
    """A process that ends in `work`.

    Args:
        name: to name in the table.
        command: that starts it.
        environment: what it gets beside this process's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **(environment or {})},
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
        raise RuntimeError(f"{self.name} ended before it answered")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def peers(command: Sequence[str]) -> list[Worker]:
    """PyTorch as it comes, and keeping its memory."""
    return [Worker(PYTORCH, command), Worker(KEPT, command, KEEPING)]


def in_turns(workers: Sequence[Worker], task: str, rounds: int) -> dict[str, Rounds]:
    """Wall and processor seconds by worker and round, (rounds, 2), after two to warm up."""
    seconds: dict[str, Rounds] = {worker.name: [] for worker in workers}
    for turn in range(rounds + 2):
        for worker in workers:
            took = worker.run(task)
            if turn >= 2:
                seconds[worker.name].append(took)
    return seconds


def lines(images: int, took: Mapping[str, Rounds]) -> Iterator[str]:
    """A line of a table for each worker: medians over the rounds, by wall and processor time.

    Images a second, images for each second of a core, and the same over PyTorch's that keeps its
    memory, if that ran, with quartiles of the ratios within a round.
    """
    for name, rounds in took.items():
        columns = list(zip(*rounds, strict=True))
        speeds = [images / statistics.median(column) for column in columns]
        line = f"{name:20}" + "".join(f" {speed:8.2f}" for speed in speeds)
        if KEPT in took and name != KEPT:
            for theirs, ours in zip(zip(*took[KEPT], strict=True), columns, strict=True):
                ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
                line += f"  {middle:6.2f} ({low:.2f} to {high:.2f})"
        yield line
