"""Images and videos -> square crops that each show one person's face."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tfforensics.detection import Face
from tfforensics.media import LIMITS, Limits, Pixels, kind_of, read_head, read_image
from tfforensics.tracking import FaceFinder, Track, link, persistent, smooth_sides
from tfforensics.video import Frame, evenly_spaced, open_video

__all__ = ["Crop", "Extraction", "FaceFinder", "crop_face", "extract", "square_about"]

Square = tuple[int, int, int, int]

# The frames of a video are decoded once for finding faces and once for cropping them, unless
# they fit into this many bytes.
_HELD = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Crop:
    """A square cut about one face.

    Attributes:
      frame: number of the frame in the file, from 0.
      track: 0 for the foremost person of the file, 1 for the next, ...
      pixels: RGB uint8 (size, size, 3).
      box: x, y, width, height of the square in pixels of the frame, before it was resized;
        it may reach beyond the frame. The face's box times the margin, not the face's box.
      confidence: the detector's, in (0.8, 1].
      padded: share of the crop's area that lay outside the frame, in [0, 1].
      landmarks: float32 (5, 2), x and y in pixels of the crop; see `detection.Face`.
    """

    frame: int
    track: int
    pixels: Pixels
    box: Square
    confidence: float
    padded: float
    landmarks: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Extraction:
    """What a file gave.

    Attributes:
      asked: frames that were to be read: `frames`, or all where the file has fewer.
      crops: by frame, then by track.
      skipped: how many of the frames that were asked for gave no crop, by reason:
        "undecodable", or "no-face" where the wanted person (or anybody) is not found. No box
        is ever made up from the frames about it.
    """

    asked: int
    crops: tuple[Crop, ...]
    skipped: dict[str, int]


def extract(
    path: Path,
    finder: FaceFinder,
    *,
    frames: int = 32,
    margin: float = 1.3,
    size: int = 380,
    every: bool = False,
    limits: Limits = LIMITS,
) -> Extraction:
    """Cuts the faces out of an image or a video; which of both it is, its content says.

    Args:
      frames: how many frames of a video, evenly spaced (`video.evenly_spaced`).
      margin: side of the square over the longer side of the face's box, as
        `tracking.smooth_sides` has it.
      size: side of the crops in pixels.
      every: all tracks that last (`tracking.persistent`), not the foremost alone.

    Raises:
      MediaError: nothing in the file can be read. A file without faces is none: it gives no
        crops.
      ValueError: `frames`, `margin` or `size` is not positive.
    """
    if frames < 1:
        raise ValueError(f"frames: expected at least 1, got {frames}")
    if margin <= 0:
        raise ValueError(f"margin: expected more than 0, got {margin}")
    if size < 1:
        raise ValueError(f"size: expected at least 1, got {size}")

    def cut(asked: int, decoded: Callable[[], Iterable[Frame]]) -> Extraction:
        found = list(finder.find(frame.pixels for frame in decoded()))
        tracks = persistent(link(found), len(found))[: None if every else 1]
        crops = list(_crops(decoded(), tracks, margin, size))
        shown = len({crop.frame for crop in crops})
        skipped = {"undecodable": asked - len(found), "no-face": len(found) - shown}
        return Extraction(asked, tuple(crops), {why: n for why, n in skipped.items() if n})

    if kind_of(read_head(path)) == "image":
        image = Frame(0, read_image(path, limits))
        return cut(1, lambda: [image])
    with open_video(path, limits) as video:
        indices = evenly_spaced(video.frames, frames)
        if len(indices) * video.width * video.height * 3 > _HELD:
            return cut(len(indices), lambda: video.read(indices))
        held = list(video.read(indices))
        return cut(len(indices), lambda: held)


def square_about(face: Face, side: float) -> Square:
    """The square of that side about the centre of a face's box, in whole pixels."""
    x, y, width, height = face.box
    whole = max(1, round(side))
    return round(x + (width - whole) / 2), round(y + (height - whole) / 2), whole, whole


def crop_face(image: Pixels, box: Square, size: int) -> tuple[Pixels, float]:
    """Cuts a square out of an image and resizes it.

    Beyond the border, the image's outermost pixels are repeated. Shrinking takes the mean
    over a pixel's area, growing interpolates by cubics.

    Returns:
      uint8 (size, size, 3), and the share of its area that lay beyond the border.
    """
    x, y, width, height = box
    rows, columns = image.shape[:2]
    left, right = (min(max(at, 0), columns) for at in (x, x + width))
    top, bottom = (min(max(at, 0), rows) for at in (y, y + height))
    padded = 1 - (right - left) * (bottom - top) / (width * height)
    if padded:
        inside = np.ix_(
            np.clip(np.arange(y, y + height), 0, rows - 1),
            np.clip(np.arange(x, x + width), 0, columns - 1),
        )
        region = image[inside]
    else:
        region = image[top:bottom, left:right]
    by = cv2.INTER_AREA if size < width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(region, (size, size), interpolation=by), np.uint8), padded


def _crops(
    frames: Iterable[Frame], tracks: Sequence[Track], margin: float, size: int
) -> Iterator[Crop]:
    sides = [smooth_sides(track) for track in tracks]
    for position, frame in enumerate(frames):
        for number, track in enumerate(tracks):
            if position not in track:
                continue
            face = track[position]
            box = square_about(face, margin * sides[number][position])
            pixels, padded = crop_face(frame.pixels, box, size)
            # A pixel's centre is half a pixel from its corner, before and after.
            corner = np.array(box[:2], np.float32) - 0.5
            landmarks = (face.landmarks - corner) * np.float32(size / box[2]) - 0.5
            yield Crop(frame.index, number, pixels, box, face.confidence, padded, landmarks)
