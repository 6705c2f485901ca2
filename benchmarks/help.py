"""How long does each command take to answer `--help`?

    python benchmarks/help.py [--rounds 7]

Every command is started afresh, in turns. Wall time from start to end, and the processor time
that it took, which does not depend on other load; medians, and the range of the wall time.
Asked for is at most half a second.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time

from tfforensics.__main__ import COMMANDS

Took = tuple[float, float]


def answer(module: str) -> Took:
    """Wall and processor seconds of one start."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", module, "--help"], check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, os.times()
    spent = after.children_user + after.children_system
    return wall, spent - before.children_user - before.children_system


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    modules = ["tfforensics", *(f"tfforensics.{name}" for name in COMMANDS)]
    took: dict[str, list[Took]] = {module: [] for module in modules}
    for turn in range(rounds + 1):
        for module in modules:
            one = answer(module)
            if turn:  # the first reads the files from the disk
                took[module].append(one)
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"{'seconds':<28}{'wall':>7}{'least':>7}{'most':>7}{'processor':>11}")
    for module, found in took.items():
        wall, processor = zip(*found, strict=True)
        print(
            f"{module:<28}{statistics.median(wall):>7.2f}{min(wall):>7.2f}{max(wall):>7.2f}"
            f"{statistics.median(processor):>11.2f}"
        )


if __name__ == "__main__":
    main()
