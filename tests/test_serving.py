"""The signature through TF Serving's real wire formats, and the files that TF Serving reads."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import ctypes
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
import yaml
from conftest import smooth_face
from google.protobuf import text_format
from judged import finished_run
from loopback import Served, grpc_server, rest_server
from scipy.special import expit

from tfforensics import client, export, jpeg
from tfforensics.calibration import Band, Calibration
from tfforensics.command import DataError
from tfforensics.serving import measure, saved_model, server, warmup
from tfforensics.serving.exported import Exported, load_export

NAME = "run"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    finished_run(folder / NAME, folder / "no-records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.0)
        export.export(folder / NAME, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def exported(base: Path) -> Exported:
    return load_export(base)


@pytest.fixture(scope="module", params=["grpc", "rest", "grpc of tensorflow_model_server"])
def address(base: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a server on loopback."""
    if request.param == "grpc":
        with grpc_server(Served(NAME, base / "1")) as url:
            yield url
    elif request.param == "rest":
        with rest_server(Served(NAME, base / "1")) as url:
            yield url
    else:
        yield from real_server(base)


def real_server(base: Path) -> Iterator[str]:
    binary = shutil.which("tensorflow_model_server")
    if binary is None:
        pytest.skip("no tensorflow_model_server on the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [binary, f"--port={port}", f"--model_name={NAME}", f"--model_base_path={base}"]
    )
    try:
        for _ in range(120):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield f"grpc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def test_clients_get_what_the_graph_answers(address: str, exported: Exported) -> None:
    files = [jpeg.encode(smooth_face(i, 50 + 20 * i), 90 - 20 * i) for i in range(4)]
    answers = client.judge(files, client.connect(address, NAME))
    expected = exported.by_bytes(files)
    assert all(isinstance(answer, client.Answer) for answer in answers)
    for name in ("probability", "logit"):
        found = [getattr(answer, name) for answer in answers]
        np.testing.assert_allclose(found, expected[name], rtol=1e-6)


def test_a_broken_file_is_an_error_for_itself_alone(address: str) -> None:
    good = jpeg.encode_canonical(smooth_face(1, 64))
    first, broken, last = client.judge([good, good[:300], good], client.connect(address, NAME))
    assert first == last and isinstance(first, client.Answer)
    assert isinstance(broken, str) and "Invalid JPEG data" in broken and "\n" not in broken
    (text,) = client.judge([b"no image at all, but text"], client.connect(address, NAME))
    assert "expected a JPEG or PNG file, got 25 bytes" in str(text)


def test_a_model_that_is_not_served_is_named(address: str) -> None:
    with pytest.raises(DataError, match="not found"):
        client.judge([jpeg.encode_canonical(smooth_face(1, 64))], client.connect(address, "other"))


def test_warm_up_requests_parse_and_replay(base: Path) -> None:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    served = Served(NAME, base / "1")
    logs = [
        PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(base / "1" / warmup.FILE))
    ]
    assert 1 <= len(logs) <= 1000  # TF Serving's limit
    asked = []
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == NAME
        inputs = {key: tf.constant(tf.make_ndarray(t)) for key, t in request.inputs.items()}
        answers = served.run(request.model_spec.signature_name, inputs)
        asked.append((request.model_spec.signature_name, len(answers["probability"])))
    assert asked == [("serving_default", 1), ("serving_default", 8), ("pixels", 1)]


def test_tf_serving_s_own_loader_takes_it(base: Path) -> None:
    """The C++ loader, by the C API."""
    library = Path(tf.__file__).with_name("libtensorflow_cc.so.2")
    if not library.is_file():
        pytest.skip("this TensorFlow has no libtensorflow_cc.so.2")
    c = ctypes.CDLL(str(library))
    for name in ("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions"):
        getattr(c, name).restype = ctypes.c_void_p
    c.TF_LoadSessionFromSavedModel.restype = ctypes.c_void_p
    c.TF_Message.restype = ctypes.c_char_p
    status, graph, options = (
        ctypes.c_void_p(make()) for make in (c.TF_NewStatus, c.TF_NewGraph, c.TF_NewSessionOptions)
    )
    tags = (ctypes.c_char_p * 1)(b"serve")
    folder = str(base / "1").encode()
    session = c.TF_LoadSessionFromSavedModel(options, None, folder, tags, 1, graph, None, status)
    assert c.TF_GetCode(status) == 0, c.TF_Message(status)
    assert session


