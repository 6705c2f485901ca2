"""Do the drawn faces look like faces, and the imitations like what they are named for?

    python benchmarks/demo_sheet.py sheet.png [--pairs 6] [--seed 0] [--portraits DIR]

Writes one picture: a row a pair, with the source, the target, and the target's four
imitations at one moment, before light, noise and encoding.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from tfforensics.demo import photograph
from tfforensics.demo.film import Role, Take, shots
from tfforensics.demo.imitate import IMITATIONS, sample_style
from tfforensics.demo.portrait import Portrait, draw

SIZE, MOMENT = 352, 6


def row(target: Role, source: Role, take: Take) -> np.ndarray:
    """Source, target and imitations side by side, (SIZE, 6 * SIZE, 3) uint8 RGB."""
    shot = list(shots(target, source))[MOMENT]
    images = [shot.source.image, shot.scene.image]
    for name, imitate in IMITATIONS.items():
        rng = take.random(target.number, name)
        images.append(imitate(shot, sample_style(rng), rng))
    return np.hstack(images)


def main() -> None:
    """Draws the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portraits", type=Path, help="folder of photographs (default: drawn)")
    options = parser.parse_args()
    take = Take(seconds=(MOMENT + 1) / 12, fps=12, size=SIZE, seed=options.seed)
    side = round(1.25 * SIZE)
    portraits: list[Portrait]
    if options.portraits is None:
        portraits = [draw(take.random(str(i), "portrait"), side) for i in range(2 * options.pairs)]
    else:
        from tfforensics.detection import FaceDetector

        detector = FaceDetector()
        found = photograph.find(options.portraits)
        chosen = found[:: max(1, len(found) // (2 * options.pairs))][: 2 * options.pairs]
        portraits = [photograph.load(path, detector, side) for path in chosen]
    roles = [Role(str(i), portrait, take) for i, portrait in enumerate(portraits)]
    rows = [row(a, b, take) for a, b in zip(roles[::2], roles[1::2], strict=True)]
    cv2.imwrite(str(options.out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    print(f"{options.out}: source, target, {', '.join(IMITATIONS)}")


if __name__ == "__main__":
    main()
