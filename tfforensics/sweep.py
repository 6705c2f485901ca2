"""How a detector holds as compression grows: AUC, EER and false alarms, point by point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfforensics import calibrated, compression, intervals, manifest, metrics, tables
from tfforensics.calibrated import Calibrator
from tfforensics.command import DataError
from tfforensics.compression import FIRST_QUALITY, Compression
from tfforensics.findings import RESAMPLES, SEED
from tfforensics.intervals import Resampling
from tfforensics.jpeg import Encoder
from tfforensics.judge import Judge
from tfforensics.metrics import Counts
from tfforensics.run import Run
from tfforensics.scores import Floats, Scores
from tfforensics.tables import Measured

# Title -> how it is made, beside encoder and quality.
VARIANTS = {
    "once, 4:2:0": Compression("turbo", 100),
    "once, 4:4:4": Compression("turbo", 100, subsampling="4:4:4"),
    f"twice, Q{FIRST_QUALITY} first": Compression("turbo", 100, twice=True),
    "at half the size": Compression("turbo", 100, halved=True),
}


@dataclass(frozen=True, eq=False)
class Point:
    """One compression and what is left of the detector; figures are of single faces.

    Attributes:
        variant: a key of VARIANTS.
        auc: area under the ROC curve.
        eer: equal error rate.
        false_alarms: share of real faces called manipulated at the threshold that was chosen
            on validation; without a calibration, at one half.
    """

    compression: Compression
    variant: str
    auc: Measured
    eer: Measured
    false_alarms: Measured

    @property
    def column(self) -> str:
        """Encoder and variant."""
        return f"{self.compression.encoder}, {self.variant}"


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came of judging faces after every compression.

    Attributes:
        run: whose detector judged.
        records: the record folder.
        notice: of the records.
        points: by encoder, variant and quality.
        calibrator: what made the calls.
    """

    run: Run
    records: Path
    notice: str
    points: tuple[Point, ...]
    calibrator: Calibrator


FIGURES = {"auc": "AUC", "eer": "EER", "false_alarms": "false alarms"}


def sweep(
    judge: Judge,
    records: Path,
    *,
    split: str,
    qualities: Sequence[int],
    encoders: Sequence[Encoder],
    frames: int,
) -> Sweep:
    """Judges the faces of a split after every compression; shows progress.

    Args:
        judge: the run's detector.
        records: the record folder.
        qualities: 1 to 100 each.
        frames: at most so many evenly spaced faces of each video.

    Raises:
        DataError: damaged records, or a split without faces of both classes.
    """
    compressions = {
        (variant, encoder, quality): replace(how, encoder=encoder, quality=quality)
        for encoder in encoders
        for variant, how in VARIANTS.items()
        for quality in qualities
    }
    rows = compression.spread(records, split, frames)
    calibrator = calibrated.calibrate(judge, records)
    answers = judge.after(records, split, list(compressions.values()), rows)
    if set(answers[0].label.tolist()) != {0, 1}:
        raise DataError(f"{records}: expected real and manipulated faces in the {split} split")
    resampling = intervals.resample(answers[0], resamples=RESAMPLES, seed=SEED)
    points = (
        _point(made, variant, scores, calibrator, resampling)
        for ((variant, _, _), made), scores in zip(compressions.items(), answers, strict=True)
    )
    notice = manifest.load(records).notice
    return Sweep(judge.run, records, notice, tuple(points), calibrator)


def _point(
    made: Compression, variant: str, scores: Scores, calibrator: Calibrator, resampling: Resampling
) -> Point:
    called = replace(scores, probability=(calibrator.calls(scores) == 1).astype(np.float64))
    return Point(
        made,
        variant,
        auc=tables.measured(scores, metrics.auc, resampling),
        eer=tables.measured(scores, metrics.equal_error_rate, resampling),
        false_alarms=tables.measured(called, _false_alarms, resampling),
    )


def _false_alarms(counts: Counts) -> Floats:
    """The share of real faces at or above one half."""
    above = int((counts.threshold >= 0.5).sum())
    if not above:
        return np.zeros_like(counts.real)
    return counts.alarms[..., above - 1] / counts.real


def csv_rows(points: Sequence[Point]) -> Iterator[list[Any]]:
    """A head and a row for each figure of each point, shares from 0 to 1."""
    yield ["encoder", "quality", "variant", "figure", "value", "low", "high"]
    for point in points:
        for name in FIGURES:
            measured: Measured = getattr(point, name)
            bounds = measured.interval
            ends = ["", ""] if bounds is None else [f"{bounds.low:.6f}", f"{bounds.high:.6f}"]
            made = point.compression
            value = f"{measured.value:.6f}"
            yield [made.encoder, made.quality, point.variant, name, value, *ends]


def markdown(points: Sequence[Point], figure: str) -> str:
    """A Markdown table of one figure in percent: qualities x encoders and variants."""
    columns = list(dict.fromkeys(point.column for point in points))
    by_quality: dict[int, dict[str, str]] = {}
    for point in points:
        cells = by_quality.setdefault(point.compression.quality, {})
        cells[point.column] = tables.percent(getattr(point, figure).value)
    rows = [[str(q), *(cells[column] for column in columns)] for q, cells in by_quality.items()]
    return tables.markdown([f"{FIGURES[figure]} at quality", *columns], rows)
