"""What a detector is worth for groups of people, such as by sex, age or region.

Who belongs to which group is said by a CSV file: a column `person`, as the records name who is
seen (the target of a clip, "000"), and a column for each attribute.

    person,sex,age
    000,female,18 to 29
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfforensics import metrics, tables
from tfforensics.command import UsageError
from tfforensics.intervals import FEWEST_CLUSTERS, Interval, Resampling, interval
from tfforensics.scores import Floats, Scores

if TYPE_CHECKING:
    from tfforensics.calibrated import Calibrator

PERSON = "person"
EVERYONE = "everyone"  # in place of an attribute
Plain = dict[str, dict[str, dict[str, Any]]]  # see `plain`


@dataclass(frozen=True)
class People:
    """Who belongs to which group.

    Attributes:
        of: by attribute, then person.
    """

    of: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, path: Path) -> People:
        """A CSV file as above.

        Raises:
            UsageError: not such a file; a person twice; a person without a value.
        """
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file, restkey=""))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"people: {path}: {error}") from error
        attributes = [name for name in (rows[0] if rows else ()) if name != PERSON]
        if not attributes or PERSON not in rows[0]:
            raise UsageError(
                f"people: {path}: expected a column {PERSON!r}, at least one other and a row, got "
                f"{', '.join(rows[0]) if rows else 'no row'}"
            )
        of: dict[str, dict[str, str]] = {name: {} for name in attributes}
        for line, row in enumerate(rows, 2):
            if "" in row or not all(row.values()):
                raise UsageError(f"people: {path}, line {line}: expected a value in every column")
            if row[PERSON] in of[attributes[0]]:
                raise UsageError(f"people: {path}, line {line}: {row[PERSON]} is there twice")
            for name in attributes:
                of[name][row[PERSON]] = row[name]
        return cls(of)


@dataclass(frozen=True)
class Figure:
    """A share, 0 to 1, and its 95% interval where there are people enough for one."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Group:
    """The figures of a group at one level, of videos.

    Attributes:
        people: who are seen in real or manipulated videos.
        videos: of both kinds.
        auc: its real videos against its manipulated ones; None where one kind is missing.
        false_alarms: share of its real videos that are called manipulated.
        abstained: share of all its videos that are called neither.
    """

    people: int
    videos: int
    auc: Figure | None
    false_alarms: Figure | None
    abstained: float


def measure(
    scores: Scores, calibrator: Calibrator, people: People, resampling: Resampling
) -> dict[tuple[str, str, str], Group]:
    """The figures of everyone and of each group, by (attribute, group, level).

    A video's probability is the mean of the corrected ones of its faces, and it is called by
    the thresholds of its level, as `predict` does.

    Raises:
        UsageError: someone who is seen belongs to no group.
    """
    corrected = calibrator.probabilities(scores).videos()
    calls = calibrator.calls_of(corrected)
    person = np.where(corrected.target == "", corrected.clip, corrected.target)
    found = {}
    everyone = {EVERYONE: dict.fromkeys(person.tolist(), "all")}
    for attribute, of in {**everyone, **people.of}.items():
        missing = sorted(set(person.tolist()) - of.keys())
        if missing:
            raise UsageError(
                f"people: expected everyone who is seen, got no row of {missing[0]} and "
                f"{len(missing) - 1} more"
            )
        group = np.array([of[name] for name in person.tolist()])
        for name in sorted(set(group.tolist())):
            for level in corrected.levels:
                rows = (group == name) & (corrected.level == level)
                if rows.any():
                    found[attribute, name, level] = _group(
                        corrected.take(rows), calls[rows], person[rows], resampling
                    )
    return found


def _group(videos: Scores, calls: np.ndarray, person: np.ndarray, resampling: Resampling) -> Group:
    real = videos.label == 0
    auc = None
    if real.any() and not real.all():
        of_videos = tables.measured(videos, metrics.auc, resampling)
        auc = Figure(of_videos.value, of_videos.interval)
    return Group(
        people=len(set(person.tolist())),
        videos=len(videos),
        auc=auc,
        false_alarms=_share(videos.take(real), calls[real] == 1, resampling),
        abstained=float((calls == -1).mean()),
    )


def _share(videos: Scores, which: np.ndarray, resampling: Resampling) -> Figure | None:
    """How often it is so among some videos."""
    if not len(videos):
        return None
    column = resampling.columns(videos)
    value = float(which.mean())
    if len(np.unique(column)) < FEWEST_CLUSTERS:
        return Figure(value, None)
    times = resampling.times[:, column]
    drawn = times.sum(axis=1)
    shares: Floats = np.full(len(times), np.nan)
    np.divide(times @ which.astype(np.float64), drawn, out=shares, where=drawn > 0)
    return Figure(value, interval(shares))


def plain(found: Mapping[tuple[str, str, str], Group]) -> Plain:
    """As JSON values: attribute -> group -> level -> figures."""
    result: Plain = {}
    for (attribute, name, level), group in found.items():
        cell: dict[str, Any] = {
            "people": group.people,
            "videos": group.videos,
            "abstained": group.abstained,
        }
        for key in ("auc", "false_alarms"):
            figure: Figure | None = getattr(group, key)
            cell[key] = figure and figure.value
            bounds = figure and figure.interval
            cell[f"{key}_interval"] = bounds and [bounds.low, bounds.high]
        result.setdefault(attribute, {}).setdefault(name, {})[level] = cell
    return result


def rows(groups: Plain) -> Iterator[list[str]]:
    """The rows of a table with HEAD, a group and level each."""
    for attribute, by_name in groups.items():
        for name, by_level in by_name.items():
            for level, cell in by_level.items():
                yield [
                    f"{attribute}: {name}",
                    level,
                    str(cell["people"]),
                    str(cell["videos"]),
                    *(
                        tables.with_interval(cell[key], cell[f"{key}_interval"])
                        for key in ("auc", "false_alarms")
                    ),
                    tables.percent(cell["abstained"]),
                ]


HEAD = ["group", "level", "people", "videos", "video AUC", "false alarms", "cannot tell"]
NOTE = (
    "By group of people: each group's real videos against its own manipulated ones, and how often "
    "a real one is called manipulated, in percent, with 95% intervals over identities; none where "
    f"fewer than {FEWEST_CLUSTERS} people do not depend on one another. Groups this small show "
    "gross differences only."
)
