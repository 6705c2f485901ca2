"""What a detector said is kept: for these weights, records and faces only, and whole."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from judged import finished_run

from tfforensics import compression, judge, manifest, pipeline
from tfforensics.command import DataError, UsageError
from tfforensics.compression import Compression
from tfforensics.judge import Judge
from tfforensics.run import Run

FACES = {(m, s): 4 for m in ("real", "A", "B") for s in ("val", "test")}


@pytest.fixture
def records(write_records):
    return write_records(FACES)


@pytest.fixture
def run(tmp_path, records):
    return finished_run(tmp_path / "run", records)


@pytest.fixture
def asked(monkeypatch):
    """The (split, level) that the detector is asked of, in order."""
    questions = []
    original = pipeline.evaluation_batches

    def noting(folder, split, level, **how):
        questions.append((split, level))
        return original(folder, split, level, **how)

    monkeypatch.setattr(pipeline, "evaluation_batches", noting)
    return questions


def test_each_level_is_asked_once(run, records, asked):
    first = Judge(run).at_levels(records, "test", ["c0", "c85"], "turbo")
    assert asked == [("test", "c0"), ("test", "c85")]
    assert [scores.levels for scores in first] == [["c0"], ["c85"]]
    assert all(len(scores) == 12 for scores in first)
    again = Judge(run).at_levels(records, "test", ["c85", "c0", "c23"], "turbo")
    assert asked[2:] == [("test", "c23")]
    for kept, said in zip(again, reversed(first), strict=False):
        for name in ("probability", "label", "clip", "manipulation", "level", "target", "source"):
            np.testing.assert_array_equal(getattr(kept, name), getattr(said, name))
        assert kept.split == "test"


def test_evaluation_that_was_stopped_goes_on(run, records, asked, monkeypatch):
    whole = Judge(run).at_levels(records, "test", ["c0", "c23", "c40"], "turbo")
    for path in (run.evaluation / "scores").glob("*"):
        path.unlink()
    score = judge.score

    def stop_at_the_second(*given, **named):
        if len(asked) == 5:
            raise KeyboardInterrupt
        return score(*given, **named)

    monkeypatch.setattr(judge, "score", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        Judge(run).at_levels(records, "test", ["c0", "c23", "c40"], "turbo")
    kept = sorted(path.name for path in (run.evaluation / "scores").iterdir())
    assert kept == ["records-test-c0.npz"]

    monkeypatch.setattr(judge, "score", score)
    del asked[:]
    resumed = Judge(run).at_levels(records, "test", ["c0", "c23", "c40"], "turbo")
    assert asked == [("test", "c23"), ("test", "c40")]
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)


def test_c0_is_the_same_by_both_encoders(run, records, asked):
    detector = Judge(run)
    detector.at_levels(records, "test", ["c0"], "turbo")
    detector.at_levels(records, "test", ["c0"], "mozjpeg")
    assert asked == [("test", "c0")]


def test_scores_of_other_weights_are_not_used(run, records, asked, tmp_path):
    (before,) = Judge(run).at_levels(records, "test", ["c0"], "turbo")
    other = finished_run(tmp_path / "other", records, seed=1)
    other.evaluation.mkdir()
    (run.evaluation / "scores").rename(other.evaluation / "scores")
    (after,) = Judge(other).at_levels(records, "test", ["c0"], "turbo")
    assert len(asked) == 2
    assert not np.array_equal(before.probability, after.probability)


def test_scores_of_other_records_are_not_used(run, records, asked, write_records):
    detector = Judge(run)
    detector.at_levels(records, "test", ["c0"], "turbo")
    write_records(FACES | {("A", "test"): 6})  # in the same folder
    (after,) = detector.at_levels(records, "test", ["c0"], "turbo")
    assert len(asked) == 2
    assert len(after) == 14


def test_some_manipulations_are_kept_apart_from_all(run, records, asked):
    detector = Judge(run)
    (everything,) = detector.at_levels(records, "test", ["c0"], "turbo")
    (some,) = detector.at_levels(records, "test", ["c0"], "turbo", ("B",))
    assert some.manipulations == ["B"]
    expected = everything.against("B")
    np.testing.assert_allclose(some.probability, expected.probability, rtol=1e-5)
    assert len(detector.at_levels(records, "test", ["c0"], "turbo")[0]) == 12
    assert len(asked) == 2


def test_a_damaged_file_is_told_and_written_anew(run, records, asked, caplog):
    (before,) = Judge(run).at_levels(records, "test", ["c0"], "turbo")
    path = run.evaluation / "scores" / "records-test-c0.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        (after,) = Judge(run).at_levels(records, "test", ["c0"], "turbo")
    assert f"{path}: damaged" in caplog.text
    assert len(asked) == 2
    np.testing.assert_array_equal(before.probability, after.probability)
    del asked[:]
    Judge(run).at_levels(records, "test", ["c0"], "turbo")
    assert asked == []


def test_a_file_of_scores_is_never_unpickled(run, records, asked):
    detector = Judge(run)
    detector.at_levels(records, "test", ["c0"], "turbo")
    path = run.evaluation / "scores" / "records-test-c0.npz"

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    trapped = np.empty(1, object)
    trapped[0] = Trap()
    np.savez(path, key=trapped)
    detector.at_levels(records, "test", ["c0"], "turbo")
    assert len(asked) == 2


def test_a_mozjpeg_level_that_is_not_stored_is_made(run, records, write_records, tmp_path):
    stored = write_records(FACES, levels=("c0", "c85"), encoder="mozjpeg", name="stored")
    (made,) = Judge(run).at_levels(records, "test", ["c85"], "mozjpeg")
    (read,) = Judge(run).at_levels(stored, "test", ["c85"], "mozjpeg")
    np.testing.assert_allclose(made.probability, read.probability, rtol=1e-5)
    (turbo,) = Judge(run).at_levels(stored, "test", ["c85"], "turbo")
    assert not np.allclose(turbo.probability, read.probability, rtol=1e-3)


def test_scores_after_compressions(run, records, monkeypatch):
    made = [Compression("turbo", 15), Compression("mozjpeg", 15, twice=True)]
    rows = np.array([0, 1, 5, 11])
    detector = Judge(run)
    answers = detector.after(records, "test", made, rows)
    (level,) = detector.at_levels(records, "test", ["c85"], "turbo")
    np.testing.assert_allclose(answers[0].probability, level.probability[rows], rtol=1e-5)
    assert not np.allclose(answers[0].probability, answers[1].probability, rtol=1e-3)

    opened = []
    monkeypatch.setattr(compression, "batches", lambda *_, **__: opened.append(1))
    kept = detector.after(records, "test", made, rows)
    np.testing.assert_array_equal(kept[1].probability, answers[1].probability)
    with pytest.raises(TypeError):  # other faces: asked again
        detector.after(records, "test", made, rows[:3])
    assert opened == [1]


def test_bad_input(run, records, tmp_path, write_records):
    detector = Judge(run)
    with pytest.raises(UsageError, match=r"manipulations: expected some of A, B, got 'C'"):
        detector.at_levels(records, "test", ["c0"], "turbo", ("C",))
    with pytest.raises(DataError, match="no face in the train split"):
        detector.at_levels(records, "train", ["c0"], "turbo")
    with pytest.raises(UsageError, match="nowhere: expected a run directory"):
        Judge(Run(tmp_path / "nowhere"))
    shard = next(records.glob("A/c0/test*"))
    data = bytearray(shard.read_bytes())
    data[200] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=rf"{shard}: SHA-256 differs"):
        detector.at_levels(records, "test", ["c0"], "turbo")
    with pytest.raises(DataError, match=rf"{shard}: SHA-256 differs"):
        detector.after(records, "test", [Compression("turbo", 15)], np.arange(12))
    assert list((run.evaluation / "scores").iterdir()) == []


def test_a_run_without_a_checkpoint(run, records):
    import shutil

    shutil.rmtree(run.checkpoints)
    with pytest.raises(UsageError, match=f"{run.folder}: no validated checkpoint yet"):
        Judge(run)


def test_a_shard_that_lost_records_is_told(run, records, monkeypatch):
    # Cut off between two records it reads well, and holds less than the manifest says.
    held = manifest.load(records)
    shard = next(s for s in held.select("test", "c0") if s.manipulation == "B")
    path = records / shard.path
    path.write_bytes(path.read_bytes()[: shard.lengths[0] + 16])
    with pytest.raises(DataError, match=f"{path}"):
        Judge(run).after(records, "test", [Compression("turbo", 15)], np.arange(12))
