"""How long until training takes its first step?

    python benchmarks/first_step.py [--rounds 3]

Starts `python -m tfforensics.train` on the demo's configuration, as a user does, and waits for
the first line that says `step`. Once with nothing there, so that the demo's videos and records are
made first, then again in turns with the records there, each in a run directory of its own. Wall
time from the start of the process, and the processor time of it and the processes it has ended.
Asked for are at most 25 seconds.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tfforensics import command

TICKS = os.sysconf("SC_CLK_TCK")


def first_step(folder: Path, run: str) -> tuple[float, float]:
    """Wall and processor seconds to the first step."""
    arguments = ["--data.records", str(folder / "demo"), "--workdir", str(folder / run)]
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tfforensics.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("step "):
            break
    else:
        raise SystemExit(f"no step was taken:\n{''.join(said)}")
    wall = time.perf_counter() - begin
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    processor = sum(map(int, fields[11:15])) / TICKS
    process.send_signal(signal.SIGTERM)
    process.communicate()
    return wall, processor


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as temporary:
        found = [first_step(Path(temporary), f"run{n}") for n in range(rounds + 1)]
    load = os.getloadavg()[0]
    print(
        f"{datetime.date.today()}, {platform.machine()}, {command.cores()} cores, load {load:.1f}"
    )
    print(f"{'seconds to the first step':<28}{'wall':>7}{'least':>7}{'most':>7}{'processor':>11}")
    for name, took in (("nothing there", found[:1]), ("records there", found[1:])):
        wall, processor = zip(*took, strict=True)
        print(
            f"{name:<28}{statistics.median(wall):>7.1f}{min(wall):>7.1f}{max(wall):>7.1f}"
            f"{statistics.median(processor):>11.1f}"
        )


if __name__ == "__main__":
    main()
