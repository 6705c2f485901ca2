"""The sweep: its points, false alarms at the validation threshold, tables, bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from judged import finished_run, make_scores
from pages import Page

from tfforensics import command, compression, metrics, robustness, sweep
from tfforensics.calibrated import Calibrator
from tfforensics.calibration import Band, Calibration
from tfforensics.compression import Compression
from tfforensics.intervals import resample
from tfforensics.judge import Judge


@pytest.fixture
def run(tmp_path, write_records):
    counts = {(m, s): 14 for m in ("real", "A") for s in ("val", "test")}
    records = write_records(counts)
    return finished_run(tmp_path / "run", records, evaluation={"levels": ["c85"]})


def test_every_encoder_variant_and_quality_is_a_point(run, capsys, monkeypatch):
    robustness.main([str(run.folder), "--qualities", "5", "60", "60", "--frames", "1"])
    out = capsys.readouterr().out
    assert "| AUC at quality | turbo, once, 4:2:0 | turbo, once, 4:4:4 | turbo, twice, Q75" in out
    with (run.evaluation / "robustness-test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 2 * 3
    assert [row["quality"] for row in rows[:6]] == ["60"] * 3 + ["5"] * 3
    assert {(row["encoder"], row["variant"]) for row in rows} == {
        (encoder, variant)
        for encoder in ("turbo", "mozjpeg")
        for variant in ("once, 4:2:0", "once, 4:4:4", "twice, Q75 first", "at half the size")
    }
    for row in rows:
        assert 0 <= float(row["low"]) <= float(row["value"]) <= float(row["high"]) <= 1
    assert (run.evaluation / "robustness-test.png").stat().st_size > 10_000
    page = Page((run.evaluation / "robustness-test.html").read_text())
    assert (page.requests, page.unnamed) == ([], 0)
    assert "mozjpeg, twice, Q75 first" in page.text

    # Run again, nothing is asked anew.
    monkeypatch.setattr(compression, "batches", lambda *_, **__: pytest.fail("asked again"))
    again = robustness.robustness(run, qualities=[60, 5], frames=1)
    assert again.strip() == out.strip()


def test_a_point_is_what_the_level_is(run):
    records = Path(run.config().data.records)
    judge = Judge(run)
    swept = sweep.sweep(judge, records, split="test", qualities=[15], encoders=["turbo"], frames=99)
    (scores,) = judge.at_levels(records, "test", ["c85"], "turbo")
    point = swept.points[0]
    counts = metrics.count(scores.label, scores.probability)
    assert point.auc.value == pytest.approx(float(metrics.auc(counts)))
    assert point.eer.value == pytest.approx(float(metrics.equal_error_rate(counts)))
    call = swept.calibrator.calls(scores)
    assert point.false_alarms.value == pytest.approx((call[scores.label == 0] == 1).mean())


def test_false_alarms_are_counted_at_the_threshold_of_the_band():
    bands = (Band(1, 1.0, 0.0, 0.3, 0.6, 9), Band(38, 1.0, 0.0, 0.05, 0.75, 9))
    calibrator = Calibrator(Calibration(0.05, bands), "")
    for level, threshold in (("c85", 0.6), ("c23", 0.75)):
        scores = make_scores({level: 0.5}, pairs=10)
        made = Compression("turbo", 100 - int(level[1:]))
        point = sweep._point(made, "once", scores, calibrator, resample(scores, resamples=50))
        real = scores.probability[scores.label == 0]
        assert point.false_alarms.value == pytest.approx((real >= threshold).mean())
        assert 0 < point.false_alarms.value < 0.5
        assert point.false_alarms.interval.low < point.false_alarms.value


def test_no_face_above_the_threshold_is_no_false_alarm():
    scores = make_scores({"c85": 0.0})
    calibrator = Calibrator(Calibration(0.05, (Band(1, 1.0, 0.0, 0.5, 1.1, 9),)), "")
    made = Compression("turbo", 15)
    point = sweep._point(made, "once", scores, calibrator, resample(scores, resamples=50))
    assert point.false_alarms.value == 0
    np.testing.assert_array_equal(point.false_alarms.replicates, np.zeros(50))


def outcome(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: robustness.main(list(map(str, arguments))), "prog")
    return ended.value.code, capsys.readouterr().err.splitlines()[-1]


def test_bad_input(run, tmp_path, write_records, capsys):
    for arguments, line in (
        (["none"], "prog: none: expected a run directory"),
        (
            [run.folder, "--qualities", "0"],
            "argument --qualities: expected a JPEG quality",
        ),
        ([run.folder, "--qualities", "x"], "expected a JPEG quality of 1 to 100, got 'x'"),
        ([run.folder, "--frames", "0"], "expected a whole number of at least 1, got '0'"),
        ([run.folder, "--encoder", "webp"], "invalid choice: 'webp'"),
        ([run.folder, "--records", "none"], "prog: records none: not there"),
    ):
        code, said = outcome(arguments, capsys)
        assert (code, line in said) == (2, True), said
    real = write_records({("real", "test"): 4}, name="real")
    code, said = outcome([run.folder, "--records", real, "--qualities", "50"], capsys)
    assert code == 1
    assert said == f"prog: {real}: expected real and manipulated faces in the test split"
    code, said = outcome([run.folder, "--split", "train"], capsys)
    assert (code, "no face in the train split" in said) == (1, True)
    json.loads((run.folder / "calibration.json").read_text())
