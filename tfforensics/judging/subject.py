"""A file -> its faces, cut out as the model's card asks, and its JPEG quality."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tfforensics import quality
from tfforensics.command import DataError
from tfforensics.faces import Crop, FaceFinder, extract
from tfforensics.media import MediaError, Pixels, kind_of, read_head, read_image
from tfforensics.serving.card import CropContract
from tfforensics.video import open_video

_WINDOW = 512  # pixels about the middle in which the trace of a compression is looked for


@dataclass(frozen=True)
class Sampling:
    """How much of a video is looked at.

    Attributes:
        per_second: faces of a person, evenly spaced.
        at_most: frames of one file; a longer video is sampled more sparsely.
    """

    per_second: float = 2.0
    at_most: int = 600


@dataclass(frozen=True, eq=False)
class Subject:
    """A file and what is to be judged of it.

    Attributes:
        path: the file.
        kind: "image" or "video"; "" where it could not be read.
        error: why it could not be read; empty where it could.
        crops: the faces at the network's size, by frame, then by person.
        frames: how many were looked at.
        quality: 1 to 100, of the last JPEG compression: of a JPEG file by its tables, otherwise
            by its trace in the pixels; None where there is none, as in most videos.
        rate: frames a second of a video; 0 of an image, or where it is not known.
    """

    path: Path
    kind: str = ""
    error: str = ""
    crops: tuple[Crop, ...] = ()
    frames: int = 0
    quality: int | None = None
    rate: float = 0.0

    @property
    def pixels(self) -> Pixels:
        """The faces as uint8 (N, S, S, 3)."""
        return np.array([crop.pixels for crop in self.crops], np.uint8)


def look(path: Path, finder: FaceFinder, contract: CropContract, sampling: Sampling) -> Subject:
    """Finds everybody in a file; what is wrong with the file becomes its `error`."""
    try:
        kind = kind_of(read_head(path))
        if kind == "image":
            found, rate, frames = _quality_of_image(path), 0.0, 1
        else:
            found, rate, frames = _open_video(path, sampling)
        cut = extract(
            path, finder, frames=frames, margin=contract.margin, size=contract.size, every=True
        )
    except MediaError as error:
        return Subject(path, error=f"{error.reason} ({error.args[2]})")
    except (OSError, MemoryError, cv2.error) as error:
        return Subject(path, error=" ".join(str(error).split()) or type(error).__name__)
    seen = cut.asked - cut.skipped.get("undecodable", 0)
    return Subject(path, "image" if kind == "image" else "video", "", cut.crops, seen, found, rate)


def look_at_crop(path: Path, contract: CropContract) -> Subject:
    """A file that is a face, cut out already, as the `serving_default` signature takes it."""
    from tfforensics import degradation

    try:
        image = read_image(path)
        as_it_is = image.shape[:2] == (contract.size, contract.size)
        face = image if as_it_is else degradation.resize(image, contract.size).numpy()
    except MediaError as error:
        return Subject(path, error=f"{error.reason} ({error.args[2]})")
    except (OSError, MemoryError, cv2.error) as error:
        return Subject(path, error=" ".join(str(error).split()) or type(error).__name__)
    side = max(image.shape[:2])
    nowhere = np.zeros((5, 2), np.float32)
    crop = Crop(0, 0, face, (0, 0, side, side), 1.0, 0.0, nowhere)
    return Subject(path, "image", "", (crop,), 1, _trace(image))


def _open_video(path: Path, sampling: Sampling) -> tuple[int | None, float, int]:
    """The quality of the first frame, frames a second, and how many frames to look at."""
    with open_video(path) as video:
        rate = video.rate
        first = next(iter(video.read([0])))
        seconds = video.frames / rate if rate else 0.0
    wanted = round(seconds * sampling.per_second) if seconds else sampling.at_most
    return _trace(first.pixels), rate, min(max(wanted, 4), sampling.at_most)


def _quality_of_image(path: Path) -> int | None:
    with path.open("rb") as file:
        is_jpeg = file.read(3) == b"\xff\xd8\xff"
    if is_jpeg:
        try:
            return quality.from_file(path.read_bytes()).quality
        except DataError:
            pass  # whether it can be decoded, the decoder says
    return _trace(read_image(path))


def _trace(image: Pixels) -> int | None:
    height, width = image.shape[:2]
    if min(height, width) < 16:
        return None
    # Whole blocks from the corner, so that those of a file still start at the first pixel.
    top, left = (max((side - _WINDOW) // 2 // 8 * 8, 0) for side in (height, width))
    found = quality.from_pixels(image[top : top + _WINDOW, left : left + _WINDOW])
    return None if found is None else found.quality
