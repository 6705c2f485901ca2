"""Exports: the same answers as in training, whole or not there, the same bytes each time."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from conftest import WriteRecords
from judged import finished_run

from tfforensics import export, manifest
from tfforensics.calibration import Band, Calibration
from tfforensics.command import DataError, UsageError
from tfforensics.ema import AveragedWeights
from tfforensics.run import Run
from tfforensics.serving import goldens, measure, publish
from tfforensics.serving.card import ModelCard
from tfforensics.serving.exported import load_export

MESONET = Path(__file__).parents[2] / "shared" / "mesonet"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module", autouse=True)
def quick() -> Any:
    """Speeds are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a MesoNet as it was initialised; tests may add versions, and copy it."""
    folder = tmp_path_factory.mktemp("export")
    finished_run(folder / "run", folder / "no-records")
    export.export(folder / "run", folder / "out")
    return folder / "out"


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """Version 1 alone, to be damaged."""
    shutil.copytree(base / "1", tmp_path / "copy" / "1")
    return tmp_path / "copy"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_version_has_all_that_is_promised(base: Path) -> None:
    found = files(base / "1")
    assert {name for name in found if "/goldens/" not in name} == {
        "saved_model.pb",
        "fingerprint.pb",
        "assets/model_card.json",
        "assets/model_card.md",
        "assets/hashes.json",
        "assets.extra/tf_serving_warmup_requests",
    }
    beside = {path.name for path in base.iterdir() if path.is_file()}
    assert beside == {
        "models.config", "batching_parameters.txt", "monitoring.config", "compose.yaml", ".lock"
    }  # fmt: skip
    signatures = tf.saved_model.load(str(base / "1")).signatures
    by_bytes, by_pixels = signatures["serving_default"], signatures["pixels"]
    (image_bytes,), (pixels,) = (
        signature.structured_input_signature[1].values() for signature in (by_bytes, by_pixels)
    )
    assert (image_bytes.name, image_bytes.dtype, image_bytes.shape.as_list()) == (
        "image_bytes", tf.string, [None]
    )  # fmt: skip
    assert (pixels.name, pixels.dtype, pixels.shape.as_list()) == (
        "pixels", tf.uint8, [None, 64, 64, 3]
    )  # fmt: skip
    for signature in (by_bytes, by_pixels):
        outputs = signature.structured_outputs
        assert {name: (s.dtype, s.shape.as_list()) for name, s in outputs.items()} == {
            "probability": (tf.float32, [None]), "logit": (tf.float32, [None])
        }  # fmt: skip


def test_a_second_export_is_the_next_version_and_the_same_bytes(base: Path) -> None:
    before = files(base / "1")
    for _ in range(3):
        keras.layers.Dense(1)  # Keras's counters move on, as they do in a process that trained
    keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    made = export.export(base.parent / "run", base)
    assert made.folder == base / str(max(publish.versions(base)))
    assert files(made.folder) == files(base / "1") == before
    first, second = (
        tf.saved_model.experimental.read_fingerprint(str(folder))
        for folder in (base / "1", made.folder)
    )
    assert first.singleprint() == second.singleprint()
    assert first.saved_model_checksum == second.saved_model_checksum


@pytest.mark.slow
def test_another_process_exports_the_same_bytes(base: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tfforensics.export", base.parent / "run", tmp_path / "out"]
    subprocess.run(program, env=ENVIRONMENT, check=True)
    assert files(tmp_path / "out" / "1") == files(base / "1")


def test_what_stands_beside_the_versions_stays_as_it_was_edited(base: Path) -> None:
    (base / "compose.yaml").write_text("mine")
    export.export(base.parent / "run", base)
    assert (base / "compose.yaml").read_text() == "mine"


def test_verify_finds_nothing_wrong_with_a_sound_export(base: Path) -> None:
    assert export.verify(base) == []
    assert export.verify(base / "1") == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("saved_model.pb", "SHA-256 differs"),
        ("assets/model_card.md", "SHA-256 differs"),
        ("assets/goldens/c40.jpg", "missing"),
        ("assets/notes.txt", "not part of the export"),
    ],
)
def test_verify_names_what_is_damaged(
    copy: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "1" / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\0")
    (line,) = export.verify(copy)
    assert str(path) in line and damage in line
    with pytest.raises(DataError, match="1 differences"):
        export.main(["--verify", str(copy)])
    assert str(path) in capsys.readouterr().err


def test_verify_replays_the_goldens(copy: Path) -> None:
    path = copy / "1" / goldens.FOLDER / "probability.npy"
    answers = np.load(path)
    answers[2] += 2e-4
    np.save(path, answers)
    hashes = {name: manifest.sha256_of(copy / "1" / name) for name in files(copy / "1")}
    hashes.pop(publish.HASHES)
    (copy / "1" / publish.HASHES).write_text(json.dumps({"sha256": hashes}))
    (line,) = export.verify(copy)
    assert "probability of c90.jpg: off by 0.0002, expected at most 0.0001" in line


def test_goldens_differ_in_kind_too() -> None:
    ours = {"logit": np.zeros(2), "attention": np.zeros((2, 1, 1, 1))}
    lines = goldens.differences(ours, {"logit": np.zeros(3), "quality": np.zeros(2)}, ["a", "b"])
    assert lines == [
        "attention: missing",
        "logit: expected the shape (2,), got (3,)",
        "quality: not expected",
    ]
    assert goldens.differences({"logit": np.zeros(1)}, {"logit": np.array([np.nan])}, ["a"])


@pytest.mark.parametrize("moment", ["within", "at the last fsync"])
def test_a_killed_export_leaves_no_version(tmp_path: Path, moment: str) -> None:
    program = f"""
