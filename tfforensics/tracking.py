"""Faces over the frames of a video: found in each, then linked person by person."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from tfforensics.detection import Face, FaceDetector
from tfforensics.media import Pixels

Track = dict[int, Face]
"""One person: the number of the frame among those given -> the face there, ascending."""

# A face of less than this share of the frame's shorter side is looked for only where there is
# no larger one, and of less than half of it never.
_SMALL = 1 / 15
# From one searched frame to the next, a face grows or shrinks by less than this factor.
_GROWTH = 1.4
# How unlike two sightings of one person may be (`_unlikeness`).
_UNLIKE = 1.5


class FaceFinder:
    """Finds the faces in the frames of a video at a fraction of the cost of searching each.

    Every `every`-th frame is searched for faces of all sizes. The frames between are searched
    for faces between the smallest and the largest of the two searched frames about them, at
    any place: whoever stays in view is found wherever they go, and a face of a fifth of the
    frame's height costs a twentieth of a whole search. Where that finds nothing, the frame is
    searched whole.
    """

    def __init__(self, *, every: int = 8) -> None:
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
        before: list[Face] = []
        while block := list(islice(frames, self._every)):
            *between, last = block
            ahead = self._search([last])[0]
            yield from self._look(between, [*before, *ahead])
            yield ahead
            before = ahead

    def _look(self, frames: Sequence[Pixels], known: Sequence[Face]) -> list[list[Face]]:
        """Searches for faces of about the sizes of those that are known."""
        if not known:
            return self._search(frames)
        sides = [face.side for face in known]
        found = self._detector.detect(frames, min(sides) / _GROWTH, max(sides) * _GROWTH)
        return _fill(found, frames, self._search)

    def _search(self, frames: Sequence[Pixels]) -> list[list[Face]]:
        """Searches for faces of all sizes."""
        if not frames:
            return []
        small = min(frames[0].shape[:2]) * _SMALL
        found = self._detector.detect(frames, small)
        return _fill(found, frames, lambda empty: self._detector.detect(empty, small / 2, small))


def _fill(
    found: Sequence[list[Face]],
    frames: Sequence[Pixels],
    search: Callable[[Sequence[Pixels]], list[list[Face]]],
) -> list[list[Face]]:
    """What was found, and what another search finds in the frames where nothing was."""
    others = iter(search([f for faces, f in zip(found, frames, strict=True) if not faces]))
    return [faces or next(others) for faces in found]


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
