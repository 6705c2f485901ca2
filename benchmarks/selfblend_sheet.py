"""Do self-blended faces look like faces that somebody manipulated?

    python benchmarks/selfblend_sheet.py sheet.jpg --portraits DIR [--faces 6] [--seed 0]

Writes one picture: a row a face, three times the face around, the blend, and the blend's mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from tfforensics import command
from tfforensics.demo import photograph

SIDE, TIMES = 160, 3


def main() -> None:
    """Draws the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--faces", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics import selfblend
    from tfforensics.faces import FaceFinder, extract

    finder = FaceFinder()
    found = photograph.find(options.portraits)
    rows = []
    for number, path in enumerate(found[:: max(1, len(found) // options.faces)][: options.faces]):
        crops = extract(path, finder, size=SIDE).crops
        if not crops:
            continue
        image, landmarks = tf.constant(crops[0].pixels), tf.constant(crops[0].landmarks, tf.float32)
        row = []
        for time in range(TIMES):
            seed = tf.constant([options.seed, number * TIMES + time])
            face = selfblend.around(image, seed)
            mixed, mask = selfblend.with_mask(face, image, landmarks, seed)
            grey = np.uint8(np.round(255 * mask.numpy()))
            row += [face.numpy(), mixed.numpy(), np.repeat(grey[..., None], 3, axis=-1)]
        rows.append(np.hstack(row))
    cv2.imwrite(str(options.out), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    print(f"{options.out}: {TIMES} times the face around, the blend, its mask")


if __name__ == "__main__":
    main()