import os, signal
from pathlib import Path
from tfforensics.serving import publish
if {moment!r} != "within":
    publish.sync = lambda path: path.name.startswith(".") and os.kill(os.getpid(), signal.SIGKILL)
with publish.new_version(Path({str(tmp_path)!r})) as (folder, version):
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_text("half")
    if {moment!r} == "within":
        os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert publish.versions(tmp_path) == []
    assert (tmp_path / ".exporting-1").is_dir()
    with pytest.raises(UsageError, match="found no version there"):
        publish.resolve(tmp_path)
    with publish.new_version(tmp_path) as (folder, version):
        (folder / "assets").mkdir()
        (folder / "saved_model.pb").write_text("whole")
    assert version == tmp_path / "1" and publish.resolve(tmp_path) == version
    assert not list(tmp_path.glob(".exporting*"))


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), publish.new_version(tmp_path) as (folder, _):
        (folder / "saved_model.pb").write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_next_version_is_one_above_the_highest(tmp_path: Path) -> None:
    for name in ("2", "10", "notes"):
        (tmp_path / name).mkdir()
    with publish.new_version(tmp_path) as (folder, version):
        (folder / "assets").mkdir()
        with pytest.raises(UsageError, match="is writing here"), publish.new_version(tmp_path):
            pass
    assert version.name == "11"


def test_unwritable_and_full_folders_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="cannot write here"),
        publish.new_version(tmp_path / "file"),
    ):
        pass
    full = Path("/dev/full")
    if full.exists():
        with pytest.raises(DataError, match="No space left"), publish.new_version(tmp_path):
            full.write_text("x" * 10_000)


def test_the_weights_that_are_asked_for(tmp_path: Path) -> None:
    from tfforensics.checkpoint import CheckpointStore
    from tfforensics.models import build_detector
    from tfforensics.serving import source

    run = finished_run(tmp_path / "run", tmp_path / "none", optimizer={"ema": 0.9})
    with pytest.raises(UsageError, match="expected a run for 'ema', got the file"):
        source.load(run.config_file, "ema")
    detector = build_detector(run.config())
    averages = AveragedWeights(detector, 0.9)
    averages.averages[0].assign(averages.averages[0] + 1)
    CheckpointStore(run.checkpoints).save(
        tf.train.Checkpoint(model=detector, averages=averages), {}, step=2, best=True
    )
    own = detector.network.get_weights()[0]
    (run.folder / "calibration.json").write_text(
        Calibration(0.05, (Band(1, 2.0, 0.5, 0.3, 0.6, 5),)).to_json()
    )
    found = {name: source.load(run.folder, name) for name in (None, "ema", "best")}
    first = {name: each.network.get_weights()[0] for name, each in found.items()}
    np.testing.assert_array_equal(first["best"], own)
    np.testing.assert_array_equal(first["ema"], own + 1)
    np.testing.assert_array_equal(first[None], own + 1)
    # What was fitted on the averages says nothing of the others.
    assert found["ema"].card.calibration and not found["best"].card.calibration
    assert found["ema"].card.weights == "best on validation, averaged"

    plain = finished_run(tmp_path / "plain", tmp_path / "none")
    with pytest.raises(UsageError, match="has no moving average"):
        source.load(plain.folder, "ema")


