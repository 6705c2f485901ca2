"""Faces over the frames of a video: found in each, then linked person by person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from tfforensics.detection import Face, FaceDetector
from tfforensics.media import Pixels

Track = dict[int, Face]
"""One person: the number of the frame among those given -> the face there, ascending."""

# Shares of a frame's shorter side: the smallest face that is looked for beside larger ones,
# and the smallest of all. At 720 pixels the latter is the least that the networks can see.
_SMALL, _SMALLEST = 1 / 15, 1 / 36
# From one searched frame to the next, a face grows or shrinks by less than this factor.
_GROWTH = 1.4
# How unlike two sightings of one person may be (`_unlikeness`).
_UNLIKE = 1.5


class FaceFinder:
    """Finds the faces in the frames of a video at a fraction of the cost of searching each.

    Every `every`-th frame is searched for faces from a fifteenth of its height up. The frames
    between are searched for faces between the smallest and the largest of the two frames
    about them, at any place: whoever stays in view is found wherever they go, and faces of a
    fifth of the height cost a twentieth of a search for all. A frame with fewer such faces
    than the one before it, or with none, is then searched for faces of all sizes.
    """

    def __init__(self, *, every: int = 16) -> None:
        """Imports TensorFlow and reads the networks' weights.

        Raises:
          ValueError: `every` is not positive.
        """
        if every < 1:
            raise ValueError(f"every: expected at least 1, got {every}")
        self._every = every
        self._detector = FaceDetector()

    def find(self, frames: Iterable[Pixels]) -> Iterator[list[Face]]:
        """The faces of each frame, most confident first.

        Args:
          frames: RGB uint8 (H, W, 3), in order of time; at most `every` of them are held.
        """
        frames = iter(frames)
        before: list[Face] | None = None
        while block := list(islice(frames, self._every)):
            *between, last = block
            (ahead,) = self._detector.detect([last], min(last.shape[:2]) * _SMALL)
            sides = [face.side for face in [*(before or []), *ahead]] or [0]
            low, high = min(sides) / _GROWTH, max(sides) * _GROWTH
            found = [*self._detector.detect(between, low, high), ahead]
            before = ahead if before is None else before
            for frame, faces in zip(block, found, strict=True):
                expected = sum(face.side >= low for face in before)
                before = faces
                if len(faces) < max(1, expected):
                    (others,) = self._detector.detect([frame], min(frame.shape[:2]) * _SMALLEST)
                    before = max(faces, others, key=len)
                yield before


def link(found: Sequence[Sequence[Face]]) -> list[Track]:
    """Links the faces of successive frames into tracks, each of one person.

    In each frame the most alike pairs of a track's last face and a new face are joined first;
    a face that is like no track begins one. A track may have gaps of any length.

    Args:
      found: the faces of each frame, in order of time.
    """
    tracks: list[Track] = []
    last: list[Face] = []
    for position, faces in enumerate(found):
        unlike = _unlikeness(last, faces)
        pairs = np.argwhere(unlike <= _UNLIKE)
        pairs = pairs[np.argsort(unlike[tuple(pairs.T)], kind="stable")]
        track_of: dict[int, int] = {}
        for track, number in pairs.tolist():
            if number not in track_of and track not in track_of.values():
                track_of[number] = track
        for number, face in enumerate(faces):
            if number in track_of:
                tracks[track_of[number]][position] = face
                last[track_of[number]] = face
            else:
                tracks.append({position: face})
                last.append(face)
    return tracks


def persistent(tracks: Iterable[Track], frames: int) -> list[Track]:
    """The tracks that last, foremost first.

    In 4 frames or more, a face that is seen in one only is taken for a false one, and in more
    than 32 one that is seen in less than a sixteenth. The foremost track is the largest and
    the longest: that with the greatest sum of sides over its faces.

    Args:
      frames: how many frames have been searched.
    """
    least = 1 if frames < 4 else max(2, math.ceil(frames / 16))
    lasting = [track for track in tracks if len(track) >= least]
    return sorted(lasting, key=lambda track: -sum(face.side for face in track.values()))


def smooth_sides(track: Track) -> dict[int, float]:
    """Each face's side, as the median of five sightings: two before, its own, two after.

    At the ends of the track there are fewer. Sizes, not places, are what a detector is unsure
    of: with the face's own centre and a steady side, crops neither pulsate nor lag.
    """
    sides = [face.side for face in track.values()]
    return {
        position: float(np.median(sides[max(0, at - 2) : at + 3]))
        for at, position in enumerate(track)
    }


def _unlikeness(old: Sequence[Face], new: Sequence[Face]) -> np.ndarray:
    """(old, new): distance of centres in mean sides, plus the difference of sides in octaves."""
    first, second = (
        np.array([(*_centre(face), face.side) for face in faces]).reshape(-1, 3)
        for faces in (old, new)
    )
    first, second = first[:, None], second[None, :]
    distance = np.hypot(*np.moveaxis(first - second, 2, 0)[:2])
    mean = (first[..., 2] + second[..., 2]) / 2
    return distance / mean + np.abs(np.log2(first[..., 2] / second[..., 2]))


def _centre(face: Face) -> tuple[float, float]:
    x, y, width, height = face.box
    return x + width / 2, y + height / 2
