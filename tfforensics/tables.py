"""Figures of scores by manipulation and level, and the tables that show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tfforensics.metrics import measure
from tfforensics.scores import Scores

ALL = "all"  # the row of every manipulation together

# level -> manipulation (or ALL) -> "frame" or "video" -> figure -> value; None where the faces
# are of one class and there is no figure.
Figures: TypeAlias = dict[str, dict[str, dict[str, dict[str, float] | None]]]


def figures(scores: Scores) -> Figures:
    """Frame and video figures of each level, by manipulation and for all together."""
    table: Figures = {}
    for level in scores.levels:
        at_level = scores.at_level(level)
        table[level] = {}
        for name in (*at_level.manipulations, ALL):
            faces = at_level if name == ALL else at_level.against(name)
            table[level][name] = {
                unit: None if (found := measure(part)) is None else dataclasses.asdict(found)
                for unit, part in (("frame", faces), ("video", faces.videos()))
            }
    return table


def auc_table(table: Figures, unit: str) -> str:
    """A Markdown table of AUC in percent, manipulations x levels."""
    names = list(dict.fromkeys(name for row in table.values() for name in row if name != ALL))
    rows = [
        [name, *(percent(_auc(table[level].get(name), unit)) for level in table)]
        for name in (*names, ALL)
    ]
    return markdown([f"{unit} AUC", *table], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns as wide as they need be to be read as plain text."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.rjust(w) for cell, w in zip(cells, widths, strict=True))
        return f"| {' | '.join([first.strip().ljust(widths[0]), *others])} |"

    rule = f"|{'|'.join(['-' * (widths[0] + 2), *('-' * (w + 1) + ':' for w in widths[1:])])}|"
    return "\n".join([line(head), rule, *map(line, rows)])


def percent(value: float | None) -> str:
    """A share with one decimal, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"  # noqa: RUF001


def _auc(cell: Mapping[str, Any] | None, unit: str) -> float | None:
    return cell[unit]["auc"] if cell and cell[unit] else None
