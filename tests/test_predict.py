"""Judging files: each for itself, by the export's own crops, and never a crash."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import csv
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import WriteRecords, smooth_face
from judged import finished_run
from pages import Page
from PIL import Image
from videos import grey_steps, person, scene, write_video

from tfforensics import export, jpeg, predict
from tfforensics.calibration import Band, Calibration
from tfforensics.command import UsageError
from tfforensics.demo.folder import build
from tfforensics.judging import inputs, page, pictures, verdict
from tfforensics.judging.answers import ask
from tfforensics.judging.judge import Judge, Settings
from tfforensics.judging.verdict import Judgement
from tfforensics.run import Run
from tfforensics.scoring import inference
from tfforensics.serving import measure
from tfforensics.serving.exported import Exported, load_export

PORTRAITS = Path(__file__).parents[2] / "shared" / "portraits"
CALIBRATION = Calibration(0.05, (Band(1, 0.5, -1.0, 0.2, 0.4, 7), Band(38, 2.0, 0.25, 0.3, 0.7, 9)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    run = finished_run(folder / "run", folder / "none")
    (run.folder / "calibration.json").write_text(CALIBRATION.to_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.0)
        export.export(run.folder, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def exported(base: Path) -> Exported:
    return load_export(base)


@pytest.fixture(scope="module")
def judge(exported: Exported) -> Judge:
    return Judge(exported, Settings(pictures=True))


def save(path: Path, picture: np.ndarray, **options: object) -> Path:
    Image.fromarray(picture).save(path, **options)
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person, two people, nobody, a file that is cut off, and text."""
    folder = tmp_path_factory.mktemp("media")
    one = save(folder / "one.jpg", person(1, 300).image, quality=60)
    first, second = person(2, 220), person(3, 220)
    moving = [
        scene([first, second], [(20 + 4 * i, 60), (390 - 3 * i, 80)], seed=1) for i in range(30)
    ]
    write_video(folder / "two.mp4", moving)
    save(folder / "nobody.png", np.full((120, 160, 3), 90, np.uint8))
    (folder / "cut.jpg").write_bytes(one.read_bytes()[:900])
    (folder / "text.mp4").write_text("no video at all")
    return folder


def test_each_kind_of_file_has_its_judgement(judge: Judge, media: Path) -> None:
    names = ["one.jpg", "two.mp4", "nobody.png", "cut.jpg", "text.mp4"]
    one, two, nobody, cut, text = judge.judge([media / name for name in names])
    assert (one.kind, one.quality, one.frames, len(one.people)) == ("image", 60, 1, 1)
    assert one.deciding is not None and one.deciding.interval is not None
    assert one.thresholds == verdict.Thresholds(0.3, 0.7, 9)
    assert one.call in ("manipulated", "cannot tell", "not manipulated")
    assert [s.quality for s in one.stages] == [None, 40, 23, 15, 10]
    assert two.kind == "video" and len(two.people) == 2 and two.quality is None
    assert two.frames == 4 and two.faces == 8
    assert two.people[0].seconds[-1] == pytest.approx(two.people[0].frames[-1] / 30)
    assert (nobody.call, nobody.people, nobody.stages) == ("no face found", (), ())
    for broken, why in ((cut, "truncated"), (text, "not-a-video")):
        assert broken.call == "could not be read" and why in broken.reason and not broken.people


def values(found: Judgement) -> list[object]:
    people = [(p.number, p.frames.tolist(), p.interval) for p in found.people]
    return [found.path, found.call, found.quality, found.flips_at, people]


def test_nothing_of_one_file_leaks_into_another(exported: Exported, media: Path) -> None:
    paths = sorted(media.iterdir())
    together = list(Judge(exported, Settings(batch=3)).judge(paths))
    for path, found in zip(paths, together, strict=True):
        (alone,) = Judge(exported).judge([path])
        assert found.call == alone.call and found.quality == alone.quality
        assert len(found.people) == len(alone.people)
        for mine, other in zip(found.people, alone.people, strict=True):
            np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-5)


