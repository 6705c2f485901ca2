"""A run's calibration: fitted on validation scores, kept in `RUN/calibration.json`, and applied."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from tfforensics import calibration, compression, files, manifest, staging
from tfforensics.calibration import Calibration, Reliability
from tfforensics.command import DataError
from tfforensics.judge import Judge
from tfforensics.scores import Ints, Scores, concatenate

NAME = "calibration.json"


@dataclass(frozen=True)
class Calibrator:
    """Turns scores into probabilities and calls.

    Attributes:
        calibration: None where the validation split could not give one; probabilities then
            stay as they are and faces at .5 or above are called manipulated.
        source: one line: what it was fitted on, or why there is none.
    """

    calibration: Calibration | None
    source: str

    def probabilities(self, scores: Scores) -> Scores:
        """The same faces with corrected probabilities."""
        if self.calibration is None:
            return scores
        corrected = self.calibration.probability(logit(scores.probability), quality(scores))
        return dataclasses.replace(scores, probability=corrected)

    def calls(self, scores: Scores) -> Ints:
        """(N,) 1 manipulated, 0 real, -1 cannot tell, of scores as the detector gave them."""
        return self.calls_of(self.probabilities(scores))

    def calls_of(self, corrected: Scores) -> Ints:
        """The same of what `probabilities` gave, or of the means of a video's."""
        if self.calibration is None:
            return (corrected.probability >= 0.5).astype(np.int64)
        return self.calibration.call(corrected.probability, quality(corrected))


def quality(scores: Scores) -> Ints:
    """(N,) the JPEG quality of each face by its level; 100 of c0.

    It is what a face's file says: the quality is read off its quantisation tables without
    error (`quality.from_tables`), and a canonical crop has no trace of a compression.
    """
    names, index = np.unique(scores.level, return_inverse=True)
    return np.array([100 - int(name[1:]) for name in names.tolist()], np.int64)[index]


def calibrate(judge: Judge, records: Path) -> Calibrator:
    """Fits a run's calibration and keeps it in the run; shows progress while it asks the detector.

    It is fitted on the validation split of the records that the run was trained on, with the
    levels, the encoder and the manipulations of its configuration, whatever is then evaluated:
    so that a level or a manipulation that the run was not meant for does not help to choose
    the threshold that it is judged by. A run that was trained on self-blended faces alone is
    calibrated on such faces.

    Args:
        judge: the run's detector.
        records: whose validation split is taken where the run's own records are not there and
            it was not calibrated before.

    Raises:
        DataError: damaged records.
    """
    config = judge.config
    folder = staging.find(config.data.records)
    if folder is None:
        kept = judge.run.folder / NAME
        if kept.is_file():
            return Calibrator(Calibration.from_json(kept.read_text()), "kept from an earlier fit")
        folder = records
    held = manifest.load(folder)
    manipulations = tuple(m for m in config.data.manipulations if m in held.manipulations)
    if not any(shard.count for shard in compression.shards(held, "val", manipulations)):
        return Calibrator(None, f"none: {folder} has no face in the val split")
    settings = config.evaluation
    if config.data.selfblend == 1:
        scores = concatenate(judge.self_blended(folder, "val", settings.levels))
    else:
        scores = concatenate(
            judge.at_levels(folder, "val", settings.levels, settings.encoder, manipulations)
        )
    try:
        fitted = calibration.fit(scores, quality(scores))
    except DataError as error:
        return Calibrator(None, f"none: {error}")
    files.write(judge.run.folder / NAME, fitted.to_json())
    what = "the self-blended val split" if config.data.selfblend == 1 else "the val split"
    return Calibrator(fitted, f"fitted on {what} of {folder} at {', '.join(settings.levels)}")


def reliability(calibrator: Calibrator, scores: Scores) -> dict[str, dict[str, Reliability]]:
    """Reliability of the scores as they are ("raw") and corrected, by level.

    A level whose faces are of one class is left out.
    """
    found = {}
    for level in scores.levels:
        raw = scores.at_level(level)
        corrected = calibrator.probabilities(raw)
        pair = {
            name: calibration.reliability(part.label, part.probability)
            for name, part in (("raw", raw), ("corrected", corrected))
        }
        known = {name: value for name, value in pair.items() if value is not None}
        if known:
            found[level] = known
    return found


def calls(calibrator: Calibrator, scores: Scores) -> dict[str, dict[str, float | None]]:
    """What comes of the calls at each level, of single faces.

    Returns:
        By level: `false_alarms`, the share of real faces called manipulated; `missed`, the
        share of manipulated faces called real; `abstained`, the share of all that is called
        neither. None where there is no face of the class.
    """
    found = {}
    for level in scores.levels:
        faces = scores.at_level(level)
        call = calibrator.calls(faces)
        real, manipulated = (call[faces.label == kind] for kind in (0, 1))
        found[level] = {
            "false_alarms": _share(real == 1),
            "missed": _share(manipulated == 0),
            "abstained": _share(call == -1),
        }
    return found


def _share(which: npt.NDArray[np.bool_]) -> float | None:
    return float(which.mean()) if len(which) else None
