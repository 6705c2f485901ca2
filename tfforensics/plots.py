"""The pictures of an evaluation, as PNG files; each on light or on dark ground."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.special import logit

from tfforensics import calibrated, metrics
from tfforensics.comparison import Comparison
from tfforensics.findings import Findings
from tfforensics.jpeg import quality_of
from tfforensics.sweep import FIGURES, Point
from tfforensics.tables import ALL

_LEVELS = "plasma"  # from the first level to the last
_WIDTH = 9.6  # inches
_DPI = 125
_FURTHEST = 20.0  # logits beyond it are drawn at it


@dataclass(frozen=True)
class Ground:
    """What a picture stands on, and in which colours.

    Attributes:
        lines: from Okabe and Ito's palette, which readers who do not see red or green can tell
            apart; the first is that of real faces, the second that of manipulated ones.
    """

    paper: str
    ink: str
    rule: str
    lines: tuple[str, ...]


LIGHT = Ground("#ffffff", "#1c2430", "#d5dbe3", ("#0072b2", "#d55e00", "#009e73", "#cc79a7"))
DARK = Ground("#171c24", "#dfe5ee", "#39424f", ("#56b4e9", "#e69f00", "#2cc196", "#cc79a7"))


@dataclass(frozen=True)
class Picture:
    """A picture as PNG files, on light and on dark ground."""

    light: bytes
    dark: bytes


def of(found: Findings) -> dict[str, Picture]:
    """The pictures of one evaluation by name; without figures there are histograms alone."""
    drawn = {"histograms": _histograms}
    if found.has_figures:
        drawn = {"roc": _roc} | drawn | {"reliability": _reliability}
    return {name: both(partial(draw, found)) for name, draw in drawn.items()}


def auc_by_quality(findings: Sequence[Findings]) -> Picture:
    """Frame AUC at each level with its interval: all manipulations, then each, by encoder.

    Args:
        findings: of the same run and split, one an encoder.
    """
    return both(partial(_auc_by_quality, findings))


def both(draw: Callable[[Ground], Figure]) -> Picture:
    """A figure on both grounds."""
    light, dark = (_png(draw(ground)) for ground in (LIGHT, DARK))
    return Picture(light, dark)


def _auc_by_quality(findings: Sequence[Findings], ground: Ground) -> Figure:
    names = [ALL, *findings[0].scores.manipulations]
    figure, panels = _panels(len(names), 3, 2.5, ground)
    for axes, name in zip(panels, names, strict=True):
        for found, colour in zip(findings, ground.lines, strict=False):
            _auc_line(axes, found, name, colour)
        _finish(axes, "all manipulations" if name == ALL else name, ground)
        axes.axhline(0.5, color=ground.rule, linewidth=1.6, zorder=0)
    lowest = min(0.45, *(axes.get_ylim()[0] for axes in panels))
    for axes in panels:
        axes.set_ylim(lowest, 1.01)
    panels[0].legend(loc="lower left", fontsize=8, frameon=False, labelcolor=ground.ink)
    return figure


def _auc_line(axes: Axes, found: Findings, name: str, colour: str) -> None:
    levels = found.scores.levels
    cells = [found.table[level, name, "frame"] for level in levels]
    known = [(x, cell["auc"]) for x, cell in enumerate(cells) if cell]
    axes.plot(
        [x for x, _ in known], [auc.value for _, auc in known],
        color=colour, marker="o", markersize=4, label=f"{found.encoder}, with 95% interval",
    )  # fmt: skip
    bands = [(x, auc.interval) for x, auc in known]
    axes.fill_between(
        [x for x, band in bands if band], [band.low for _, band in bands if band],
        [band.high for _, band in bands if band], color=colour, alpha=0.18, linewidth=0,
    )  # fmt: skip
    ticks = [level if level == "c0" else f"{level}\nQ{quality_of(level)}" for level in levels]
    axes.set_xticks(range(len(levels)), ticks)


def _roc(found: Findings, ground: Ground) -> Figure:
    """ROC curves of single faces, a line a level; at the right the false alarms on a log scale."""
    figure, (whole, low) = _panels(2, 2, 3.6, ground)
    for level, colour in zip(found.scores.levels, _shades(found, ground), strict=True):
        faces = found.scores.at_level(level)
        counts = metrics.count(faces.label, faces.probability)
        if counts.real and counts.manipulated:
            for axes in (whole, low):
                axes.plot(*metrics.roc(counts), color=colour, linewidth=1.6, label=level)
    whole.plot([0, 1], [0, 1], color=ground.rule, linewidth=1)
    # One face of a thousand, or the fewest that these can show.
    fewest = max(1e-3, len(found.scores.levels) / max(1, (found.scores.label == 0).sum()))
    grid = np.geomspace(fewest, 1)
    low.plot(grid, grid, color=ground.rule, linewidth=1)
    low.set_xscale("log")
    low.set_xlim(fewest, 1)
    for axes, title in ((whole, "ROC"), (low, "ROC where false alarms are few")):
        _finish(axes, title, ground)
        axes.set(ylim=(0, 1.01), xlabel="real faces called manipulated")
        axes.set_ylabel("manipulated faces found")
    whole.legend(loc="lower right", fontsize=8, frameon=False, labelcolor=ground.ink)
    return figure


def _histograms(found: Findings, ground: Ground) -> Figure:
    """How the logits of real and of manipulated faces are distributed, a panel a level."""
    levels = found.scores.levels
    logits = np.clip(logit(found.scores.probability), -_FURTHEST, _FURTHEST)
    bins = np.linspace(logits.min() - 0.5, logits.max() + 0.5, 41).tolist()
    figure, panels = _panels(len(levels), 3, 1.9, ground)
    for axes, level in zip(panels, levels, strict=True):
        for kind, name in enumerate(("real", "manipulated")):
            chosen = logits[(found.scores.level == level) & (found.scores.label == kind)]
            if len(chosen):
                share = np.full(len(chosen), 1 / len(chosen))
                colour = ground.lines[kind]
                axes.hist(
                    chosen, bins, weights=share, histtype="stepfilled", color=colour, alpha=0.6,
                    label=name,
                )  # fmt: skip
        _finish(axes, level, ground)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in panels[-3:]:
        axes.set_xlabel("logit")
    panels[0].legend(loc="upper left", fontsize=8, frameon=False, labelcolor=ground.ink)
    return figure


def _reliability(found: Findings, ground: Ground) -> Figure:
    """Share of manipulated faces against probability, a panel a level that has both classes.

    A dot's area is its share of the faces, each class taken as half of them.
    """
    diagrams = calibrated.reliability(found.calibrator, found.scores)
    figure, panels = _panels(len(diagrams), 3, 2.6, ground)
    for axes, (level, pair) in zip(panels, diagrams.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=ground.rule, linewidth=1)
        for (name, diagram), colour in zip(pair.items(), ground.lines[1::-1], strict=True):
            axes.plot(
                diagram.predicted, diagram.observed, color=colour, linewidth=1,
                label=f"{name}, ECE {diagram.error:.3f}",
            )  # fmt: skip
            axes.scatter(diagram.predicted, diagram.observed, 4 + 200 * diagram.weight, colour)
        _finish(axes, level, ground)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="upper left", fontsize=7.5, frameon=False, labelcolor=ground.ink)
    for axes in panels[-3:]:
        axes.set_xlabel("probability")
    panels[0].set_ylabel("share manipulated")
    return figure


def gains(found: Comparison) -> Picture:
    """What each run gains over the first: frame AUC in points with 95% intervals, by column."""
    return both(partial(_gains, found))


def _gains(found: Comparison, ground: Ground) -> Figure:
    columns = found.columns
    figure, (axes,) = _panels(1, 1, 0.5 + 0.22 * len(columns) * len(found.gains), ground)
    step = 0.7 / len(found.gains)
    for place, (name, table, colour) in enumerate(
        zip(found.names[1:], found.gains, cycle(ground.lines), strict=False)
    ):
        for row, column in enumerate(columns):
            cell = table[column, ALL, "frame"]
            if cell is None:
                continue
            height, gain = row + (place - (len(found.gains) - 1) / 2) * step, cell["auc"]
            label = name if row == 0 else None
            axes.plot(100 * gain.value, height, "o", color=colour, markersize=6, label=label)
            if gain.interval:
                ends = (100 * gain.interval.low, 100 * gain.interval.high)
                axes.plot(ends, (height, height), color=colour, linewidth=2)
    _finish(axes, f"gain in frame AUC over {found.names[0]}, points", ground)
    axes.axvline(0, color=ground.ink, linewidth=1)
    axes.set_yticks(range(len(columns)), columns)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower right", fontsize=8, frameon=False, labelcolor=ground.ink)
    return figure


def robustness(points: Sequence[Point]) -> Picture:
    """Each figure of a sweep against quality, a column a variant, a line an encoder."""
    return both(partial(_robustness, points))


def _robustness(points: Sequence[Point], ground: Ground) -> Figure:
    variants = list(dict.fromkeys(point.variant for point in points))
    encoders = list(dict.fromkeys(point.compression.encoder for point in points))
    figure, panels = _panels(len(FIGURES) * len(variants), len(variants), 2.2, ground)
    places = [(name, variant) for name in FIGURES for variant in variants]
    for axes, (name, variant) in zip(panels, places, strict=True):
        for encoder, colour in zip(encoders, ground.lines, strict=False):
            line = [
                (point.compression.quality, getattr(point, name))
                for point in points
                if (point.variant, point.compression.encoder) == (variant, encoder)
            ]
            values = [measured.value for _, measured in line]
            axes.plot([q for q, _ in line], values, color=colour, linewidth=1.6, label=encoder)
            bands = [(q, measured.interval) for q, measured in line]
            axes.fill_between(
                [q for q, band in bands if band], [band.low for _, band in bands if band],
                [band.high for _, band in bands if band], color=colour, alpha=0.18, linewidth=0,
            )  # fmt: skip
        _finish(axes, variant if name == "auc" else "", ground)
        axes.set(xlim=(102, 3), ylim=(0.3 if name == "auc" else 0, 1.01))
        if variant == variants[0]:
            axes.set_ylabel(FIGURES[name])
        if name == list(FIGURES)[-1]:
            axes.set_xlabel("JPEG quality")
    panels[0].legend(loc="lower left", fontsize=8, frameon=False, labelcolor=ground.ink)
    return figure


def _panels(count: int, columns: int, height: float, ground: Ground) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of at most `columns`, each `height` inches high."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(
        figsize=(_WIDTH, height * rows + 0.1),
        dpi=_DPI,
        layout="constrained",
        facecolor=ground.paper,
    )
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def _finish(axes: Axes, title: str, ground: Ground) -> None:
    axes.set_title(title, fontsize=10, color=ground.ink, loc="left")
    axes.set_facecolor(ground.paper)
    axes.grid(color=ground.rule, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=ground.ink, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(ground.rule)
    axes.xaxis.label.set(size=9, color=ground.ink)
    axes.yaxis.label.set(size=9, color=ground.ink)


def _shades(found: Findings, ground: Ground) -> list[tuple[float, ...]]:
    low, high = (0.0, 0.8) if ground is LIGHT else (0.2, 0.95)
    return [tuple(c) for c in colormaps[_LEVELS](np.linspace(low, high, len(found.scores.levels)))]


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out)
    return out.getvalue()
