"""Guests: real people, in photographs or clips, who appear as themselves and are not imitated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tfforensics import video
from tfforensics.clips import VIDEO_SUFFIXES
from tfforensics.command import UsageError
from tfforensics.demo import photograph
from tfforensics.demo.film import COMMENT, ORIGINAL, Role, Take, film
from tfforensics.demo.video import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfforensics.detection import FaceDetector


def find(folder: Path) -> list[Path]:
    """The photographs and clips in a folder and below, in the order of their paths.

    Raises:
        UsageError: it is no folder, or there is none in it.
    """
    suffixes = photograph.SUFFIXES + VIDEO_SUFFIXES
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise UsageError(
            f"guests: expected a folder of photographs or clips ({', '.join(suffixes)}), "
            f"one person each, got {folder}"
        )
    return found


def appear(
    path: Path, number: str, shown: Path, take: Take, detector: Callable[[], FaceDetector]
) -> None:
    """Writes a guest's only clip: a photograph is animated, a clip is filmed off.

    Args:
        path: the clip to write.
        number: the guest's.
        shown: the photograph or clip of the guest.
        take: length, size and seed; a shorter clip stays as short as it is.
        detector: gives the one that finds the face in a photograph.

    Raises:
        DataError: the file cannot be read, or a photograph shows no face.
    """
    if shown.suffix.lower() in VIDEO_SUFFIXES:
        with Writer(path, size=take.size, fps=take.fps, comment=COMMENT) as writer:
            for image in _frames(shown, take):
                writer.add(image)
    else:
        size = round(photograph.SCALE * take.size)
        role = Role(number, photograph.load(shown, detector(), size), take)
        film({ORIGINAL: path}, role, role, take)


def _frames(shown: Path, take: Take) -> Iterator[np.ndarray]:
    """The clip from its start at the take's rate, the square in its middle scaled to size."""
    with video.open_video(shown) as clip:
        every = max(1.0, clip.rate / take.fps)
        wanted = [round(every * i) for i in range(take.frames)]
        for frame in clip.read([index for index in wanted if index < clip.frames]):
            height, width = frame.pixels.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = frame.pixels[top : top + side, left : left + side]
            interpolation = cv2.INTER_AREA if side > take.size else cv2.INTER_CUBIC
            yield cv2.resize(square, (take.size, take.size), interpolation=interpolation)
