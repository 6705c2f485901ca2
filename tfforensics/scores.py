"""What a detector said about the faces of a split, and about their videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from tfforensics.command import DataError, UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Scores:
    """What one detector said about one split: aligned arrays, one entry a face.

    Args:
      split: the split that all of them come from, such as "val"; calibration asks for it.
      probability: (N,) P(manipulated), 0 to 1. Take the sigmoid in float64: in float32 it
        rounds every logit above 17 to 1, and ties are counted as half.
      label: (N,) 1 = manipulated, 0 = real.
      clip: (N,) such as "000" or "000_003".
      manipulation: (N,) such as "Deepfakes"; that of real faces may be anything.
      level: (N,) such as "c23".
      target: (N,) the original that the face was made from, "" where unknown.
      source: (N,) the original that was put into it, "" for real faces or where unknown.

    Raises:
      DataError: a probability that is not in [0, 1] (NaN included) or a label not 0 or 1.
      ValueError: arrays of different lengths.
    """

    split: str
    probability: Floats
    label: Ints
    clip: Strings
    manipulation: Strings
    level: Strings
    target: Strings
    source: Strings

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            kind = {"probability": np.float64, "label": np.int64}.get(name, np.str_)
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
            if getattr(self, name).shape != (len(self.probability),):
                raise ValueError(
                    f"{name} must have the shape of probability, ({len(self.probability)},), "
                    f"not {getattr(self, name).shape}"
                )
        for name, bad, expected in (
            ("probability", ~((self.probability >= 0) & (self.probability <= 1)), "in [0, 1]"),
            ("label", (self.label != 0) & (self.label != 1), "0 or 1"),
        ):
            if bad.any():
                at = int(bad.argmax())
                raise DataError(
                    f"{self.manipulation[at]}/{self.level[at]}, clip {self.clip[at]}: "
                    f"{name} must be {expected}, not {getattr(self, name)[at]}"
                )

    def __len__(self) -> int:
        return len(self.probability)

    @property
    def levels(self) -> list[str]:
        """The levels, in the order of their first face."""
        return list(dict.fromkeys(self.level.tolist()))

    @property
    def manipulations(self) -> list[str]:
        """The manipulations of the manipulated faces, in the order of their first face."""
        return list(dict.fromkeys(self.manipulation[self.label == 1].tolist()))

    def take(self, rows: npt.NDArray[np.generic]) -> Scores:
        """The rows of a mask (N,) bool or of indices (K,) int."""
        return Scores(self.split, **{name: getattr(self, name)[rows] for name in _COLUMNS})

    def at_level(self, level: str) -> Scores:
        """The faces of one level; UsageError where there is none."""
        if level not in self.levels:
            raise UsageError(f"level: expected one of {', '.join(self.levels)}, not {level!r}")
        return self.take(self.level == level)

    def against(self, manipulation: str) -> Scores:
        """All real faces and those of one manipulation; UsageError where there is none."""
        if manipulation not in self.manipulations:
            raise UsageError(
                f"manipulation: expected one of {', '.join(self.manipulations)}, "
                f"not {manipulation!r}"
            )
        return self.take((self.label == 0) | (self.manipulation == manipulation))

    def videos(self) -> Scores:
        """One entry a video: the mean probability of its frames.

        A video is a (clip, manipulation, level). The clip alone does not name one: the four
        manipulations of a target share the clip "000_003", and their mean would be one video
        that nobody made, easier to tell than the four it hides.

        Raises:
          DataError: the frames of a video have both labels.
        """
        code = np.zeros(len(self), np.int64)
        for column in (self.manipulation, self.level, self.clip):
            names, index = np.unique(column, return_inverse=True)
            code = code * len(names) + index
        _, first, video, frames = np.unique(
            code, return_index=True, return_inverse=True, return_counts=True
        )
        positives = np.bincount(video, self.label, len(first))
        mixed = (positives > 0) & (positives < frames)
        if mixed.any():
            at = first[mixed.argmax()]
            raise DataError(
                f"{self.manipulation[at]}/{self.level[at]}, clip {self.clip[at]}: "
                "its frames must have one label, not both"
            )
        columns = {name: getattr(self, name)[first] for name in _COLUMNS}
        columns["probability"] = np.bincount(video, self.probability, len(first)) / frames
        return Scores(self.split, **columns)


_COLUMNS = tuple(field.name for field in fields(Scores) if field.name != "split")


def concatenate(parts: Sequence[Scores]) -> Scores:
    """The parts' faces, one part after the other; ValueError where their splits differ."""
    splits = {part.split for part in parts}
    if len(splits) != 1:
        raise ValueError(f"parts: expected scores of one split, not of {sorted(splits)}")
    return Scores(
        splits.pop(),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS},
    )