def test_a_mixed_precision_run_is_exported_in_float32(tmp_path: Path) -> None:
    from tfforensics.serving import source

    run = finished_run(tmp_path / "run", tmp_path / "none")
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = source.load(run.folder).network
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {layer.compute_dtype for layer in network.layers} <= {"float32", "uint8"}


CALIBRATION = Calibration(0.05, (Band(1, 0.5, -1.0, 0.2, 0.4, 7), Band(38, 2.0, 0.25, 0.3, 0.7, 9)))


def test_the_card_tells_what_is_known(write_records: WriteRecords, tmp_path: Path) -> None:
    counts = {("real", "train"): 5, ("A", "train"): 4, ("B", "train"): 3, ("real", "test"): 2}
    records = write_records(counts)
    run = finished_run(tmp_path / "my run", records, data={"manipulations": ["A"]})
    figures = {"auc": 0.875, "eer": 0.25}
    table = {"c0": {"A": dict.fromkeys(("frame", "video"), figures)}}
    table["c0"]["all"] = {"frame": figures, "video": None}
    bounds = {"auc": [0.8, 0.9], "eer": None}
    intervals = {"c0": {"A": {"frame": bounds, "video": bounds}}}
    intervals["c0"]["all"] = {"frame": bounds, "video": None}
    run.evaluation.mkdir()
    (run.evaluation / "test-turbo.json").write_text(
        json.dumps(
            {
                "split": "test", "records": "records/x", "encoder": "turbo", "faces": 1234,
                "videos": 56, "figures": table, "intervals": intervals,
            }
        )
    )  # fmt: skip
    (run.folder / "calibration.json").write_text(CALIBRATION.to_json())

    made = export.export(run.folder, tmp_path / "out")
    card = load_export(made.folder).card
    assert card.name == "my-run" and card.detector == "meso4" and card.backbone is None
    assert (card.crop.size, card.crop.margin) == (64, 1.3)
    assert card.outputs == ("logit", "probability", "quality")
    assert card.calibration == CALIBRATION
    assert card.data is not None
    assert card.data.faces == {"train": 9, "test": 2}
    assert card.data.videos == {"train": 5, "test": 1}
    assert card.data.manipulations == ("A",) and card.data.source_compression == ("c23",)
    assert 'name: "my-run"' in (tmp_path / "out" / "models.config").read_text()

    text = (made.folder / "assets" / "model_card.md").read_text()
    for said in (
        "1 = manipulated; probability = P(manipulated)",
        "a square of 1.3 x the larger side",
        "cannot tell",
        "| 38 and above |",
        "87.5 [80.0, 90.0]",
        "1,234 faces of 56 videos",
        "not a proof",
    ):
        assert said in text, said


def test_cards_survive_json_and_others_are_refused(base: Path) -> None:
    card = load_export(base).card
    full = dataclasses.replace(card, calibration=CALIBRATION, limits=("a", "b"))
    assert ModelCard.from_json(full.to_json()) == full
    for text, message in (
        ("{}", "expected what to_json writes"),
        ("[]", "expected what to_json writes"),
        ("no", "expected what to_json writes"),
        ('{"schema": 99}', "expected schema 1, got 99"),
        (full.to_json().replace('"margin"', '"margins"'), "margins"),
    ):
        with pytest.raises(DataError, match=message):
            ModelCard.from_json(text)


