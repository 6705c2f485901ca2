"""Several runs on the same faces: gains with intervals, and accuracy weighed against cost.

The resamples are those of the single evaluations: a function of the clips and a seed, so that
every run has the same ones, and the gain of one run over another is the difference of their
replicates (a paired bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfforensics import tables
from tfforensics.command import UsageError
from tfforensics.findings import Findings
from tfforensics.metrics import AVERAGES, average
from tfforensics.models.scaling import opt
from tfforensics.tables import ALL, Measured, Table, percent

_IDENTITY = ("label", "clip", "manipulation", "level")


@dataclass(frozen=True)
class Rank:
    """A run's place by OPT(m) = ACC(m) x (FLOPS(m) / T)^-.07, T being the cheapest run's.

    Attributes:
        accuracy: of single faces, all manipulations, the mean over the levels.
        multiply_adds: for one face.
    """

    run: str
    accuracy: float
    multiply_adds: int
    opt: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """What runs gain over the first of them.

    Attributes:
        findings: of each run on the same faces; the first is what others are compared with.
        names: of the runs, distinct.
        gains: of each run but the first, figure by figure.
        ranking: by OPT, the best first; empty where there are no figures.
    """

    findings: tuple[Findings, ...]
    names: tuple[str, ...]
    gains: tuple[Table, ...]
    ranking: tuple[Rank, ...]

    @property
    def columns(self) -> list[str]:
        """The report's averages, as far as their levels are there, then the levels."""
        levels = self.findings[0].scores.levels
        return [*(a for a, parts in AVERAGES.items() if set(parts) <= set(levels)), *levels]

    @property
    def manipulations(self) -> list[str]:
        """The manipulations, and ALL at the end."""
        return list(dict.fromkeys(name for _, name, _ in self.findings[0].table))

    def result(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        first = self.findings[0]
        gains = {}
        for name, table in zip(self.names[1:], self.gains, strict=True):
            figures, bounds = tables.plain(table)
            gains[name] = {"figures": figures, "intervals": bounds}
        return {
            "runs": list(self.names),
            "compared_with": self.names[0],
            "records": str(first.records),
            "notice": first.held.notice,
            "split": first.scores.split,
            "encoder": first.encoder,
            "gains": gains,
            "ranking": [vars(rank) for rank in self.ranking],
        }


def compare(findings: Sequence[Findings]) -> Comparison:
    """Compares runs by what each was found to be worth on the same faces.

    Args:
        findings: at least two, by the same encoder.

    Raises:
        UsageError: they are of different faces.
    """
    first, *others = findings
    for other in others:
        if not all(
            np.array_equal(getattr(first.scores, name), getattr(other.scores, name))
            for name in _IDENTITY
        ):
            raise UsageError(
                f"RUN: {other.run.folder} was judged on other faces than {first.run.folder}; "
                "name the same --records, --levels and --manipulations for all"
            )
    names = [found.run.name for found in findings]
    if len(set(names)) < len(names):
        names = [str(found.run.folder) for found in findings]
    gains = tuple(_gains(other.table, first.table) for other in others)
    return Comparison(tuple(findings), tuple(names), gains, tuple(_ranking(findings, names)))


def _gains(table: Table, base: Table) -> Table:
    gains: Table = {}
    for key, cell in table.items():
        other = base[key]
        gains[key] = cell and other and {name: cell[name].minus(other[name]) for name in cell}
    return gains


def _ranking(findings: Sequence[Findings], names: Sequence[str]) -> list[Rank]:
    cheapest = min(found.cost.multiply_adds for found in findings)
    ranks = []
    for found, name in zip(findings, names, strict=True):
        cells = [found.table[level, ALL, "frame"] for level in found.scores.levels]
        accuracy = average([None if cell is None else cell["accuracy"].value for cell in cells])
        if accuracy is not None:
            cost = found.cost.multiply_adds
            ranks.append(Rank(name, accuracy, cost, opt(accuracy, cost, target=cheapest)))
    return sorted(ranks, key=lambda rank: -rank.opt)


def markdown(found: Comparison) -> str:
    """The comparison as Markdown: a table of AUC for each average and level, and the ranking."""
    first = found.findings[0]
    lines = [
        f"## Comparison on the {first.scores.split} split of {first.records}",
        "",
        f"Levels made by {first.encoder}; AUC in percent, gains over {found.names[0]} in points, "
        "each with its 95% interval by paired bootstrap over identities. Two runs of one method "
        "differ by their seed, too: compare several of each before a gain is put down to it.",
    ]
    if first.held.notice:
        lines += ["", f"**Imitations.** {first.held.notice}"]
    for column in found.columns:
        for unit in tables.UNITS:
            lines += ["", auc_table(found, column, unit)]
    if found.ranking:
        lines += ["", _opt_table(found)]
    return "\n".join(lines) + "\n"


def auc_table(found: Comparison, column: str, unit: str) -> str:
    """A Markdown table of one level or average: a row a run, then a row a gain."""
    manipulations = found.manipulations
    rows = []
    for name, one in zip(found.names, found.findings, strict=True):
        measured = [auc(one.table, column, manipulation, unit) for manipulation in manipulations]
        rows.append([name, *map(_absolute, measured)])
    for name, table in zip(found.names[1:], found.gains, strict=True):
        measured = [auc(table, column, manipulation, unit) for manipulation in manipulations]
        rows.append([f"overall gain of {name}", *map(_gain, measured)])
    return tables.markdown([f"{column}, {unit} AUC", *manipulations], rows)


def auc(table: Table, column: str, manipulation: str, unit: str) -> Measured | None:
    """The AUC of one cell, where there is one."""
    cell = table[column, manipulation, unit]
    return None if cell is None else cell["auc"]


def verdict(gain: Measured) -> str:
    """ "better" or "worse" where the 95% interval of a gain leaves out 0, else "cannot tell"."""
    bounds = gain.interval
    if bounds is None or bounds.low <= 0 <= bounds.high:
        return "cannot tell"
    return "better" if bounds.low > 0 else "worse"


def _opt_table(found: Comparison) -> str:
    rows = [
        [rank.run, f"{rank.multiply_adds / 1e9:.3f}", percent(rank.accuracy), f"{rank.opt:.4f}"]
        for rank in found.ranking
    ]
    return tables.markdown(["run, best OPT first", "multiply-adds, G", "ACC", "OPT"], rows)


def _absolute(measured: Measured | None) -> str:
    if measured is None:
        return tables.DASH
    bounds = measured.interval
    return tables.with_interval(
        measured.value, None if bounds is None else [bounds.low, bounds.high]
    )


def _gain(measured: Measured | None) -> str:
    """In points, with its interval and what it tells."""
    if measured is None:
        return tables.DASH
    text, bounds = f"{100 * measured.value:+.1f}", measured.interval
    if bounds is None:
        return text
    return f"{text} [{100 * bounds.low:+.1f}, {100 * bounds.high:+.1f}] {verdict(measured)}"
