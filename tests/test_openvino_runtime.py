"""An export on OpenVINO answers as it does on TensorFlow; without OpenVINO the extra is named."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from conftest import smooth_face
from judged import finished_run
from PIL import Image
from test_export import files
from videos import person

from tfforensics import export, predict, shipped
from tfforensics.calibration import Band, Calibration
from tfforensics.command import DataError, UsageError
from tfforensics.serving import measure, openvino_runtime
from tfforensics.serving.exported import Exported, load_export
from tfforensics.serving.openvino_runtime import OnOpenVino

CALIBRATION = Calibration(0.05, (Band(1, 0.5, -1.0, 0.2, 0.4, 7), Band(38, 2.0, 0.25, 0.3, 0.7, 9)))
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs the extra openvino"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A calibrated multi-attentional network as it was initialised, its normalisations lively."""
    folder = tmp_path_factory.mktemp("openvino")
    model = {"detector": "multi_attention", "backbone": "lite0", "weights": None}
    run = finished_run(folder / "run", folder / "none", model=model, data={"size": 96})
    (run.folder / "calibration.json").write_text(CALIBRATION.to_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.0)
        export.export(run.folder, folder / "out")
    return load_export(folder / "out")


def faces(count: int, size: int) -> np.ndarray:
    """Smooth pictures; the odd ones have been through JPEG."""
    found = [smooth_face(seed, size) for seed in range(count)]
    for picture in found[1::2]:
        encoded = tf.io.encode_jpeg(picture, quality=20)
        picture[:] = tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE").numpy()
    return np.stack(found)


def test_the_network_alone_is_arithmetic_and_gives_the_same_logits(exported: Exported) -> None:
    graph = exported.network()
    ops = {node.op for node in graph.node}
    assert not ops & {"While", "StatelessWhile", "PlaceholderWithDefault", "Assert"}
    assert not graph.library.function

    def network(pixels: tf.Tensor) -> list[tf.Tensor]:
        names = ["logit:0", "attention:0"]
        return tf.graph_util.import_graph_def(graph, {"pixels": pixels}, names)

    expected = exported.by_pixels(faces(3, 96))
    logit, attention = tf.function(network)(tf.constant(faces(3, 96)))
    np.testing.assert_array_equal(attention, expected["attention"])
    # How TensorFlow fuses the last layer depends on what else the graph holds: on some processors
    # that is a rounding. Largest relative difference found: 4e-7.
    np.testing.assert_allclose(logit, expected["logit"], rtol=1e-6)


def test_the_other_answers_follow_the_logits_that_they_are_given(exported: Exported) -> None:
    pixels = faces(4, 96)
    expected = exported.by_pixels(pixels)
    assert set(expected) == {"logit", "attention", "probability", "quality"}
    assert min(expected["quality"]) < 38 < max(expected["quality"])  # both bands
    others = exported.after_network()
    found = others(pixels, expected["logit"])
    assert set(found) == {"probability", "quality"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name])
    other = expected["logit"] + np.float32([1, -2, 3, 0.5])
    np.testing.assert_allclose(
        others(pixels, other)["probability"],
        CALIBRATION.probability(other.astype(np.float64), expected["quality"]),
        atol=1e-6,
    )


def test_without_openvino_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    path = tmp_path / "face.png"
    Image.fromarray(smooth_face(1, 64)).save(path)
    expected = r"--runtime: openvino needs OpenVINO.* pip install 'tfforensics\[openvino\]'"
    with pytest.raises(UsageError, match=expected):
        predict.main([str(path), "--runtime", "openvino"])
    assert capsys.readouterr().err == ""


def test_a_precision_belongs_to_openvino() -> None:
    with pytest.raises(UsageError, match="--precision: expected --runtime openvino with it"):
        predict.main(["face.jpg", "--precision", "bfloat16"])


