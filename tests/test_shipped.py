"""The detector that comes with the package is whole, small, and what its card says."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import person

from tfforensics import configfile, export, manifest, packed, predict, shipped
from tfforensics.jpeg import LEVELS
from tfforensics.models import build_network, start_from
from tfforensics.run import Run
from tfforensics.serving import measure, source
from tfforensics.serving.card import ModelCard

CARD = source.load(shipped.FOLDER).card


def faces(count: int) -> np.ndarray:
    drawn = [Image.fromarray(person(seed, 200).image) for seed in range(count)]
    return np.stack([np.asarray(picture.resize((160, 160))) for picture in drawn])


def test_every_file_is_as_it_was_packed_and_they_are_small() -> None:
    hashes = json.loads((shipped.FOLDER / packed.HASHES).read_text())
    there = {p.relative_to(shipped.FOLDER).as_posix(): p for p in shipped.FOLDER.rglob("*.*")}
    assert set(there) == {*hashes, packed.HASHES}
    assert {name: manifest.sha256_of(there[name]) for name in hashes} == hashes
    assert sum(path.stat().st_size for path in there.values()) < 12e6
    assert {"weights.npz", "calibration.json", "evaluation/test-turbo.json"} <= set(hashes)


def test_the_model_in_memory_answers_as_the_network() -> None:
    found = shipped.load()
    pictures = faces(4)
    expected = shipped.run().load_network()(pictures)["logit"].numpy()
    np.testing.assert_allclose(found.logits(pictures), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01
    assert found.size == 160 and found.card.crop.margin == 1.3


def test_the_card_says_what_it_was_trained_on_and_what_it_is_worth() -> None:
    assert CARD.data is not None and CARD.data.manipulations == ()
    assert CARD.data.videos == {"train": 66, "val": 14, "test": 22}  # real ones alone
    assert any("it has seen no manipulation" in limit for limit in CARD.limits)
    assert CARD.calibration is not None and CARD.evaluation is not None
    assert CARD.evaluation["notes"] == [
        "not trained on Deepfakes, Face2Face, FaceSwap, NeuralTextures"
    ]
    figures = CARD.evaluation["figures"]
    for level, least in (("c0", 0.95), ("c40", 0.90), ("c85", 0.75)):
        assert figures[level]["all"]["video"]["auc"] >= least
    everyone = CARD.evaluation["groups"]["everyone"]["all"]
    assert list(everyone) == list(LEVELS)
    for level in ("c0", "c23", "c40", "c85", "c90"):
        assert everyone[level]["false_alarms"] <= 0.05
    assert set(CARD.evaluation["groups"]) == {"everyone", "sex", "age", "region"}
    text = CARD.to_markdown()
    assert "real faces alone" in text and "| sex: female" in text and "| region: Africa" in text


def test_a_file_is_judged_without_naming_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "someone.jpg"
    Image.fromarray(person(1, 300).image).save(path, quality=90)
    assert predict.main([str(path), "--no-stability", "--json", str(tmp_path / "out.json")]) == 0
    out, err = capsys.readouterr()
    assert "detector that comes with the package" in err and "someone.jpg" in out
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["model"], found["calibrated"]) == (shipped.FOLDER.name, True)
    assert 0 < found["files"][0]["probability"] < 1


def test_it_is_exported_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_SECONDS", 0.0)
    assert export.main(["shipped", str(tmp_path / "out")]) == 0
    assert export.main(["--verify", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "1" / "assets" / "model_card.json").read_text()
    card = ModelCard.from_json(text)
    assert card.calibration == CARD.calibration and card.name == shipped.FOLDER.name


def test_a_network_of_another_input_size_starts_from_it() -> None:
    settings = {
        "data": {"size": 96},
        "model": {"backbone": "lite0", "weights": None, "initial": "shipped"},
    }
    config = configfile.from_dict(settings)
    network = build_network(config)
    initial = Run(shipped.resolve(Path(config.model.initial or ""))).load_network()
    start_from(initial, network)
    for ours, theirs in zip(network.get_weights(), initial.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