def test_a_damaged_export_is_not_loaded(copy: Path) -> None:
    (copy / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(DataError, match="SHA-256 differs"):
        load_export(copy)
    (copy / "1" / "assets" / "model_card.json").unlink()
    with pytest.raises(DataError, match=r"model_card\.json"):
        load_export(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere", "OUT"], "no such file: /nowhere"),
        (["."], "expected RUN and OUT, or --verify OUT"),
        ([], "expected RUN and OUT, or --verify OUT"),
        (["--verify", "/nowhere"], "found no version there"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path / a) if a == "OUT" else a for a in arguments]
    with pytest.raises(UsageError, match=message):
        export.main(arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found no config\.yaml"):
        export.export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not MESONET.is_dir(), reason="needs the released MesoNet weights of shared/")
@pytest.mark.parametrize("name", ["Meso4_DF", "MesoInception_DF"])
def test_released_weights_answer_as_published(name: str, tmp_path: Path) -> None:
    import csv

    from PIL import Image

    export.main([str(MESONET / f"{name}.h5"), str(tmp_path)])
    served = load_export(tmp_path)
    assert served.card.name == name and served.size == 256
    with (MESONET / "expected.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["weights"] == name]
    faces = []
    for row in rows:
        with Image.open(MESONET.parent / row["portrait"]) as image:
            small = image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
            faces.append(np.asarray(small))
    real = np.array([float(row["sigmoid_output"]) for row in rows])  # in these weights, 1 = real
    found = served.by_pixels(np.stack(faces))["probability"]
    np.testing.assert_allclose(found, 1 - real, atol=1e-4)


def check_no_skew(run: Run, records: Path, served: Any, *, size: int) -> None:
    """The four ways to a probability agree on the test split, at a level and uncompressed."""
    from tfforensics.models.detector import Detector
    from tfforensics.pipeline import evaluation_batches
    from tfforensics.scoring import inference, score

    network = run.load_network()
    for level in ("c0", "c85"):
        batches = list(evaluation_batches(records, "test", level, size=size, batch=50))
        shards = list(manifest.load(records).select("test", level))
        shards.sort(key=lambda shard: shard.manipulation != "real")  # as they are evaluated
        image_bytes = [file for shard in shards for file in encoded(records / shard.path)]
        assert len(image_bytes) == 200
        pixels = tf.concat([batch["image"] for batch in batches], 0)
        answers = {
            "training": tf.sigmoid(Detector(network)({"image": pixels}, training=False)["logit"]),
            "evaluation": score(inference(network), batches, "test").probability,
            "bytes": served.by_bytes(image_bytes)["probability"],
            "pixels": served.by_pixels(pixels.numpy())["probability"],
        }
        assert np.std(answers["training"]) > 1e-3
        for name, found in answers.items():
            np.testing.assert_allclose(found, answers["training"], atol=1e-4, err_msg=name)


def encoded(shard: Path) -> list[bytes]:
    """The faces of a shard as files."""
    from tfforensics import example

    return [
        example.parse(record)["encoded"].numpy() for record in tf.data.TFRecordDataset(str(shard))
    ]


@pytest.mark.parametrize("size", [64, 48])  # of records, and smaller
def test_training_evaluation_bytes_and_pixels_agree_on_200_faces(
    write_records: WriteRecords, tmp_path: Path, size: int
) -> None:
    records = write_records({("real", "test"): 100, ("A", "test"): 100}, levels=("c0", "c85"))
    run = finished_run(tmp_path / "run", records, data={"size": size})
    made = export.export(run.folder, tmp_path / "out")
    check_no_skew(run, records, load_export(made.folder), size=size)


@pytest.mark.slow
@pytest.mark.promise
def test_a_trained_efficientnet_answers_as_in_training(
    write_records: WriteRecords, tmp_path: Path
) -> None:
    from tfforensics import configfile, train

    counts = {"train": 12, "val": 6, "test": 100}
    records = write_records(
        {(m, s): n for m in ("real", "A") for s, n in counts.items()}, levels=("c0", "c85")
    )
    settings = {
        "data": {"records": str(records), "size": 64, "batch": 8},
        "model": {"detector": "plain", "backbone": "lite0"},
        "train": {"steps": 6, "validate_every": 3, "validate_levels": ["c0"]},
        "optimizer": {"ema": 0.9},
        "evaluation": {"levels": ["c0", "c85"], "export": False},
    }
    train.train(configfile.from_dict(settings), tmp_path / "run")
    run = Run(tmp_path / "run")
    (run.folder / "calibration.json").unlink(missing_ok=True)  # training knows of none
    made = export.export(run.folder, tmp_path / "out")
    assert made.folded == 49 and made.comparison.difference < measure.EXACT
    check_no_skew(run, records, load_export(made.folder), size=64)
