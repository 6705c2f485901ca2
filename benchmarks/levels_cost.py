"""What do records at five MozJPEG levels cost, over c0 alone?

    python benchmarks/levels_cost.py [--clips 4] [--rounds 3]

`python -m tfforensics.records`, one worker, over 720p clips of ten seconds (those of `faces.py`,
one drawn person each), 32 frames of each, crops of 380 px: once c0 alone, once with c23, c40, c85,
c90 and c95 by MozJPEG, and once with the same levels by turbo, in turns. Processor time, which
other load does not change; the start of Python and TensorFlow is in it. Then what a crop costs at
each level, encoded in this process. Asked for is a ratio of at most 2.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from faces import LENGTH, PORTRAIT, make_clip

from tfforensics import command, jpeg
from tfforensics.demo.portrait import draw

WAYS = {
    "c0 alone": ["--levels", "c0"],
    "five levels by MozJPEG": ["--levels", *jpeg.LEVELS, "--encoder", "mozjpeg"],
    "five levels by turbo": ["--levels", *jpeg.LEVELS, "--encoder", "turbo"],
}


def write_records(root: Path, out: Path, options: list[str]) -> float:
    """Processor seconds."""
    before = os.times()
    arguments = ["--root", str(root), "--out", str(out), "--layout", "folders", "--workers", "1"]
    subprocess.run(
        [sys.executable, "-m", "tfforensics.records", *arguments, "--split-by", "clip", *options],
        check=True,
        capture_output=True,
    )
    after = os.times()
    shutil.rmtree(out)
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system


def crop_costs(crops: list[np.ndarray]) -> list[str]:
    """Milliseconds of processor time to encode a crop, a row a level."""
    rows = ["| level | MozJPEG, ms a crop | turbo, ms a crop |", "|---|---:|---:|"]
    for level in jpeg.LEVELS[1:]:
        took = []
        for encoder in ("mozjpeg", "turbo"):
            begin = time.process_time()
            for crop in crops:
                jpeg.encode(crop, jpeg.quality_of(level), encoder)
            took.append(1e3 * (time.process_time() - begin) / len(crops))
        rows.append(f"| {level} | {took[0]:.1f} | {took[1]:.1f} |")
    return rows


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "clips"
        for number in range(options.clips):
            place = root / ("A" if number % 2 else "real") / f"{number:03d}.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            portrait = draw(np.random.default_rng(number), PORTRAIT).image
            make_clip(place, [portrait], number, LENGTH)
        for _ in range(options.rounds):
            for name, levels in WAYS.items():
                took[name].append(write_records(root, Path(temporary) / "out", levels))
    print(
        f"{datetime.date.today()}, {platform.machine()}, {command.cores()} cores; "
        f"{options.clips} clips, {options.rounds} rounds"
    )
    print("| records | processor, s | over c0 alone |\n|---|---:|---:|")
    base = took["c0 alone"]
    for name, seconds in took.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
        print(f"| {name} | {statistics.median(seconds):.1f} | {ratio:.2f} |")
    print("\n".join(crop_costs([draw(np.random.default_rng(n), 380).image for n in range(6)])))


if __name__ == "__main__":
    main()
