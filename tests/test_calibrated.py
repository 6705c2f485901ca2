"""A run's calibration comes from validation alone, and says so where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from judged import finished_run, make_scores

from tfforensics import calibrated
from tfforensics.calibrated import Calibrator
from tfforensics.calibration import Calibration, fit
from tfforensics.judge import Judge

ENOUGH = {(m, s): 12 for m in ("real", "A") for s in ("val", "test")}


@pytest.fixture
def records(write_records):
    return write_records(ENOUGH)


class Asked:
    """A judge that notes what it is asked of."""

    def __init__(self, judge):
        self.run, self.config, self._judge, self.questions = judge.run, judge.config, judge, []

    def at_levels(self, records, split, levels, encoder, manipulations=()):
        self.questions.append((records, split, tuple(levels), encoder, manipulations))
        return self._judge.at_levels(records, split, levels, encoder, manipulations)


def test_it_is_fitted_on_the_validation_split_and_kept(tmp_path, records, write_records):
    run = finished_run(tmp_path / "run", records, data={"manipulations": ["A"]})
    judge = Asked(Judge(run))
    elsewhere = write_records({("real", "test"): 4, ("A", "test"): 4}, name="elsewhere")
    found = calibrated.calibrate(judge, elsewhere)
    assert judge.questions == [(records, "val", ("c0", "c85"), "turbo", ("A",))]
    assert found.source == f"fitted on the val split of {records} at c0, c85"
    kept = Calibration.from_json((run.folder / "calibration.json").read_text())
    assert kept == found.calibration
    assert [band.videos > 0 for band in kept.bands] == [False, False, True, False, False, True]


def test_without_the_runs_own_records_those_that_are_judged_give_it(tmp_path, write_records):
    other = write_records(ENOUGH, name="other")
    run = finished_run(tmp_path / "run", tmp_path / "gone")
    found = calibrated.calibrate(Judge(run), other)
    assert found.source.startswith(f"fitted on the val split of {other}")


def test_too_few_videos_are_told(tmp_path, write_records):
    few = write_records({(m, s): 4 for m in ("real", "A") for s in ("val", "test")})
    run = finished_run(tmp_path / "run", few)
    found = calibrated.calibrate(Judge(run), few)
    assert found.calibration is None
    assert found.source.startswith("none: calibration: expected at least 5 real and 5 manipulated")
    assert not (run.folder / "calibration.json").exists()

    none = write_records({("real", "test"): 4, ("A", "test"): 4}, name="test-only")
    found = calibrated.calibrate(Judge(finished_run(tmp_path / "two", none)), none)
    assert found == Calibrator(None, f"none: {none} has no face in the val split")


def test_quality_is_that_of_the_level():
    scores = make_scores({"c0": 1.0, "c23": 1.0, "c95": 1.0, "c60": 1.0}, pairs=1)
    by_level = {
        level: set(calibrated.quality(scores.at_level(level)).tolist()) for level in scores.levels
    }
    assert by_level == {"c0": {100}, "c23": {77}, "c95": {5}, "c60": {40}}


def test_probabilities_and_calls_are_those_of_the_calibration():
    val = make_scores({"c0": 2.0, "c85": 1.0}, pairs=20, split="val")
    fitted = fit(val, calibrated.quality(val))
    scores = make_scores({"c0": 2.0, "c85": 1.0}, pairs=20, seed=1)
    made = Calibrator(fitted, "")
    logits = np.log(scores.probability / (1 - scores.probability))
    expected = fitted.probability(logits, calibrated.quality(scores))
    np.testing.assert_allclose(made.probabilities(scores).probability, expected)
    np.testing.assert_array_equal(
        made.calls(scores), fitted.call(expected, calibrated.quality(scores))
    )
    for level, shares in calibrated.calls(made, scores).items():
        faces = scores.at_level(level)
        call = made.calls(faces)
        assert shares["false_alarms"] == (call[faces.label == 0] == 1).mean() < 0.15
        assert shares["missed"] == (call[faces.label == 1] == 0).mean() < 0.15
        assert shares["abstained"] == (call == -1).mean() > 0
    errors = calibrated.reliability(made, scores)
    assert set(errors) == {"c0", "c85"}
    assert errors["c0"]["corrected"].error < errors["c0"]["raw"].error


def test_without_a_calibration_one_half_decides():
    scores = make_scores({"c0": 2.0})
    bare = Calibrator(None, "none")
    assert bare.probabilities(scores) is scores
    np.testing.assert_array_equal(bare.calls(scores), scores.probability >= 0.5)
    assert calibrated.calls(bare, scores)["c0"]["abstained"] == 0


def test_a_level_of_one_class_has_no_reliability():
    scores = make_scores({"c0": 2.0})
    real = scores.take(scores.label == 0)
    bare = Calibrator(None, "none")
    assert calibrated.reliability(bare, real) == {}
    assert calibrated.calls(bare, real)["c0"]["missed"] is None
