"""Confidence intervals of figures and of gains, by bootstrap over identities.

What is drawn anew is not a frame, nor a clip, but everything that depends on one another. The
frames of a clip show one face. The clips of FaceForensics++ are no more independent: the fake
"000_003" has the pixels of the real clip 000 around a face made from the real clip 003, and its
partner "003_000" the reverse. So a *cluster* is all real and manipulated clips whose originals
are linked through a fake (in FaceForensics++ the official pair, 70 clusters in the test split),
and of media without a known target a cluster is the clip. Intervals over frames, or over clips
as if they were independent, come out too narrow.

One `Resampling` serves all cells of a table and all runs on the same clips: replicates of a
figure are arrays over the same resamples, so that a mean over levels (`metrics.average`) or the
gain of one run over another is arithmetic on replicates, and `interval` of the result respects
that its terms vary together. None of this says how a figure varies with the training seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tfforensics.command import DataError
from tfforensics.metrics import Counts, count
from tfforensics.scores import Floats, Ints, Scores, Strings

# Fewer clusters of a class than this give no interval: the bootstrap knows no more than they do.
FEWEST_CLUSTERS = 5
# Faces times resamples that are counted at once: an array of 8 MB.
BLOCK = 1 << 20


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each cluster is drawn in each resample.

    Attributes:
      cluster: original (a target, or a clip without one) -> its cluster's column.
      times: (B, C) how often; a row sums to C.
    """

    cluster: Mapping[str, int]
    times: Ints

    def columns(self, scores: Scores) -> Ints:
        """(N,) the cluster's column of each face; DataError for a clip that was not drawn from."""
        names, index = np.unique(_original(scores), return_inverse=True)
        missing = [name for name in names.tolist() if name not in self.cluster]
        if missing:
            raise DataError(
                f"{missing[0]}: scores to be compared must be of the same clips; this one "
                f"and {len(missing) - 1} more are not among those that were resampled"
            )
        return np.array([self.cluster[name] for name in names.tolist()], np.int64)[index]


def resample(scores: Scores, *, resamples: int = 2000, seed: int = 0) -> Resampling:
    """Draws clusters with replacement, as many as there are.

    Clusters with real faces only, with manipulated only and with both are drawn apart, so that
    the share of the classes is that of the scores in every resample: it is chosen by whoever
    made the set, not found by sampling.

    Args:
      scores: all scores of a table; links between clips are found among all of them.
      resamples: B, the number of resamples.
      seed: the same seed gives the same resamples.
    """
    original = _original(scores)
    linked = scores.source != ""
    names, node = np.unique(np.concatenate([original, scores.source[linked]]), return_inverse=True)
    ends = node[: len(scores)][linked], node[len(scores) :]
    links = coo_array((np.ones(len(ends[0])), ends), shape=(len(names), len(names)))
    _, component = connected_components(links, directed=False)
    # A source that no face was made of or from has no column.
    _, column = np.unique(component[node[: len(scores)]], return_inverse=True)
    classes = np.zeros(column.max(initial=-1) + 1, np.int64)
    np.bitwise_or.at(classes, column, 1 + scores.label)

    rng = np.random.default_rng(seed)
    times = np.zeros((resamples, len(classes)), np.int64)
    for kind in np.unique(classes):
        members = np.flatnonzero(classes == kind)
        share = np.full(len(members), 1 / len(members))
        times[:, members] = rng.multinomial(len(members), share, resamples)
    return Resampling(dict(zip(original.tolist(), column.tolist(), strict=True)), times)


def replicates(
    scores: Scores, figure: Callable[[Counts], Floats], resampling: Resampling
) -> Floats | None:
    """(B,) a figure of `tfforensics.metrics` on each resample.

    Returns:
      NaN for a resample that drew one class alone; None where a class has fewer than
      `FEWEST_CLUSTERS` clusters.

    Raises:
      DataError: a clip that the resampling does not know.
    """
    column = resampling.columns(scores)
    positive = scores.label == 1
    if min(len(np.unique(column[rows])) for rows in (positive, ~positive)) < FEWEST_CLUSTERS:
        return None
    values = np.full(len(resampling.times), np.nan)
    step = max(1, BLOCK // len(scores))
    # In this order `count` finds nothing left to sort, so that its gathers are sequential.
    order = np.argsort(-scores.probability, kind="stable")
    label, probability, column = scores.label[order], scores.probability[order], column[order]
    drawn = [resampling.times[:, np.unique(column[label == kind])].sum(axis=1) for kind in (0, 1)]
    both = np.flatnonzero(np.minimum(*drawn))
    for start in range(0, len(both), step):
        rows = both[start : start + step]
        weight = resampling.times[rows][:, column].astype(np.float64)
        values[rows] = figure(count(label, probability, weight))
    return values


def interval(values: Floats | None, *, confidence: float = 0.95) -> Interval | None:
    """The middle share of the defined replicates (the percentile interval); None without any.

    Percentiles keep to the figure's own range and need no symmetry, but a figure that is the
    same in every resample (the AUC of a set that is told apart without one mistake) gets an
    interval without width: the set is too easy, or too small, to say more.
    """
    if values is None or np.isnan(values).all():
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[~np.isnan(values)], [tail, 1 - tail])
    return Interval(float(low), float(high))


def _original(scores: Scores) -> Strings:
    return np.where(scores.target == "", scores.clip, scores.target)
