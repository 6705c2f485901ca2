"""Comparison of runs: paired gains, what cannot be told, ranking by cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from judged import make_findings, make_scores

from tfforensics.command import UsageError
from tfforensics.comparison import compare, markdown, verdict
from tfforensics.tables import ALL

LEVELS = {"c23": 1.0, "c40": 0.8, "c85": 0.6, "c90": 0.4}
BETTER = {level: distance + 1.5 for level, distance in LEVELS.items()}


def test_a_run_gains_nothing_over_itself():
    scores = make_scores(LEVELS)
    found = compare([make_findings(scores, "one"), make_findings(scores, "two")])
    gain = found.gains[0]["all datasets", ALL, "frame"]["auc"]
    assert gain.value == 0.0
    assert (gain.interval.low, gain.interval.high) == (0.0, 0.0)
    assert verdict(gain) == "cannot tell"


def test_a_better_run_is_called_better_and_the_other_way_round_worse():
    weak, strong = make_scores(LEVELS), make_scores(BETTER)
    found = compare([make_findings(weak, "weak"), make_findings(strong, "strong")])
    back = compare([make_findings(strong, "strong"), make_findings(weak, "weak")])
    for column in found.columns:
        there, here = (c.gains[0][column, "A", "frame"]["auc"] for c in (found, back))
        assert verdict(there) == "better"
        assert verdict(here) == "worse"
        assert there.value == pytest.approx(-here.value)
    assert found.columns == ["c23 & c40", "c85 & c90", "all datasets", *LEVELS]


def test_a_small_gain_that_is_the_same_on_every_face_is_told():
    # The second run adds the same to each logit of a fake: unpaired intervals overlap by far.
    scores = make_scores({"c0": 1.0}, pairs=30)
    shifted = make_scores({"c0": 1.15}, pairs=30)
    one, two = make_findings(scores, "one"), make_findings(shifted, "two")
    gain = compare([one, two]).gains[0]["c0", ALL, "frame"]["auc"]
    apart = [f.table["c0", ALL, "frame"]["auc"].interval for f in (one, two)]
    assert apart[0].high > apart[1].low
    assert verdict(gain) == "better"
    assert gain.interval.high - gain.interval.low < (apart[0].high - apart[0].low) / 3


def test_two_guessing_runs_cannot_be_told_apart():
    zero = {"c0": 0.0}
    runs = [make_findings(make_scores(zero, seed=seed), str(seed)) for seed in (1, 2)]
    assert verdict(compare(runs).gains[0]["c0", ALL, "frame"]["auc"]) == "cannot tell"


@pytest.mark.parametrize(
    "other",
    [
        make_scores(LEVELS, pairs=7),
        make_scores(LEVELS, frames=4),
        make_scores(LEVELS, manipulations=("A", "C")),
        make_scores({"c23": 1.0, "c40": 1.0, "c85": 1.0, "c95": 1.0}),
    ],
)
def test_runs_on_other_faces_are_not_compared(other):
    with pytest.raises(UsageError, match=r"RUN: runs/b was judged on other faces than runs/a; "):
        compare([make_findings(make_scores(LEVELS), "a"), make_findings(other, "b")])


def test_the_ranking_weighs_accuracy_against_cost():
    scores = make_scores({"c0": 2.0, "c85": 1.0})
    runs = [
        make_findings(scores, "dear", multiply_adds=4_000_000),
        make_findings(scores, "cheap", multiply_adds=1_000_000),
    ]
    cheap, dear = compare(runs).ranking
    cells = [runs[0].table[level, ALL, "frame"]["accuracy"].value for level in ("c0", "c85")]
    assert (cheap.run, dear.run) == ("cheap", "dear")
    assert cheap.accuracy == dear.accuracy == pytest.approx(np.mean(cells))
    assert cheap.opt == cheap.accuracy
    assert dear.opt == pytest.approx(dear.accuracy * 4**-0.07)


def test_runs_of_one_name_are_told_apart_by_their_folders():
    from pathlib import Path

    from tfforensics.run import Run

    scores = make_scores({"c0": 1.0})
    found = compare(
        [make_findings(scores, run=Run(Path(folder) / "b4")) for folder in ("seed0", "seed1")]
    )
    assert found.names == ("seed0/b4", "seed1/b4")


def test_one_class_and_few_clips_are_dashes_and_no_interval():
    scores = make_scores({"c0": 1.0}, pairs=3)
    few = compare([make_findings(scores, "a"), make_findings(scores, "b")])
    gain = few.gains[0]["c0", "A", "frame"]["auc"]
    assert (gain.interval, verdict(gain)) == (None, "cannot tell")
    real = make_findings(scores.take(scores.label == 0), "a")
    none = compare([real, make_findings(scores.take(scores.label == 0), "b")])
    assert none.ranking == ()
    assert "nan" not in markdown(none)
    json.dumps(none.result(), allow_nan=False)


def test_the_tables_have_a_row_a_run_and_an_overall_gain():
    weak, strong = make_scores(LEVELS), make_scores(BETTER)
    found = compare([make_findings(weak, "weak"), make_findings(strong, "strong")])
    lines = markdown(found).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("| c85 & c90, frame AUC"))
    assert [line.split("|")[1].strip() for line in lines[head + 2 : head + 5]] == [
        "weak", "strong", "overall gain of strong",
    ]  # fmt: skip
    gain = found.gains[0]["c85 & c90", "A", "frame"]["auc"]
    cell = lines[head + 4].split("|")[2].strip()
    assert cell.startswith(f"{100 * gain.value:+.1f} [+")
    assert cell.endswith("] better")
    result = json.loads(json.dumps(found.result(), allow_nan=False))
    figures = result["gains"]["strong"]["figures"]
    assert figures["c85 & c90"]["A"]["frame"]["auc"] == pytest.approx(gain.value)
    assert [rank["run"] for rank in result["ranking"]] == ["strong", "weak"]