def test_the_command_writes_what_it_is_asked_for(
    base: Path, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "=cmd.jpg").write_bytes((media / "one.jpg").read_bytes())
    written = [f"--{kind}={tmp_path / 'out'}.{kind}" for kind in ("json", "csv")]
    assert predict.main([str(media), str(tmp_path / "=*.jpg"), "--model", str(base), *written]) == 1
    out, err = capsys.readouterr()
    assert "2 of 6 files could not be read" in err
    assert "no face found" in out and "person 2" in out
    found = json.loads((tmp_path / "out.json").read_text())
    assert [Path(f["file"]).name for f in found["files"]] == [
        "cut.jpg", "nobody.png", "one.jpg", "text.mp4", "two.mp4", "=cmd.jpg"
    ]  # fmt: skip
    assert found["files"][2]["probability"] == found["files"][5]["probability"]
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert rows[2]["verdict"] == found["files"][2]["verdict"] and rows[2]["jpeg_quality"] == "60"
    assert predict.main([str(media / "one.jpg"), "--model", str(base)]) == 0


def test_a_folder_of_fifty_with_one_bad(judge: Judge, media: Path, tmp_path: Path) -> None:
    good = (media / "one.jpg").read_bytes()
    for number in range(50):
        (tmp_path / f"{number:02d}.jpg").write_bytes(good[: 700 if number == 17 else None])
    (tmp_path / "notes.txt").write_text("not media")
    paths, over = inputs.expand([str(tmp_path)])
    assert (len(paths), over) == (50, 1)
    found = list(judge.judge(paths))
    assert [n for n, one in enumerate(found) if one.call == "could not be read"] == [17]
    assert len({values(one)[1] for one in found}) == 2


@pytest.mark.parametrize("media", [["nowhere.jpg"], ["nothing*.png"], []])
def test_a_name_of_nothing_is_a_mistake(media: list[str]) -> None:
    with pytest.raises(UsageError, match="MEDIA: expected"):
        predict.main([*media, "--model", "anything"])


def test_no_skew_between_training_and_predict(write_records: WriteRecords, tmp_path: Path) -> None:
    """200 faces: the training graph, the pipeline, the SavedModel both ways, and `predict`."""
    import tensorflow as tf

    from tfforensics import pipeline

    records = write_records({("real", "test"): 100, ("A", "test"): 100}, levels=("c0", "c85"))
    run = finished_run(tmp_path / "run", records)
    export.export(run.folder, tmp_path / "out")
    served = load_export(tmp_path / "out")
    batches = list(
        pipeline.evaluation_batches(
            records, "test", "c85", size=64, batch=50, encoder="turbo", manipulations=()
        )
    )
    faces = np.concatenate([batch["image"].numpy() for batch in batches])
    trained = tf.sigmoid(inference(Run(run.folder).load_network())(tf.constant(faces))).numpy()
    paths = [save(tmp_path / f"{n:03d}.png", face) for n, face in enumerate(faces)]
    found = Judge(served, Settings(crops=True, stability=False)).judge(paths)
    judged = np.array([one.people[0].probability for one in found])
    assert len(judged) == 200
    by_bytes = served.by_bytes([path.read_bytes() for path in paths])["probability"]
    by_pixels = served.by_pixels(faces)["probability"]
    for other in (judged, by_bytes, by_pixels):
        np.testing.assert_allclose(other, trained, atol=1e-4)


def test_crops_are_calibrated_as_the_server_does(exported: Exported, tmp_path: Path) -> None:
    qualities = [10, 15, 60, 77]
    paths = []
    for number, quality in enumerate(qualities):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(jpeg.encode(smooth_face(number, 160), quality))
    found = list(Judge(exported, Settings(crops=True, stability=False)).judge(paths))
    assert [one.quality for one in found] == qualities
    expected = exported.by_bytes([path.read_bytes() for path in paths])["probability"]
    np.testing.assert_allclose([one.people[0].probability for one in found], expected, atol=1e-4)


