"""Probabilities that mean something, and when to say nothing: fitted on validation scores only.

A detector that was trained on many JPEG levels is over-confident on some and timid on others,
so each band of estimated quality (`tfforensics.quality`) has its own correction of the logit z:

    P(manipulated) = sigmoid(scale * z + offset),    scale >= 0, |z| <= 36

temperature scaling (Guo et al., On calibration of modern neural networks, ICML 2017; scale is
one over the temperature) with Platt's offset. The fit weighs both classes alike: the
probability is that of a face which is as likely to be real as manipulated before one looks.
For other odds, add the logarithm of theirs to the corrected logit.

Two thresholds a band hold an error rate on the validation faces: at most that share of the
real faces is called manipulated, at most that share of the manipulated ones real. Between them
the detector abstains. They are for single faces; the mean over a video's frames is nearer to
1/2 in doubt and further from it when sure.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from tfforensics.command import DataError, UsageError
from tfforensics.scores import Floats, Ints, Scores

if TYPE_CHECKING:
    import tensorflow as tf

SCHEMA = 1
# The lowest quality of each band, between those of the levels c95, c90, c85, c40, c23 and c0.
BANDS = (1, 8, 13, 38, 69, 90)
# Logits are clipped here: further out they cannot be told apart once they were probabilities.
FURTHEST = 36.0
# A class with fewer videos than this in a band does not show how that band is to be corrected.
FEWEST_VIDEOS = 5


@dataclass(frozen=True)
class Band:
    """The correction of faces whose quality is `lowest` or above, up to the next band.

    Attributes:
      lowest: 1 to 100.
      scale: at least 0; 0 where higher scores do not mean manipulated more often.
      offset: in logits.
      real_below: a corrected probability below it is called real.
      manipulated_from: one at or above it is called manipulated; not less than `real_below`.
      videos: that the band was fitted on; 0 for a copy of the nearest band that was.
    """

    lowest: int
    scale: float
    offset: float
    real_below: float
    manipulated_from: float
    videos: int

    def __post_init__(self) -> None:
        if not (
            all(type(value) in (int, float) for value in astuple(self))
            and 1 <= self.lowest <= 100
            and 0 <= self.scale < np.inf
            and abs(self.offset) < np.inf
            and self.real_below <= self.manipulated_from
        ):
            raise DataError(
                "calibration: expected numbers, lowest 1 to 100, a finite scale of at least 0, a "
                f"finite offset, and real_below at most manipulated_from, not {self}"
            )


@dataclass(frozen=True)
class Calibration:
    """What turns a detector's logits into probabilities and calls; see the module.

    Attributes:
      error_rate: that the thresholds hold on the validation faces.
      bands: in rising order of quality; the first begins at 1.
    """

    error_rate: float
    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        lowest = [band.lowest for band in self.bands]
        if lowest[:1] != [1] or lowest != sorted(set(lowest)):
            raise DataError(f"calibration: expected bands that rise from quality 1, not {lowest}")

    def probability(self, logits: Floats, quality: Ints) -> Floats:
        """(N,) P(manipulated) at even odds.

        Args:
          logits: (N,)
          quality: (N,) 1 to 100, estimated; 100 where there is no trace of compression.
        """
        band = self._band(quality)
        z = np.clip(logits, -FURTHEST, FURTHEST)
        return expit(self._values("scale")[band] * z + self._values("offset")[band])

    def call(self, probability: Floats, quality: Ints) -> Ints:
        """(N,) 1 manipulated, 0 real, -1 cannot tell, of corrected probabilities."""
        band = self._band(quality)
        real = probability < self._values("real_below")[band]
        manipulated = probability >= self._values("manipulated_from")[band]
        return np.where(manipulated, 1, np.where(real, 0, -1))

    def probability_in_graph(self, logits: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        """`probability` as TensorFlow ops: float32 (B,) logits, int32 (B,) quality."""
        import tensorflow as tf

        lowest = tf.constant([band.lowest for band in self.bands], tf.int32)
        band = tf.searchsorted(lowest, quality, side="right") - 1
        scale = tf.gather(tf.constant(self._values("scale"), tf.float32), band)
        offset = tf.gather(tf.constant(self._values("offset"), tf.float32), band)
        return tf.sigmoid(scale * tf.clip_by_value(logits, -FURTHEST, FURTHEST) + offset)

    def to_json(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """What `to_json` wrote.

        Raises:
          DataError: not a calibration, of another schema version, or with impossible values.
        """
        try:
            entries = json.loads(text)
            schema = entries.pop("schema")
            bands = tuple(Band(**entry) for entry in entries.pop("bands"))
            if schema != SCHEMA:
                raise DataError(f"calibration: expected schema {SCHEMA}, got {schema!r}")
            return cls(**entries, bands=bands)
        except DataError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"calibration: expected what to_json writes: {error!r}") from error

    def _band(self, quality: Ints) -> Ints:
        return np.searchsorted([band.lowest for band in self.bands], quality, side="right") - 1

    def _values(self, name: str) -> Floats:
        return np.array([getattr(band, name) for band in self.bands], np.float64)


def fit(scores: Scores, quality: Ints, *, error_rate: float = 0.05) -> Calibration:
    """The calibration of a detector by its scores of the validation split.

    A band in which a class has fewer than `FEWEST_VIDEOS` videos gets the correction of the
    nearest band by quality that has enough.

    Args:
      scores: of the split "val", all levels together.
      quality: (N,) 1 to 100, estimated of each face; 100 where there is no trace.
      error_rate: of each class, that the thresholds are to hold.

    Raises:
      UsageError: scores of another split, or an impossible error rate.
      DataError: no band has enough videos of both classes.
    """
    if scores.split != "val":
        raise UsageError(f"split: calibration is fitted on 'val' only, not on {scores.split!r}")
    if not 0 < error_rate < 0.5:
        raise UsageError(f"error_rate: expected more than 0 and less than 0.5, got {error_rate}")
    where = np.searchsorted(BANDS, quality, side="right") - 1
    fitted = {}
    for index, lowest in enumerate(BANDS):
        band = _fit_band(scores.take(where == index), lowest, error_rate)
        if band:
            fitted[index] = band
    if not fitted:
        real, manipulated = (len(scores.take(scores.label == k).videos()) for k in (0, 1))
        raise DataError(
            f"calibration: expected at least {FEWEST_VIDEOS} real and {FEWEST_VIDEOS} manipulated "
            f"videos of one quality in 'val', got {real} and {manipulated} in all"
        )
    bands = []
    for index, lowest in enumerate(BANDS):
        nearest = fitted[min(fitted, key=lambda other: (abs(other - index), other))]
        videos = nearest.videos if index in fitted else 0
        bands.append(Band(**{**asdict(nearest), "lowest": lowest, "videos": videos}))
    return Calibration(error_rate, tuple(bands))


def _fit_band(scores: Scores, lowest: int, error_rate: float) -> Band | None:
    videos = scores.videos()
    each = np.bincount(videos.label, minlength=2)
    if each.min() < FEWEST_VIDEOS:
        return None
    # Platt's targets, a little off 0 and 1 by the number of videos: scores without a mistake
    # do not drive the scale to infinity.
    target = np.where(scores.label == 1, (each[1] + 1) / (each[1] + 2), 1 / (each[0] + 2))
    weight = even_odds(scores.label)
    logits = np.clip(logit(scores.probability), -FURTHEST, FURTHEST)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * logits + parameters[1]
        error = weight * (expit(z) - target)
        value = (weight * (np.logaddexp(0, z) - target * z)).sum()
        return float(value), np.array([(error * logits).sum(), error.sum()])

    found = minimize(
        loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]
    )
    scale, offset = (float(value) for value in found.x)
    probability = expit(scale * logits + offset)
    real, manipulated = (probability[scores.label == kind] for kind in (0, 1))
    upper = _threshold(real, probability, error_rate)
    # The same with the classes and the scale turned round.
    lower = 1 - _threshold(1 - manipulated, 1 - probability, error_rate)
    if lower > upper:  # whatever lies between them holds both rates: nothing to abstain from
        lower = upper = (lower + upper) / 2
    return Band(lowest, scale, offset, lower, upper, len(videos))


def _threshold(wrong: Floats, scores: Floats, rate: float) -> float:
    """The lowest threshold that at most the rate of the wrong ones reach.

    Half-way between the highest score that it has to keep out and the next one above.
    """
    out = np.sort(wrong)[::-1][int(rate * len(wrong) + 1e-9)]
    middle = (out + scores[scores > out].min(initial=1.0)) / 2
    return float(middle if middle > out else np.nextafter(out, np.inf))


def even_odds(label: Ints) -> Floats:
    """(N,) weights that sum to 1/2 over each class; both must be there."""
    each = np.bincount(label, minlength=2)
    return 0.5 / each[label]


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram at even odds: one entry a bin that holds a face.

    Attributes:
      predicted: (K,) mean probability.
      observed: (K,) share of manipulated faces.
      weight: (K,) share of all faces; sums to 1.
    """

    predicted: Floats
    observed: Floats
    weight: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of observed from predicted."""
        return float((self.weight * np.abs(self.observed - self.predicted)).sum())


def reliability(label: Ints, probability: Floats, *, bins: int = 15) -> Reliability | None:
    """The reliability diagram over bins of equal width; None where a class is missing.

    Classes weigh alike, as in the fit: a set with four manipulated faces for each real one is
    not taken for a world in which that is so.
    """
    if len(np.unique(label)) < 2:
        return None
    weight = even_odds(label)
    index = np.minimum((probability * bins).astype(np.int64), bins - 1)
    total = np.bincount(index, weight)
    held = total > 0
    predicted = np.bincount(index, weight * probability)[held] / total[held]
    observed = np.bincount(index, weight * label)[held] / total[held]
    return Reliability(predicted, observed, total[held].astype(np.float64))
