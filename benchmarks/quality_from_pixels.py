"""How well is a JPEG quality estimated from decoded pixels?

    python benchmarks/quality_from_pixels.py FOLDER [--size 380]

FOLDER holds photographs; the middle square of each is resized, so that no earlier compression
is left on the grid, compressed once, decoded, and judged.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tfforensics import jpeg, quality

QUALITIES = (100, 98, 95, 90, 77, 60, 40, 15, 10, 5)


def crop(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        side = 0.6 * min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box)
        return np.asarray(resized)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=380)
    args = parser.parse_args()
    crops = [crop(path, args.size) for path in sorted(args.folder.rglob("*.jpg"))]
    print(f"{len(crops)} crops of {args.size} px")
    print("| encoder | quality | mean absolute error | exact | no trace | ms |")
    print("|---|---|---|---|---|---|")
    unseen = sum(quality.from_pixels(pixels) is None for pixels in crops)
    print(f"| none | | | | {unseen} | |")
    for encoder in jpeg.ENCODERS:
        for asked in QUALITIES:
            decoded = [jpeg.decode(jpeg.encode(pixels, asked, encoder)) for pixels in crops]
            start = time.perf_counter()
            found = [quality.from_pixels(pixels) for pixels in decoded]
            milliseconds = 1000 * (time.perf_counter() - start) / len(crops)
            errors = [abs(estimate.quality - asked) for estimate in found if estimate]
            mean = f"{np.mean(errors):.2f}" if errors else "-"
            print(
                f"| {encoder} | {asked} | {mean} | {errors.count(0)} | "
                f"{found.count(None)} | {milliseconds:.1f} |"
            )


if __name__ == "__main__":
    main()