class Sums:
    """A model whose logit is the mean of a face."""

    def by_pixels(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        self.batches = [*getattr(self, "batches", []), len(faces)]
        return {"logit": faces.mean(axis=(1, 2, 3))}


def test_batches_reach_across_files_and_keep_their_order() -> None:
    model = Sums()
    counts = [3, 0, 5, 1, 0]
    groups = [(n, np.full((c, 2, 2, 3), n, np.uint8)) for n, c in enumerate(counts)]
    found = list(ask(model, groups, 4))  # type: ignore[arg-type]
    assert [what for what, _ in found] == [0, 1, 2, 3, 4]
    for what, answers in found:
        assert answers["logit"].tolist() == [what] * counts[what]
    assert model.batches == [4, 4, 1]


def test_intervals_are_wider_where_frames_are_alike() -> None:
    rng = np.random.default_rng(0)
    apart = rng.uniform(0.3, 0.7, 64)
    alike = np.repeat(apart[:8], 8)
    widths = [
        high - low for low, high in (verdict.interval(v, 0) or (0, 0) for v in (apart, alike))
    ]
    assert widths[1] > 1.7 * widths[0]
    assert verdict.interval(apart[:1], 0) is None
    assert verdict.interval(np.array([0.5]), 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert verdict.wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_a_face_too_small_is_not_called(exported: Exported, tmp_path: Path) -> None:
    path = save(tmp_path / "small.png", scene([person(1, 64)], [(100, 100)]))
    (found,) = Judge(exported).judge([path])
    assert found.call == "cannot tell" and "at least 48" in found.reason and found.stages == ()


def test_names_are_printed_without_what_a_terminal_obeys() -> None:
    assert inputs.shown("a\x1b[2J\nb.jpg") == "a\\x1b[2J\\nb.jpg"
    assert inputs.shown("gr\u00fc\u00df.jpg") == "gr\u00fc\u00df.jpg"


def test_videos_of_the_demo_of_nobody_and_cut_off(
    exported: Exported, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path / "demo", identities={"test": 2}, seconds=1.0, size=160, workers=1)
    real = sorted(tmp_path.glob("demo/original_sequences/**/*.mp4"))[0]
    manipulated = sorted(tmp_path.glob("demo/**/FaceSwap/**/*.mp4"))[0]
    nobody = write_video(tmp_path / "nobody.mp4", grey_steps(20))
    whole = real.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    paths = [str(path) for path in (real, manipulated, nobody, tmp_path / "cut.mp4")]
    out = tmp_path / "out.json"
    options = ["--model", str(base), "--faces-per-second", "6", "--json", str(out)]
    assert predict.main([*paths, *options]) == 1
    first, second, none, cut = json.loads(out.read_text())["files"]
    for found in (first, second):
        assert found["verdict"] in ("manipulated", "cannot tell", "not manipulated")
        assert len(found["people"]) == 1 and found["faces"] == 6
        # Twelve frames, six faces: every other frame.
        np.testing.assert_allclose(
            found["people"][0]["seconds"], (np.arange(6) * 2 + 1) / 12, atol=1e-6
        )
    assert first["probability"] != second["probability"]
    assert (none["verdict"], none["probability"]) == ("no face found", None)
    assert none["frames"] == 4
    assert cut["verdict"] == "could not be read" and cut["reason"]
    assert "1 of 4 files could not be read" in capsys.readouterr().err


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="no portraits here")
def test_a_photograph_has_one_person(judge: Judge) -> None:
    (found,) = judge.judge([PORTRAITS / "female" / "00.jpg"])
    assert len(found.people) == 1 and found.faces == 1 and found.quality is not None


def test_the_report_is_one_file_that_a_browser_shows(
    base: Path, media: Path, tmp_path: Path
) -> None:
    (tmp_path / "<script>alert(1)<").write_bytes(b"x")
    html = tmp_path / "report.html"
    paths = [str(media), str(tmp_path / "<script>alert(1)<")]
    assert predict.main([*paths, "--model", str(base), f"--report={html}"]) == 1
    shown = Page(html.read_text())
    assert shown.requests == [] and shown.unnamed == 0 and shown.tags.get("script") is None
    assert shown.tags["svg"] == 2 and shown.tags["img"] == 1 + 8
    assert "What this model is not for" in shown.text and "cannot tell" in shown.text
    chromium = shutil.which("chromium")
    if chromium is None:
        return
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'browser'}", "--enable-logging=stderr",
            f"--screenshot={tmp_path / 'page.png'}", "--window-size=1240,1500", f"file://{html}",
        ],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_attention_maps_carry_their_warning(judge: Judge, media: Path, exported: Exported) -> None:
    (found,) = judge.judge([media / "one.jpg"])
    (someone,) = found.people
    maps = pictures.overlays(smooth_face(1, 64), np.ones((4, 4, 3), np.float32))
    seen = dataclasses.replace(someone.pictures[0], attention=maps)
    one = dataclasses.replace(someone, pictures=(seen,))
    text = Page(page.report([dataclasses.replace(found, people=(one,))], exported.card)).text
    assert text.count("where the network looked, not evidence") == 1 + 3
