"""Tables: perfect, random and inverted detectors, scikit-learn's figures, missing classes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from judged import make_scores
from sklearn import metrics as theirs

from tfforensics import tables
from tfforensics.intervals import resample
from tfforensics.tables import ALL, FIGURES, Measured

REPORT = {"c23": 2.0, "c40": 1.5, "c85": 1.0, "c90": 0.5}


def measure(scores, decided=None):
    decided = scores if decided is None else decided
    return tables.measure(scores, decided, resample(scores, resamples=100))


def with_probability(scores, probability):
    return dataclasses.replace(scores, probability=probability)


@pytest.mark.parametrize("unit", tables.UNITS)
def test_a_perfect_detector(unit):
    scores = make_scores({"c0": 0.0})
    table = measure(with_probability(scores, np.where(scores.label, 0.9, 0.1)))
    for name in ("A", "B", ALL):
        values = {figure: m.value for figure, m in table["c0", name, unit].items()}
        assert values == dict.fromkeys(FIGURES, 1.0) | {"eer": 0.0}
        for figure, m in table["c0", name, unit].items():
            assert (m.interval.low, m.interval.high) == (values[figure], values[figure])


@pytest.mark.parametrize("unit", tables.UNITS)
def test_an_inverted_detector(unit):
    scores = make_scores({"c0": 0.0})
    table = measure(with_probability(scores, np.where(scores.label, 0.1, 0.9)))
    found = {figure: m.value for figure, m in table["c0", "A", unit].items()}
    # As many real as manipulated: all ranked before the first manipulated one are real.
    count = 12 if unit == "video" else 36
    precision = np.mean([k / (count + k) for k in range(1, count + 1)])
    # Scores tie within a class, so that the curve has one step for each.
    assert found == {
        "auc": 0.0, "accuracy": 0.0, "f1": 0.0, "average_precision": 0.5, "eer": 1.0,
        "tpr_at_fpr_1": 0.0, "tpr_at_fpr_5": 0.0, "cohen_kappa": -1.0, "matthews": -1.0,
    }  # fmt: skip
    apart = np.where(scores.label, 0.1, 0.9) + np.linspace(0, 0.05, len(scores))
    untied = measure(with_probability(scores, apart))["c0", "A", unit]["average_precision"]
    assert untied.value == pytest.approx(precision)


def test_a_detector_that_guesses_has_chance_within_its_interval():
    table = measure(make_scores({"c0": 0.0}, pairs=40, seed=3))
    for name in ("A", "B", ALL):
        auc = table["c0", name, "frame"]["auc"]
        assert auc.interval.low < 0.5 < auc.interval.high
        assert auc.interval.high - auc.interval.low < 0.2


@pytest.mark.parametrize("unit", tables.UNITS)
@pytest.mark.parametrize("name", ["B", ALL])
def test_figures_are_those_of_scikit_learn(unit, name):
    scores = make_scores({"c0": 1.0, "c85": 0.6}, seed=5)
    # Few distinct values, so that there are ties.
    scores = with_probability(scores, np.round(scores.probability, 1))
    cell = measure(scores)["c85", name, unit]
    part = scores.at_level("c85")
    part = part if name == ALL else part.against(name)
    part = part.videos() if unit == "video" else part
    call = part.probability >= 0.5
    fpr, tpr, _ = theirs.roc_curve(part.label, part.probability, drop_intermediate=False)
    expected = {
        "auc": theirs.roc_auc_score(part.label, part.probability),
        "accuracy": theirs.accuracy_score(part.label, call),
        "f1": theirs.f1_score(part.label, call),
        "average_precision": theirs.average_precision_score(part.label, part.probability),
        "tpr_at_fpr_1": tpr[fpr <= 0.01].max(),
        "tpr_at_fpr_5": tpr[fpr <= 0.05].max(),
        "cohen_kappa": theirs.cohen_kappa_score(part.label, call),
        "matthews": theirs.matthews_corrcoef(part.label, call),
    }
    assert {figure: cell[figure].value for figure in expected} == pytest.approx(expected)


def test_only_figures_at_a_threshold_depend_on_what_was_decided():
    scores = make_scores({"c0": 2.0})
    as_they_are = measure(scores)["c0", ALL, "frame"]
    decided = measure(scores, with_probability(scores, np.ones(len(scores))))["c0", ALL, "frame"]
    changed = {f for f in FIGURES if decided[f].value != as_they_are[f].value}
    assert changed == {"accuracy", "f1", "cohen_kappa", "matthews"}
    assert decided["accuracy"].value == pytest.approx(2 / 3)  # the share of manipulated faces


def test_the_averages_are_means_over_their_levels():
    table = measure(make_scores({**REPORT, "c0": 3.0}))
    auc = {level: table[level, "A", "video"]["auc"] for level in REPORT}
    for title, levels in {
        "c23 & c40": ["c23", "c40"], "c85 & c90": ["c85", "c90"], "all datasets": list(REPORT)
    }.items():  # fmt: skip
        found = table[title, "A", "video"]["auc"]
        assert found.value == pytest.approx(np.mean([auc[level].value for level in levels]))
        replicates = np.mean([auc[level].replicates for level in levels], axis=0)
        np.testing.assert_allclose(found.replicates, replicates)


def test_an_average_whose_levels_are_not_all_there_is_left_out():
    figures, _ = tables.plain(measure(make_scores({"c23": 1.0, "c85": 1.0, "c90": 1.0})))
    assert list(figures) == ["c23", "c85", "c90", "c85 & c90"]


def test_one_class_gives_dashes_and_no_nan():
    scores = make_scores({"c0": 1.0})
    real = scores.take(scores.label == 0)
    figures, intervals = tables.plain(measure(real))
    assert figures == {"c0": {"all": {"frame": None, "video": None}}} == intervals
    assert json.loads(json.dumps([figures, intervals], allow_nan=False)) == [figures, intervals]
    assert tables.overview(figures, "frame").splitlines()[2] == "| all       |  – |"  # noqa: RUF001
    assert "nan" not in tables.details(figures, intervals, "c0", "frame").lower()
    rows = [row[4:] for row in tables.csv_rows(figures, intervals)]
    assert rows == [["", "", ""]] * 2 * len(FIGURES)

    manipulated = scores.take(scores.label == 1)
    figures, _ = tables.plain(measure(manipulated))
    assert figures["c0"]["A"] == {"frame": None, "video": None}


def test_too_few_clips_give_figures_without_intervals():
    scores = make_scores({"c0": 9.0}, pairs=4)
    figures, intervals = tables.plain(measure(scores))
    assert figures["c0"]["A"]["video"]["auc"] == 1.0
    assert intervals["c0"]["A"]["video"]["auc"] is None
    assert (
        tables.details(figures, intervals, "c0", "video")
        .splitlines()[2]
        .startswith("| A         | 100.0 |")
    )


def test_an_interval_is_wider_where_faces_are_fewer_and_holds_its_figure():
    widths = []
    for pairs in (6, 60):
        auc = measure(make_scores({"c0": 1.0}, pairs=pairs))["c0", "A", "frame"]["auc"]
        assert auc.interval.low < auc.value < auc.interval.high
        widths.append(auc.interval.high - auc.interval.low)
    assert widths[0] > 2 * widths[1]


def test_a_gain_is_taken_resample_by_resample():
    better, worse = (Measured(v, np.array([v, v + d])) for v, d in ((0.9, 0.05), (0.6, 0.05)))
    gain = better.minus(worse)
    assert gain.value == pytest.approx(0.3)
    # They vary together: the gain does not vary at all.
    np.testing.assert_allclose(gain.replicates, 0.3)
    assert better.minus(Measured(0.6, None)).interval is None


FIGURES_PLAIN = {
    "c0": {"A": {"frame": dict.fromkeys(FIGURES, 0.98765)}, "all": {"frame": None}},
    "c95": {"A": {"frame": dict.fromkeys(FIGURES, 1.0)}, "all": {"frame": None}},
}
BOUNDS_PLAIN = {
    "c0": {"A": {"frame": {figure: [0.9, 1.0] for figure in FIGURES}}, "all": {"frame": None}},
    "c95": {"A": {"frame": dict.fromkeys(FIGURES)}, "all": {"frame": None}},
}


def test_tables_as_they_are_printed():
    assert tables.overview(FIGURES_PLAIN, "frame").splitlines() == [
        "| frame AUC |   c0 |   c95 |",
        "|-----------|-----:|------:|",
        "| A         | 98.8 | 100.0 |",
        "| all       |    – |     – |",  # noqa: RUF001
    ]
    first = tables.details(FIGURES_PLAIN, BOUNDS_PLAIN, "c0", "frame").splitlines()
    assert first[0].split("|")[1:4] == [
        " c0, frame ",
        "                AUC ",
        "                ACC ",
    ]
    assert first[2].split("|")[1:3] == [" A         ", " 98.8 [90.0, 100.0] "]


def test_csv_has_a_row_for_each_figure():
    rows = list(tables.csv_rows(FIGURES_PLAIN, BOUNDS_PLAIN))
    assert len(rows) == 2 * 2 * len(FIGURES)
    assert rows[0] == ["c0", "A", "frame", "auc", "0.987650", "0.900000", "1.000000"]
    assert rows[len(FIGURES)] == ["c0", "all", "frame", "auc", "", "", ""]
    assert rows[2 * len(FIGURES)] == ["c95", "A", "frame", "auc", "1.000000", "", ""]
