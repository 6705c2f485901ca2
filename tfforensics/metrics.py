"""The figures that the field reports of a detector's scores.

Label 1 = manipulated, everywhere; a face is called manipulated where its probability is at
least the threshold. Every figure is a function of `Counts`, the number of manipulated and of
real faces at or above each distinct score, and needs at least one face of each class. The same
function gives the figure of a test set and, on counts that carry a leading axis, those of all
its bootstrap resamples at once (`tfforensics.intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tfforensics.scores import Floats, Ints, Scores

Value = TypeVar("Value", float, Floats)

# The averages of this method's report: the mean, each level counting once, of a figure over
# these levels (`average`). Scores of several levels are never pooled into one ROC curve: that
# would also measure how far the levels' scores lie apart, which no level's own figure holds.
AVERAGES: dict[str, tuple[str, ...]] = {
    "c23 & c40": ("c23", "c40"),
    "c85 & c90": ("c85", "c90"),
    "all datasets": ("c23", "c40", "c85", "c90"),
}


@dataclass(frozen=True, eq=False)
class Counts:
    """How many faces score at or above each distinct score.

    Attributes:
      threshold: (T,) the distinct scores, falling.
      hits: (..., T) manipulated faces at or above it; the last entry is all of them.
      alarms: (..., T) real faces at or above it; the last entry is all of them.
    """

    threshold: Floats
    hits: Floats
    alarms: Floats

    @property
    def manipulated(self) -> Floats:
        """(...) how many manipulated faces there are."""
        return self.hits[..., -1]

    @property
    def real(self) -> Floats:
        """(...) how many real faces there are."""
        return self.alarms[..., -1]


def count(label: Ints, probability: Floats, weight: Floats | None = None) -> Counts:
    """Counts of at least one face, each as often as its weight says.

    Args:
      label: (N,) 1 = manipulated, 0 = real.
      probability: (N,)
      weight: (..., N) whole numbers; one each where it is left out.
    """
    order = np.argsort(-probability, kind="stable")
    falling = probability[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    weight = np.ones(len(label)) if weight is None else weight[..., order]
    positive = weight * label[order]
    hits = np.cumsum(positive, axis=-1)
    alarms = np.cumsum(weight - positive, axis=-1)
    if len(ends) < len(order):
        hits, alarms = hits[..., ends], alarms[..., ends]
    return Counts(falling[ends], hits, alarms)


def auc(counts: Counts) -> Floats:
    """(...) area under the ROC curve: P(a manipulated face scores above a real one), ties half."""
    hits, alarms = counts.hits, counts.alarms
    area = hits[..., 0] * alarms[..., 0]
    area = area + ((hits[..., 1:] + hits[..., :-1]) * np.diff(alarms, axis=-1)).sum(-1)
    return area / (2 * counts.manipulated * counts.real)


def average_precision(counts: Counts) -> Floats:
    """(...) precision summed over the steps of recall, without interpolation."""
    precision = counts.hits / np.maximum(counts.hits + counts.alarms, 1)
    steps = np.diff(counts.hits, axis=-1, prepend=0)
    return (steps * precision).sum(-1) / counts.manipulated


def accuracy(counts: Counts, threshold: float = 0.5) -> Floats:
    """(...) share of faces on the right side of the threshold."""
    hits, alarms = _at(counts, int((counts.threshold >= threshold).sum()))
    return (hits + counts.real - alarms) / (counts.manipulated + counts.real)


def f1(counts: Counts, threshold: float = 0.5) -> Floats:
    """(...) harmonic mean of precision and recall of the manipulated class."""
    hits, alarms = _at(counts, int((counts.threshold >= threshold).sum()))
    return 2 * hits / (hits + alarms + counts.manipulated)


def cohen_kappa(counts: Counts, threshold: float = 0.5) -> Floats:
    """(...) agreement of call and label beyond chance, 1 at most; 0 where all are called alike.

    Cohen, Educational and Psychological Measurement 20, 1960.
    """
    hits, alarms = _at(counts, int((counts.threshold >= threshold).sum()))
    called, faces = hits + alarms, counts.manipulated + counts.real
    chance = called * counts.real + counts.manipulated * (faces - called)
    return 2 * (hits * counts.real - alarms * counts.manipulated) / chance


def matthews(counts: Counts, threshold: float = 0.5) -> Floats:
    """(...) correlation of call and label, -1 to 1; 0 where all are called alike.

    Matthews, Biochimica et Biophysica Acta 405, 1975.
    """
    hits, alarms = _at(counts, int((counts.threshold >= threshold).sum()))
    called, faces = hits + alarms, counts.manipulated + counts.real
    spread = np.sqrt(called * (faces - called) * counts.manipulated * counts.real)
    return (hits * counts.real - alarms * counts.manipulated) / np.maximum(spread, 1)


def equal_error_rate(counts: Counts) -> Floats:
    """(...) the error rate where as many real as manipulated faces are mistaken.

    Where the line FPR = 1 - TPR cuts the ROC curve, whose points (one a distinct score, and
    the origin) are joined by straight lines.
    """
    fpr, tpr = roc(counts)
    balance = fpr + tpr - 1  # rises from -1 to 1
    after = np.argmax(balance >= 0, axis=-1, keepdims=True)
    balance0, balance1 = (np.take_along_axis(balance, after - k, -1) for k in (1, 0))
    fpr0, fpr1 = (np.take_along_axis(fpr, after - k, -1) for k in (1, 0))
    rate: Floats = fpr0 - balance0 / (balance1 - balance0) * (fpr1 - fpr0)
    return rate[..., 0]


def tpr_at_fpr(counts: Counts, limit: float) -> Floats:
    """(...) the most manipulated faces found by a threshold whose FPR is at most the limit.

    No interpolation: the rate is one that a threshold on these scores has. On fewer than
    1 / limit real faces it allows no false positive at all.
    """
    fits = counts.alarms / counts.real[..., None] <= limit
    return _at(counts, fits.sum(-1))[0] / counts.manipulated


def _at(counts: Counts, n: int | Ints) -> tuple[Floats, Floats]:
    """Hits and alarms (...) of the n highest thresholds; none of either where n is 0."""
    index = np.broadcast_to(np.asarray(n), counts.hits.shape[:-1])[..., None]
    hits, alarms = (
        np.where(index == 0, 0, np.take_along_axis(values, np.maximum(index - 1, 0), -1))[..., 0]
        for values in (counts.hits, counts.alarms)
    )
    return hits, alarms


def roc(counts: Counts) -> tuple[Floats, Floats]:
    """FPR and TPR, each (..., T + 1), from the origin to (1, 1)."""
    fpr = counts.alarms / counts.real[..., None]
    tpr = counts.hits / counts.manipulated[..., None]
    start = np.zeros((*fpr.shape[:-1], 1))
    return np.concatenate([start, fpr], -1), np.concatenate([start, tpr], -1)


def precision_recall(counts: Counts) -> tuple[Floats, Floats]:
    """Precision and recall, each (..., T), recall rising to 1."""
    precision = counts.hits / np.maximum(counts.hits + counts.alarms, 1)
    return precision, counts.hits / counts.manipulated[..., None]


@dataclass(frozen=True)
class Figures:
    """The figures of one table cell, 0 to 1; `cohen_kappa` and `matthews` from -1.

    These two, `accuracy` and `f1` are at a threshold.
    """

    auc: float
    accuracy: float
    f1: float
    average_precision: float
    eer: float
    tpr_at_fpr_1: float
    tpr_at_fpr_5: float
    cohen_kappa: float
    matthews: float


def measure(scores: Scores, threshold: float = 0.5) -> Figures | None:
    """The figures of scores of faces, or of `scores.videos()`; None where a class is missing."""
    if len(np.unique(scores.label)) < 2:
        return None
    counts = count(scores.label, scores.probability)
    return Figures(
        auc=float(auc(counts)),
        accuracy=float(accuracy(counts, threshold)),
        f1=float(f1(counts, threshold)),
        average_precision=float(average_precision(counts)),
        eer=float(equal_error_rate(counts)),
        tpr_at_fpr_1=float(tpr_at_fpr(counts, 0.01)),
        tpr_at_fpr_5=float(tpr_at_fpr(counts, 0.05)),
        cohen_kappa=float(cohen_kappa(counts, threshold)),
        matthews=float(matthews(counts, threshold)),
    )


def average(values: Sequence[Value | None]) -> Value | None:
    """The mean of figures, or of their replicates (B,); None where one of them is missing.

    A mean over what happens to be there would change its meaning from run to run.
    """
    known = [value for value in values if value is not None]
    if not values or len(known) < len(values):
        return None
    total = known[0]
    for value in known[1:]:
        total = total + value
    return total / len(known)
