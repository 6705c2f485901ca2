"""Answers -> calls with intervals, by person and by file.

A person's probability is the mean over the frames in which they are seen, as a video's score
is in `evaluate`; a file's is that of its likeliest person, for one manipulated face makes a
manipulated file. With many people the likeliest of them is high by chance, too.

The interval has two parts. Frames of one video are alike, so they are not redrawn one by one
but in blocks of about the square root of their number (circular block bootstrap, 95%). And the
probability means no more than the validation videos on which it was calibrated can tell: each
end is moved outwards to the end of the Wilson interval of a share among that many videos. It
says nothing of media unlike those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from tfforensics.calibration import FEWEST_VIDEOS, Calibration
from tfforensics.judging.pictures import Picture

Call = Literal[
    "manipulated", "not manipulated", "cannot tell", "no face found", "could not be read"
]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

# Faces with fewer pixels across than this are not called, whatever the model answers.
SMALLEST = 48
_RESAMPLES = 1000
_FEWEST_FRAMES = 4
_Z = 1.959964  # of 95%


@dataclass(frozen=True)
class Thresholds:
    """Where a probability becomes a call.

    Attributes:
        real_below: "not manipulated" below it.
        manipulated_from: "manipulated" from it; in between, "cannot tell".
        videos: on which they and the probability were fitted; 0 where nothing was.
    """

    real_below: float = 0.5
    manipulated_from: float = 0.5
    videos: int = 0

    def call(self, probability: float) -> Call:
        if probability >= self.manipulated_from:
            return "manipulated"
        return "not manipulated" if probability < self.real_below else "cannot tell"


@dataclass(frozen=True)
class Stage:
    """What is said of the same faces, re-encoded.

    Attributes:
        quality: of the encoding; None of the faces as they are.
    """

    quality: int | None
    probability: float
    call: Call


@dataclass(frozen=True, eq=False)
class Person:
    """One track of a file.

    Attributes:
        number: 0 for the foremost.
        call, probability, interval: over its frames; the interval is None where there is
            neither a calibration nor enough frames.
        reason: why it is not called although it could be; otherwise empty.
        side: median side of the face in pixels of the file.
        frames: (N,) numbers of its frames.
        seconds: (N,) their times; zeros where the frame rate is not known.
        probabilities: (N,) of each.
        pictures: of some of its frames; empty where nobody asked.
    """

    number: int
    call: Call
    probability: float
    interval: Interval | None
    reason: str
    side: float
    frames: npt.NDArray[np.int64]
    seconds: Floats
    probabilities: Floats
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is said of a file.

    Attributes:
        kind: "image", "video" or "".
        reason: what there is to say beside the call, such as why it could not be read.
        quality: 1 to 100, see `subject.Subject`; None without a trace of JPEG.
        frames: that were looked at.
        deciding: the person whose probability is the file's; None where there is nobody.
        stages: the deciding person's faces as they are, then at lower and lower qualities.
    """

    path: Path
    kind: str
    call: Call
    reason: str = ""
    quality: int | None = None
    frames: int = 0
    people: tuple[Person, ...] = ()
    deciding: Person | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    stages: tuple[Stage, ...] = ()

    @property
    def faces(self) -> int:
        return sum(len(person.frames) for person in self.people)

    @property
    def flips_at(self) -> int | None:
        """The highest quality at which the same faces are called otherwise."""
        for stage in self.stages[1:]:
            if stage.call != self.stages[0].call:
                return stage.quality
        return None


def thresholds(calibration: Calibration | None, quality: int | None) -> Thresholds:
    """Those of a JPEG quality; one half where nothing was fitted."""
    if calibration is None:
        return Thresholds()
    band = [b for b in calibration.bands if b.lowest <= (quality or 100)][-1]
    # A band without videos of its own is a copy of another; it is then known least.
    return Thresholds(band.real_below, band.manipulated_from, band.videos or FEWEST_VIDEOS)


def probabilities(
    calibration: Calibration | None, logits: npt.ArrayLike, quality: int | None
) -> Floats:
    """(N,) P(manipulated) of logits at one quality, as the served graph corrects them."""
    z = np.asarray(logits, np.float64)
    if calibration is None:
        return np.asarray(expit(z), np.float64)
    return calibration.probability(z, np.full(len(z), quality or 100))


def interval(values: Floats, videos: int, seed: int = 0) -> Interval | None:
    """The 95% interval of the mean of a person's probabilities; see the module.

    Args:
        values: (N,) in order of time.
        videos: on which the calibration rests; 0 for none.

    Returns:
        None where there are fewer than 4 frames and no calibration: nothing is known of it.
    """
    count = len(values)
    low = high = float(values.mean())
    if count >= _FEWEST_FRAMES:
        length = int(np.ceil(np.sqrt(count)))
        blocks = -(-count // length)
        starts = np.random.default_rng(seed).integers(0, count, (_RESAMPLES, blocks, 1))
        drawn = values[(starts + np.arange(length)) % count].reshape(_RESAMPLES, -1)[:, :count]
        low, high = (float(q) for q in np.quantile(drawn.mean(axis=1), (0.025, 0.975)))
    elif not videos:
        return None
    return (wilson(low, videos)[0], wilson(high, videos)[1]) if videos else (low, high)


def wilson(share: float, count: int) -> Interval:
    """The 95% interval of a share among `count` (E. B. Wilson, 1927)."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    spread = np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    half = float(_Z * spread / (1 + _Z**2 / count))
    return max(0.0, middle - half), min(1.0, middle + half)


def of_people(people: tuple[Person, ...]) -> tuple[Call, Person | None]:
    """A file's call and the person who decides it."""
    if not people:
        return "no face found", None
    for call in ("manipulated", "cannot tell", "not manipulated"):
        called = [person for person in people if person.call == call]
        if called:
            return called[0].call, max(called, key=lambda person: person.probability)
    raise AssertionError("people are always called")
