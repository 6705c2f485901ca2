"""Figures by group of people: each group's own videos, its own false alarms, honest intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from judged import finished_run, make_scores

from tfforensics import evaluate, groups, intervals
from tfforensics.calibrated import Calibrator
from tfforensics.command import UsageError
from tfforensics.groups import People
from tfforensics.scores import Scores

UNCALIBRATED = Calibrator(None, "none")


def people_of(scores: Scores, **of: object) -> People:
    return People({name: {p: rule(int(p)) for p in set(scores.target.tolist())}
                   for name, rule in of.items()})  # fmt: skip


def measured(scores: Scores, people: People) -> dict[tuple[str, str, str], groups.Group]:
    resampling = intervals.resample(scores, resamples=300)
    return groups.measure(scores, UNCALIBRATED, people, resampling)


def test_each_group_has_the_figures_of_its_own_videos() -> None:
    scores = make_scores({"c0": 2.0, "c40": 1.0}, pairs=20)
    # Of the first ten pairs a real face is called manipulated in every frame.
    first = np.array([int(t) < 20 for t in scores.target])
    probability = np.where(first & (scores.label == 0), 0.9, scores.probability)
    probability = np.where(~first & (scores.label == 0), 0.1, probability)
    scores = Scores(scores.split, probability, scores.label, scores.clip, scores.manipulation,
                    scores.level, scores.target, scores.source)  # fmt: skip
    found = measured(
        scores, people_of(scores, half=lambda p: "a" if p < 20 else "b", few=lambda p: str(p < 4))
    )
    for level in ("c0", "c40"):
        everyone, a, b = (
            found[key]
            for key in (("everyone", "all", level), ("half", "a", level), ("half", "b", level))
        )
        assert (everyone.people, a.people, b.people) == (40, 20, 20)
        assert (everyone.videos, a.videos) == (120, 60)
        assert (a.false_alarms.value, b.false_alarms.value) == (1.0, 0.0)
        assert everyone.false_alarms.value == 0.5
        bounds = everyone.false_alarms.interval
        # Half of twenty pairs, drawn anew: a standard deviation of .5 over the root of 20.
        assert bounds.low == pytest.approx(0.5 - 1.96 * 0.112, abs=0.06)
        assert bounds.high == pytest.approx(0.5 + 1.96 * 0.112, abs=0.06)
        assert a.auc.value < 0.5 < b.auc.value and b.auc.interval.low > 0.9
        # Two pairs are too few for an interval.
        few = found["few", "True", level]
        assert few.people == 4 and few.auc.interval is None is few.false_alarms.interval
    rows = list(groups.rows(groups.plain(found)))
    assert [len(row) for row in rows] == [len(groups.HEAD)] * 10
    assert rows[0][:4] == ["everyone: all", "c0", "40", "120"]
    few_row = next(row for row in rows if row[0] == "few: True")
    assert "[" not in "".join(few_row)


def test_a_group_with_one_class_has_a_dash() -> None:
    scores = make_scores({"c0": 2.0})
    scores = scores.take((scores.label == 1) | (scores.target == "000"))
    found = measured(scores, people_of(scores, first=lambda p: str(p == 0)))
    other = found["first", "False", "c0"]
    assert other.auc is None and other.false_alarms is None and other.abstained == 0
    assert list(groups.rows(groups.plain(found)))[1][-3:] == ["–", "–", "0.0"]  # noqa: RUF001


def test_someone_of_no_group_is_told() -> None:
    scores = make_scores({"c0": 2.0})
    with pytest.raises(UsageError, match="people: expected everyone who is seen, got no row of 00"):
        measured(scores, People({"sex": {"000": "female"}}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a column 'person'.*got no row"),
        ("name,sex\n000,female\n", "expected a column 'person'.*got name, sex"),
        ("person\n000\n", "at least one other.*got person"),
        ("person,sex\n000,\n", "line 2: expected a value in every column"),
        ("person,sex\n000,female,20\n", "line 2: expected a value in every column"),
        ("person,sex\n000,female\n000,male\n", "line 3: 000 is there twice"),
    ],
)
def test_a_file_that_does_not_say_it_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        People.read(path)


def test_evaluate_and_the_card_show_them(write_records, tmp_path: Path) -> None:
    from tfforensics.serving import source

    records = write_records({(m, s): 12 for m in ("real", "A") for s in ("val", "test")})
    run = finished_run(tmp_path / "run", records)
    evaluate.evaluate(run)
    from tfforensics.judge import Judge

    seen = Judge(run).at_levels(records, "test", ["c0"], "turbo")[0].videos()
    names = sorted(set(np.where(seen.target == "", seen.clip, seen.target).tolist()))
    csv = tmp_path / "people.csv"
    csv.write_text("person,sex\n" + "".join(
        f"{name},{'female' if i % 2 else 'male'}\n" for i, name in enumerate(names)
    ))  # fmt: skip
    evaluate.main([str(run.folder), "--people", str(csv)])
    page = (run.evaluation / "test.html").read_text()
    table = (run.evaluation / "test-turbo.md").read_text()
    card = source.load(run.folder).card.to_markdown()
    for text in (table, card):
        assert "| sex: female " in text and "| everyone: all " in text
    assert "Groups of people" in page and "sex: male" in page
