"""Figures of scores by manipulation and level, with intervals, and the tables that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tfforensics import metrics
from tfforensics.intervals import Interval, Resampling, interval, replicates
from tfforensics.metrics import AVERAGES, Counts
from tfforensics.scores import Floats, Scores

DASH = "\N{EN DASH}"  # in place of a figure that there is not
ALL = "all"  # the row of every manipulation together
UNITS = ("frame", "video")

# How each figure follows from counts. The order is that of the tables.
FIGURES: dict[str, Callable[[Counts], Floats]] = {
    "auc": metrics.auc,
    "accuracy": metrics.accuracy,
    "f1": metrics.f1,
    "average_precision": metrics.average_precision,
    "eer": metrics.equal_error_rate,
    "tpr_at_fpr_1": lambda counts: metrics.tpr_at_fpr(counts, 0.01),
    "tpr_at_fpr_5": lambda counts: metrics.tpr_at_fpr(counts, 0.05),
    "cohen_kappa": metrics.cohen_kappa,
    "matthews": metrics.matthews,
}
TITLES = {
    "auc": "AUC",
    "accuracy": "ACC",
    "f1": "F1",
    "average_precision": "AP",
    "eer": "EER",
    "tpr_at_fpr_1": "TPR@1%",
    "tpr_at_fpr_5": "TPR@5%",
    "cohen_kappa": "kappa",
    "matthews": "MCC",
}
_AT_A_THRESHOLD = ("accuracy", "f1", "cohen_kappa", "matthews")


@dataclass(frozen=True, eq=False)
class Measured:
    """A figure, at most 1, and the same on each resample (B,); None where clips are too few."""

    value: float
    replicates: Floats | None

    @property
    def interval(self) -> Interval | None:
        """The 95% interval."""
        return interval(self.replicates)

    def minus(self, other: Measured) -> Measured:
        """The difference of two figures on the same resamples."""
        if self.replicates is None or other.replicates is None:
            return Measured(self.value - other.value, None)
        return Measured(self.value - other.value, self.replicates - other.replicates)


Cell: TypeAlias = dict[str, Measured]  # by figure
# By level or average, manipulation or ALL, and unit; None where faces are of one class.
Table: TypeAlias = dict[tuple[str, str, str], Cell | None]
Plain: TypeAlias = dict[str, dict[str, dict[str, Any]]]  # see `plain`


def measure(scores: Scores, decided: Scores, resampling: Resampling) -> Table:
    """All figures of all levels, and the averages over them that the report has.

    Args:
        scores: of all levels, as the detector gave them; they rank the faces.
        decided: the same faces with probabilities of which .5 or above is a call
            "manipulated"; ACC, F1, kappa and MCC are theirs. A video's is the mean over its faces.
        resampling: of the same clips.

    Returns:
        Levels in the order of the scores, then those of `metrics.AVERAGES` whose levels are
        all there; in each the manipulations, then ALL.
    """
    table: Table = {}
    real = scores.label == 0
    rows = (*scores.manipulations, ALL)
    for level in scores.levels:
        at_level = scores.level == level
        for name in rows:
            kept = at_level if name == ALL else at_level & (real | (scores.manipulation == name))
            for unit in UNITS:
                ranked, called = scores.take(kept), decided.take(kept)
                if unit == "video":
                    ranked, called = ranked.videos(), called.videos()
                table[level, name, unit] = _cell(ranked, called, resampling)
    for title, levels in AVERAGES.items():
        if set(levels) <= set(scores.levels):
            for name in rows:
                for unit in UNITS:
                    cells = [table[level, name, unit] for level in levels]
                    table[title, name, unit] = average(cells)
    return table


def average(cells: Sequence[Cell | None]) -> Cell | None:
    """The mean of each figure over cells; None where one of them has none."""
    known = [cell for cell in cells if cell is not None]
    if not cells or len(known) < len(cells):
        return None
    found = {}
    for figure in known[0]:
        value = metrics.average([cell[figure].value for cell in known])
        assert value is not None
        found[figure] = Measured(
            value, metrics.average([cell[figure].replicates for cell in known])
        )
    return found


def _cell(ranked: Scores, called: Scores, resampling: Resampling) -> Cell | None:
    if len(np.unique(ranked.label)) < 2:
        return None
    cell = {}
    for figure, of in FIGURES.items():
        part = called if figure in _AT_A_THRESHOLD else ranked
        cell[figure] = measured(part, of, resampling)
    return cell


def measured(
    scores: Scores, figure: Callable[[Counts], Floats], resampling: Resampling
) -> Measured:
    """A figure of scores of both classes, and of their resamples."""
    counts = metrics.count(scores.label, scores.probability)
    return Measured(float(figure(counts)), replicates(scores, figure, resampling))


def plain(table: Table) -> tuple[Plain, Plain]:
    """A table as JSON values: the figures, and their 95% intervals.

    Returns:
        Level or average -> manipulation or "all" -> "frame" or "video" -> figure -> value;
        None in place of a unit's figures where its faces are of one class. And the same with
        [low, high] for a value, or None where clips are too few for an interval.
    """
    figures: Plain = {}
    intervals: Plain = {}
    for (level, name, unit), cell in table.items():
        values = None if cell is None else {key: one.value for key, one in cell.items()}
        bounds = None if cell is None else {key: _bounds(one.interval) for key, one in cell.items()}
        figures.setdefault(level, {}).setdefault(name, {})[unit] = values
        intervals.setdefault(level, {}).setdefault(name, {})[unit] = bounds
    return figures, intervals


def _bounds(found: Interval | None) -> list[float] | None:
    return None if found is None else [found.low, found.high]


def names(figures: Plain) -> list[str]:
    """The manipulations of a table, and ALL at the end."""
    return list(dict.fromkeys(name for row in figures.values() for name in row))


def overview(figures: Plain, unit: str, figure: str = "auc") -> str:
    """A Markdown table of one figure in percent, manipulations x levels and averages."""
    rows = [
        [name, *(percent(_value(figures, level, name, unit, figure)) for level in figures)]
        for name in names(figures)
    ]
    return markdown([f"{unit} {TITLES[figure]}", *figures], rows)


def details(figures: Plain, intervals: Plain, level: str, unit: str) -> str:
    """A Markdown table of all figures of one level with intervals, manipulations x figures."""
    rows = [
        [
            name,
            *(
                with_interval(
                    _value(figures, level, name, unit, figure),
                    _value(intervals, level, name, unit, figure),
                )
                for figure in FIGURES
            ),
        ]
        for name in figures[level]
    ]
    return markdown([f"{level}, {unit}", *TITLES.values()], rows)


def _value(table: Plain, level: str, name: str, unit: str, figure: str) -> Any:
    cell = table[level].get(name, {}).get(unit)
    return cell and cell[figure]


def beside(published: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of published figures and ours, as `findings.Findings.result` has them."""
    rows = [
        [
            f"{row['level']}, {row['manipulation']}",
            with_interval(row["our_auc"], row["our_interval"]),
            percent(row["published_auc"]),
            f"{row['method']} ({row['source']})",
        ]
        for row in published
    ]
    return markdown(["setting", "ours", "published", "by"], rows)


