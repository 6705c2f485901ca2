"""What benchmarks share that set processes against each other: one that does what it is told.

Each thing that is measured has a process of its own, and an interpreter of its own where it needs
one. They run in turns, so that whatever else the machine does meets all alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Run = Callable[[], object]


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
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
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
        raise RuntimeError(f"{self.name} ended before it answered")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def in_turns(workers: Sequence[Worker], task: str, rounds: int) -> dict[str, np.ndarray]:
    """Wall and processor seconds by worker and round, (rounds, 2), after two to warm up."""
    seconds: dict[str, list[tuple[float, float]]] = {worker.name: [] for worker in workers}
    for turn in range(rounds + 2):
        for worker in workers:
            took = worker.run(task)
            if turn >= 2:
                seconds[worker.name].append(took)
    return {name: np.array(took) for name, took in seconds.items()}