@needs_openvino
def test_answers_are_the_exports_whatever_the_batch(exported: Exported) -> None:
    before = files(exported.folder)
    model = OnOpenVino(exported)
    assert model.card is exported.card
    for count in (1, 2, 5, 1):
        pixels = faces(count, 96)
        expected, found = exported.by_pixels(pixels), model.by_pixels(pixels)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            np.testing.assert_allclose(found[name], value, atol=1e-4, rtol=1e-4)
    assert np.ptp(expected["attention"]) > 0.1
    assert files(exported.folder) == before


@needs_openvino
def test_the_shipped_detector_within_a_thousandth() -> None:
    exported = shipped.load()
    drawn = [Image.fromarray(person(seed, 200).image).resize((160, 160)) for seed in range(6)]
    pixels = np.stack([np.asarray(picture) for picture in drawn])
    expected, found = exported.by_pixels(pixels), OnOpenVino(exported).by_pixels(pixels)
    assert np.ptp(expected["probability"]) > 0.01
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-3)
    np.testing.assert_allclose(found["logit"], expected["logit"], atol=1e-3)


@needs_openvino
def test_batch_normalised_b0_within_a_thousandth(tmp_path: Path) -> None:
    """Swish, squeeze-and-excitation and depthwise convolutions, with logits about 0."""
    keras.utils.set_random_seed(1)
    model = {"detector": "plain", "backbone": "b0", "weights": None}
    run = finished_run(tmp_path / "run", tmp_path / "none", model=model, data={"size": 64})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.0)
        export.export(run.folder, tmp_path / "out")
    exported = load_export(tmp_path / "out")
    pixels = faces(3, 64)
    expected, found = exported.by_pixels(pixels), OnOpenVino(exported).by_pixels(pixels)
    assert np.all(np.abs(expected["logit"]) < 3)
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-3)


@needs_openvino
def test_bfloat16_is_near_or_refused(exported: Exported) -> None:
    core: Any = openvino_runtime.load().Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UsageError, match="--precision: expected float32, since this CPU"):
            OnOpenVino(exported, "bfloat16")
        return
    expected = exported.by_pixels(faces(4, 96))["logit"]
    found = OnOpenVino(exported, "bfloat16").by_pixels(faces(4, 96))["logit"]
    assert 1e-6 < np.abs(found - expected).max() < 0.05


@needs_openvino
def test_wrong_faces_are_refused_as_by_the_export(exported: Exported) -> None:
    model = OnOpenVino(exported)
    for wrong in (np.zeros((0, 96, 96, 3), np.uint8), np.zeros((1, 96, 96, 3), np.float32)):
        with pytest.raises(DataError, match="pixels: expected uint8 faces"):
            model.by_pixels(wrong)


@needs_openvino
def test_a_file_is_judged_alike_by_both(
    tmp_path: Path, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "someone.jpg"
    Image.fromarray(person(1, 300).image).save(path, quality=60)
    judged = {}
    for runtime in ("tensorflow", "openvino"):
        out = tmp_path / f"{runtime}.json"
        given = [str(path), "--model", str(exported.folder), "--json", str(out)]
        assert predict.main([*given, "--runtime", runtime]) == 0
        judged[runtime] = json.loads(out.read_text())
    assert [judged[name]["runtime"] for name in judged] == ["tensorflow", "openvino, float32"]
    ours, theirs = (judged[name]["files"][0] for name in judged)
    assert len(ours["stability"]) > 1
    for one, other in zip([ours, *ours["stability"]], [theirs, *theirs["stability"]], strict=True):
        assert abs(one["probability"] - other["probability"]) < 1e-3
        assert one["verdict"] == other["verdict"]


@needs_openvino
def test_nobody_is_told_that_it_is_used(tmp_path: Path) -> None:
    """OpenVINO's own import makes an id of the user in the home folder and sends a message."""
    program = """
import sys
from tfforensics.serving import openvino_runtime
openvino_runtime.load().Core()
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
"""
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("CI", None)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not (tmp_path / "intel").exists()