CSV_COLUMNS = ("level", "manipulation", "unit", "figure", "value", "low", "high")


def csv_rows(figures: Plain, intervals: Plain) -> Iterator[list[str]]:
    """A row of CSV_COLUMNS for each figure; what there is not is empty."""
    for level, by_name in figures.items():
        for name, by_unit in by_name.items():
            for unit, cell in by_unit.items():
                for figure, value in (cell or dict.fromkeys(FIGURES)).items():
                    bounds = _value(intervals, level, name, unit, figure) or (None, None)
                    numbers = ["" if v is None else f"{v:.6f}" for v in (value, *bounds)]
                    yield [level, name, unit, figure, *numbers]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns as wide as they need be to be read as plain text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(w) for cell, w in zip(cells, widths, strict=True))
        return f"| {' | '.join([first.strip().ljust(widths[0]), *others])} |"

    rule = f"|{'|'.join(['-' * (widths[0] + 2), *('-' * (w + 1) + ':' for w in widths[1:])])}|"
    return "\n".join([line(head), rule, *map(line, rows)])


def percent(value: float | None) -> str:
    """A share in percent with one decimal, a dash where there is none."""
    return DASH if value is None else f"{100 * value:.1f}"


def with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A share in percent and its interval: `93.1 [90.2, 95.4]`."""
    if value is None or bounds is None:
        return percent(value)
    return f"{percent(value)} [{percent(bounds[0])}, {percent(bounds[1])}]"
