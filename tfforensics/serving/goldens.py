"""Faces that travel with a model, and the answers that it gave where it was exported.

They are drawn by a program: nobody's likeness is shipped. They come in the formats, sizes and
JPEG levels that a client sends, so that a replay covers decoding and resizing too.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tfforensics import jpeg
from tfforensics.command import DataError
from tfforensics.demo.portrait import draw

FOLDER = "assets/goldens"
TOLERANCE = 1e-4  # of an answer, relative to 1 or to its own size, whichever is larger
Answers = Mapping[str, np.ndarray]


def faces(size: int) -> dict[str, bytes]:
    """Files of drawn faces by name, for a network of this input size; the same each time."""
    larger, smaller = size + size // 2, size // 2 + 1

    def face(seed: int, side: int) -> np.ndarray:
        return draw(np.random.default_rng(seed), side).image

    def saved(pixels: np.ndarray, file_format: str) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, file_format)
        return out.getvalue()

    return {
        "c0.jpg": jpeg.encode_canonical(face(0, size)),
        "c40.jpg": jpeg.encode(face(1, size), jpeg.quality_of("c40")),
        "c90.jpg": jpeg.encode(face(2, size), jpeg.quality_of("c90")),
        "lossless.png": saved(face(3, size), "PNG"),
        "larger-c23.jpg": jpeg.encode(face(4, larger), jpeg.quality_of("c23")),
        "larger.png": saved(face(5, larger), "PNG"),
        "smaller.jpg": jpeg.encode_canonical(face(6, smaller)),
        "grey.jpg": saved(face(7, size)[..., 1], "JPEG"),
    }


def write(folder: Path, files: Mapping[str, bytes], answers: Answers) -> None:
    """Writes the faces and the answers (F, ...), in the order of the faces, below a version."""
    place = folder / FOLDER
    place.mkdir(parents=True)
    for name, contents in files.items():
        (place / name).write_bytes(contents)
    for name, values in answers.items():
        np.save(place / f"{name}.npy", values)
    described = {"faces": list(files), "answers": sorted(answers)}
    (place / "goldens.json").write_text(json.dumps(described, indent=1) + "\n")


def read(folder: Path) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """The faces and answers of a version.

    Raises:
        DataError: they are missing or damaged.
    """
    place = folder / FOLDER
    try:
        described = json.loads((place / "goldens.json").read_text())
        files = {str(name): (place / str(name)).read_bytes() for name in described["faces"]}
        answers = {
            str(name): np.load(place / f"{name}.npy", allow_pickle=False)
            for name in described["answers"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: cannot be read: {error}") from error
    return files, answers


def differences(expected: Answers, found: Answers, names: list[str]) -> list[str]:
    """Where answers differ by more than TOLERANCE, or in kind; one line each.

    Args:
        names: of the faces, for the lines.
    """
    lines = []
    for key in sorted(expected.keys() | found.keys()):
        if key not in expected or key not in found:
            lines.append(f"{key}: {'not expected' if key in found else 'missing'}")
            continue
        ours, theirs = np.asarray(expected[key], np.float64), np.asarray(found[key], np.float64)
        if ours.shape != theirs.shape:
            lines.append(f"{key}: expected the shape {ours.shape}, got {theirs.shape}")
            continue
        error = np.abs(theirs - ours) / np.maximum(1, np.abs(ours))
        error = error.reshape(len(names), -1).max(axis=1)
        lines += [
            f"{key} of {name}: off by {size:.2g}, expected at most {TOLERANCE:g}"
            for name, size in zip(names, error, strict=True)
            if not size <= TOLERANCE
        ]
    return lines