def test_the_server_s_files_say_what_is_there(base: Path) -> None:
    from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

    models = text_format.Parse((base / "models.config").read_text(), ModelServerConfig())
    (config,) = models.model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == (
        NAME, f"/models/{NAME}", "tensorflow"
    )  # fmt: skip
    service = yaml.safe_load((base / "compose.yaml").read_text())["services"]["serving"]
    assert service["volumes"] == [f".:{config.base_path}:ro"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    for flag in service["command"]:
        name, _, path = flag.partition("=")
        assert name in ("--model_config_file", "--monitoring_config_file")
        assert (base / Path(path).relative_to(config.base_path)).is_file()
    batching = (base / "batching_parameters.txt").read_text()
    assert "max_batch_size { value: 32 }" in batching
    assert 'path: "/monitoring/prometheus/metrics"' in (base / "monitoring.config").read_text()


@pytest.mark.parametrize(
    ("text", "name"),
    [("demo", "demo"), ("my run (2)", "my-run-2"), ("../..", "model"), ("a_b-c.1", "a_b-c.1")],
)
def test_names_are_fit_for_urls_and_folders(text: str, name: str) -> None:
    assert server.model_name(text) == name


def attentive(size: int = 32) -> keras.Model:
    """A network with maps, as multi-attention has them."""
    keras.utils.set_random_seed(2)
    images = keras.Input((size, size, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    maps = keras.layers.Conv2D(3, 5, strides=8, padding="same", activation="relu")(x)
    logit = 9 * keras.layers.Dense(1)(keras.layers.Flatten()(maps))[:, 0]
    return keras.Model(images, {"logit": logit, "attention": maps, "regions": maps})


def signatures(network: keras.Model, calibration: Calibration | None, folder: Path) -> Any:
    folder.mkdir()
    saved_model.write(saved_model.build(network, calibration).folded()[0], folder)
    return tf.saved_model.load(str(folder)).signatures


def test_attention_is_an_answer_where_there_is_some(tmp_path: Path) -> None:
    network = attentive()
    served = signatures(network, None, tmp_path / "model")
    faces = np.stack([smooth_face(i, 32) for i in range(3)])
    expected, found = network(faces), served["pixels"](pixels=tf.constant(faces))
    assert set(found) == {"logit", "probability", "attention"}  # and no regions
    assert found["attention"].shape == (3, 4, 4, 3) and found["attention"].dtype == tf.float32
    np.testing.assert_allclose(found["attention"], expected["attention"], atol=1e-6)
    np.testing.assert_allclose(found["probability"], expit(expected["logit"]), atol=1e-6)


BY_QUALITY = Calibration(0.05, (Band(1, 0.5, -1.0, 0.2, 0.4, 7), Band(38, 2.0, 0.25, 0.3, 0.7, 9)))
COPIES = Calibration(0.05, (Band(1, 0.5, -1.0, 0.2, 0.4, 7), Band(38, 0.5, -1.0, 0.2, 0.4, 0)))


def test_probability_is_calibrated_by_the_quality_of_the_file(tmp_path: Path) -> None:
    network = attentive(96)
    served = signatures(network, BY_QUALITY, tmp_path / "model")
    qualities = np.array([10, 15, 60, 77])
    same = [jpeg.encode(smooth_face(i, 96), int(q)) for i, q in enumerate(qualities)]
    larger = [jpeg.encode(smooth_face(i, 160), int(q)) for i, q in enumerate(qualities)]
    for files in (same, larger):
        found = served["serving_default"](image_bytes=tf.constant(files))
        np.testing.assert_array_equal(found["quality"], qualities)
        logit = found["logit"].numpy().astype(float)
        expected = BY_QUALITY.probability(logit, qualities)
        np.testing.assert_allclose(found["probability"], expected, atol=1e-6)
    pixels = tf.constant(np.stack([jpeg.decode(file) for file in same]))
    found = served["pixels"](pixels=pixels)
    np.testing.assert_array_equal(found["quality"], qualities)
    expected = BY_QUALITY.probability(found["logit"].numpy().astype(float), qualities)
    np.testing.assert_allclose(found["probability"], expected, atol=1e-6)


def test_one_correction_for_all_asks_for_no_quality(tmp_path: Path) -> None:
    served = signatures(attentive(), COPIES, tmp_path / "model")
    found = served["pixels"](pixels=tf.constant(smooth_face(1, 32)[None]))
    assert set(found) == {"logit", "probability", "attention"}
    expected = expit(0.5 * found["logit"].numpy() - 1)
    np.testing.assert_allclose(found["probability"], expected, atol=1e-6)


def test_an_export_refuses_what_it_cannot_judge(exported: Exported) -> None:
    face = jpeg.encode_canonical(smooth_face(1, 64))
    with pytest.raises(DataError, match=r"^image_bytes\[1\]: expected a JPEG or PNG file"):
        exported.by_bytes([face, b"GIF89a" * 9])
    for faces in (
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
    ):
        with pytest.raises(DataError, match="expected uint8 faces, at least one, of shape"):
            exported.by_pixels(faces)
    assert len(exported.by_bytes([face] * 3)["probability"]) == 3
