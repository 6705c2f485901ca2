"""Evaluation of a run from end to end: tables, files, mistakes of the user, several runs."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import smooth_face
from judged import finished_run
from pages import Page

from tfforensics import command, evaluate, jpeg, manifest
from tfforensics.evaluate import main
from tfforensics.findings import examine
from tfforensics.jpeg import LEVELS
from tfforensics.judge import Judge
from tfforensics.run import Run
from tfforensics.scoring import inference

VIDEOS, FRAMES = 7, 2
EACH = VIDEOS * FRAMES  # faces of each class and split


@pytest.fixture(scope="module")
def by_logit(tmp_path_factory):
    """Pictures in the rising order of what the network of `finished_run` says of them."""
    folder = tmp_path_factory.mktemp("network")
    network = Judge(finished_run(folder / "run", folder / "none")).network
    faces = [smooth_face(seed, 64) for seed in range(2 * EACH)]
    # As they are read from a record.
    stored = np.stack([jpeg.decode(jpeg.encode_canonical(face)) for face in faces])
    order = np.argsort(inference(network)(stored).numpy())
    return [faces[i] for i in order]


@pytest.fixture
def write_judged(write_records, by_logit):
    """Writes records whose faces are labelled as the network would have it, or otherwise."""

    def write(test="perfect", *, name="records", **options):
        def pixels(manipulation, split, frame):
            kind = test if split == "test" else "perfect"
            manipulated = manipulation != "real"
            if kind == "random":  # now the one, now the other is the more suspect
                return by_logit[2 * frame + (manipulated + frame // FRAMES) % 2]
            return by_logit[EACH * (manipulated == (kind == "perfect")) + frame]

        counts = {(m, s): EACH for m in ("real", "A") for s in ("val", "test")}
        return write_records(counts, pixels=pixels, per_clip=FRAMES, name=name, **options)

    return write


@pytest.fixture
def run(tmp_path, write_judged):
    return finished_run(tmp_path / "run", write_judged(), evaluation={"levels": ["c0"]})


def judge(run, records, **options):
    """What is found at c0, without the pictures."""
    settings = {"split": "test", "levels": ["c0"], "encoder": "turbo"} | options
    return examine(Judge(run), records, **settings).result()


@pytest.mark.parametrize(
    ("test", "auc", "accuracy"),
    [("perfect", 1.0, (1.0, 1.0)), ("random", 0.5, (0.35, 0.65)), ("inverted", 0.0, (0.0, 0.0))],
)
def test_a_detector_that_is(run, write_judged, test, auc, accuracy):
    result = judge(run, write_judged(test, name=test))
    for unit in ("frame", "video"):
        figures = result["figures"]["c0"]["A"][unit]
        assert figures["auc"] == pytest.approx(auc, abs=0.08 if test == "random" else 0)
        assert accuracy[0] <= figures["accuracy"] <= accuracy[1]
        assert figures["tpr_at_fpr_1"] == pytest.approx(auc, abs=0.5 if test == "random" else 0)
    assert result["faces"] == 2 * EACH
    assert result["videos"] == 2 * VIDEOS
    low, high = result["intervals"]["c0"]["A"]["frame"]["auc"]
    assert low <= auc <= high
    calls = result["calls"]["c0"]
    if test == "perfect":
        assert calls == {"false_alarms": 0.0, "missed": 0.0, "abstained": 0.0}


def test_the_test_split_has_no_part_in_calibration_and_threshold(run, write_judged):
    kept = []
    for test in ("perfect", "inverted"):
        shutil.rmtree(run.evaluation, ignore_errors=True)
        shutil.rmtree(run.config().data.records)
        judge(run, write_judged(test))  # val is the same
        kept.append((run.folder / "calibration.json").read_bytes())
    assert kept[0] == kept[1]


def test_what_is_written(run, write_judged):
    records = write_judged()
    held = json.loads((records / "manifest.json").read_text())
    notice = "Not <b>FaceForensics++</b> & no news."
    (records / "manifest.json").write_text(json.dumps(held | {"notice": notice}))
    result = evaluate.evaluate(run, levels=["c0", "c23", "c40"], encoders=["turbo", "mozjpeg"])
    folder = run.evaluation
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [
        "scores", "test-mozjpeg-histograms.png", "test-mozjpeg-mistakes.png",
        "test-mozjpeg-reliability.png", "test-mozjpeg-roc.png", "test-mozjpeg.csv",
        "test-mozjpeg.json", "test-mozjpeg.md", "test-turbo-histograms.png",
        "test-turbo-mistakes.png", "test-turbo-reliability.png", "test-turbo-roc.png",
        "test-turbo.csv", "test-turbo.json", "test-turbo.md", "test.html", "test.png",
    ]  # fmt: skip
    assert json.loads((folder / "test-turbo.json").read_text()) == result
    assert list(result["figures"]) == ["c0", "c23", "c40", "c23 & c40"]
    assert result["published"] == []

    with (folder / "test-turbo.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        r for r in rows
        if (r["level"], r["manipulation"], r["unit"], r["figure"]) == ("c23", "A", "video", "eer")
    ]  # fmt: skip
    assert float(row["value"]) == pytest.approx(result["figures"]["c23"]["A"]["video"]["eer"])
    assert (row["run"], row["split"], row["encoder"]) == ("run", "test", "turbo")

    text = (folder / "test-turbo.md").read_text()
    assert text.startswith(evaluate.report(result))
    assert f"**Imitations.** {notice}" in text
    html = (folder / "test.html").read_text()
    page = Page(html)
    assert notice in page.text  # escaped, so that it is text and no markup
    assert "levels made by mozjpeg" in page.text
    assert "Published" not in page.text
    assert (page.requests, page.unnamed, page.tags.get("script")) == ([], 0, None)
    assert page.tags["img"] > 7


def test_a_report_of_one_class_has_dashes_and_says_why(tmp_path, write_records, by_logit):
    counts = {("real", "test"): 4, ("real", "val"): 12, ("A", "val"): 12}
    records = write_records(counts, pixels=lambda m, s, f: by_logit[f])
    result = evaluate.evaluate(finished_run(tmp_path / "run", records))
    assert result["figures"]["c85"] == {"all": {"frame": None, "video": None}}
    assert result["notes"] == [
        "the test split holds real faces only: there is nothing to tell them from, and no "
        "figure (–)"  # noqa: RUF001
    ]
    assert "Note: the test split holds real faces only" in evaluate.report(result)
    page = Page((tmp_path / "run" / "evaluation" / "test.html").read_text())
    assert "holds real faces only" in page.text
    assert "nan" not in page.text.lower().split()


def test_manipulations_that_training_left_out_are_told(tmp_path, write_records):
    counts = {(m, "test"): 4 for m in ("real", "A", "B")}
    records = write_records(counts)
    run = finished_run(tmp_path / "run", records, data={"manipulations": ["A"]})
    result = judge(run, records)
    assert "not trained on B" in result["notes"]
    assert list(result["figures"]["c0"]) == ["A", "B", "all"]
    chosen = judge(run, records, manipulations=("A",))
    assert list(chosen["figures"]["c0"]) == ["A", "all"]


def outcome(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: main(list(map(str, arguments))), "prog")
    return ended.value.code, capsys.readouterr().err.splitlines()[-1]


def test_mistakes_of_the_user_are_one_line(run, tmp_path, write_judged, capsys):
    records = run.config().data.records
    for arguments, line in (
        (["none"], "prog: none: expected a run directory, found no config.yaml"),
        ([run.folder, tmp_path], f"prog: {tmp_path}: expected a run directory, found no config"),
        ([run.folder, "--records", "none"], "prog: records none: not there (no manifest.json)"),
        (
            [run.folder, "--manipulations", "B"],
            "prog: manipulations: expected some of A, got 'B'",
        ),
    ):
        code, said = outcome(arguments, capsys)
        assert (code, said.startswith(line)) == (2, True), said
    code, said = outcome([run.folder, "--levels", "c5"], capsys)
    assert code == 2
    assert "--levels: invalid choice: 'c5' (choose from" in said
    assert not (tmp_path / "evaluation").exists()

    shutil.rmtree(run.checkpoints)
    code, said = outcome([run.folder], capsys)
    assert (code, said) == (2, f"prog: {run.folder}: no validated checkpoint yet; train it further")

    path = tmp_path / "records" / manifest.NAME
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    code, said = outcome([run.folder, "--records", records], capsys)
    assert (code, said) == (1, f"prog: {path}: expected schema version 1, got 99")


def test_a_level_that_is_not_stored_is_made(run):
    result = evaluate.evaluate(run, levels=["c95"], encoders=["mozjpeg"])
    assert result["encoder"] == "mozjpeg"
    assert result["figures"]["c95"]["A"]["frame"]["auc"] is not None


def test_several_runs_are_compared_with_the_first(run, tmp_path, capsys):
    other = finished_run(tmp_path / "other", run.config().data.records, seed=1)
    main([str(run.folder), str(other.folder), "--levels", "c0"])
    out, err = capsys.readouterr()
    assert f"written to {other.evaluation}" in err
    assert "| overall gain of other |" in out
    result = json.loads((run.evaluation / "comparison-turbo.json").read_text())
    assert result["runs"] == ["run", "other"]
    # The first is perfect on these faces, which were labelled by it.
    assert result["gains"]["other"]["figures"]["c0"]["A"]["frame"]["auc"] < 0
    assert {rank["run"] for rank in result["ranking"]} == {"run", "other"}
    page = Page((run.evaluation / "comparison-turbo.html").read_text())
    assert (page.requests, page.unnamed) == ([], 0)
    assert "other against run" in page.text
    assert not (other.evaluation / "comparison-turbo.html").exists()


def test_two_evaluations_of_one_run_do_not_write_at_once(run):
    from tfforensics import lock

    with lock.hold(run.evaluation), pytest.raises(command.UsageError, match="is writing here"):
        evaluate.evaluate(Run(run.folder))


@pytest.mark.slow
def test_ten_thousand_faces_at_six_levels_killed_once(tmp_path, write_records):
    """It streams, shows progress, stays under 3 GB, and goes on at the level where it stopped."""
    kinds = ("real", "A", "B", "C", "D")
    faces = {(m, "test"): 2000 for m in kinds} | {(m, "val"): 40 for m in ("real", "A")}
    records = write_records(faces, per_clip=10, per_shard=500)
    run = finished_run(tmp_path / "run", records, data={"batch": 32})
    script = [sys.executable, "-m", "tfforensics.evaluate", str(run.folder), "--levels", *LEVELS]
    kept = run.evaluation / "scores"
    first = subprocess.Popen(script, stderr=subprocess.DEVNULL)
    while first.poll() is None and len(list(kept.glob("*.npz"))) < 2:
        time.sleep(0.1)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    written = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.npz")}
    assert 2 <= len(written) < 6 and not list(run.evaluation.glob("test*.json"))

    done = subprocess.run(script, check=True, stderr=subprocess.PIPE)
    assert b"60000/60000" in done.stderr and done.stderr.count(b"\r") > 5
    for name, when in written.items():
        assert (kept / name).stat().st_mtime_ns == when
    result = json.loads((run.evaluation / "test-turbo.json").read_text())
    assert (result["faces"], result["videos"]) == (10_000, 1_000)
    assert list(result["figures"])[:6] == list(LEVELS)
    assert result["intervals"]["c95"]["all"]["frame"]["auc"] is not None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak {peak:.0f} MB")
    assert peak < 3000
