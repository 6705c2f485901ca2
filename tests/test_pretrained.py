"""Weights reach the network that they belong to, whole, or none of them does."""

import contextlib

import h5py
import numpy as np
import pytest
import tf_keras as keras
from tf_keras.src.applications import efficientnet, efficientnet_v2

from tfforensics.command import UsageError
from tfforensics.models.architecture import architecture
from tfforensics.models.backbone import build_backbone, build_classifier
from tfforensics.models.pretrained import assign_weights, read_weights


@pytest.fixture(scope="module")
def b0_file(tmp_path_factory):
    """B0's weights with a head, as Keras would have saved ours."""
    path = tmp_path_factory.mktemp("b0") / "b0.h5"
    build_classifier("b0", size=32, weights=None).save_weights(path)
    return path


def test_a_file_fills_backbone_and_head(b0_file):
    with h5py.File(b0_file) as file:
        head = file["predictions/predictions/kernel:0"][()]
        stem = file["stem_conv/stem_conv/kernel:0"][()]
    whole = build_classifier("b0", size=64, weights=str(b0_file))
    np.testing.assert_array_equal(whole.get_layer("predictions").kernel, head)
    np.testing.assert_array_equal(whole.get_layer("stem_conv").kernel, stem)
    cut = build_backbone("b0", size=32, weights=str(b0_file), taps=["b2"])
    np.testing.assert_array_equal(cut.get_layer("stem_conv").kernel, stem)


def test_another_networks_weights_are_refused_by_name(b0_file):
    for name in ("b1", "lite0", "v2-b0"):
        with pytest.raises(UsageError, match=f"expected those of {name}, got b0's: .*b0.h5"):
            read_weights(architecture(name), str(b0_file), head=False)


def edited(path, source, edit):
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file)
    return str(path)


def test_a_missing_or_misshapen_array_is_named_and_nothing_is_assigned(b0_file, tmp_path):
    def misshape(file):
        del file["top_conv/top_conv/kernel:0"]
        file["top_conv/top_conv/kernel:0"] = np.zeros((1, 1, 3, 1280), np.float32)

    model = build_backbone("b0", size=32, weights=None)
    before = model.get_layer("stem_conv").kernel.numpy()
    network = architecture("b0")
    path = edited(tmp_path / "shape.h5", b0_file, misshape)
    with pytest.raises(
        UsageError, match=r"top_conv/kernel \(1, 1, 320, 1280\) is \(1, 1, 3, 1280\) in"
    ):
        assign_weights(model, read_weights(network, path, head=False))
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, before)

    def drop(file):
        file["block4b_bn"].attrs["weight_names"] = [b"block4b_bn/gamma:0"]

    path = edited(tmp_path / "missing.h5", b0_file, drop)
    with pytest.raises(UsageError, match=r"block4b_bn/beta \(480,\) is not there in"):
        assign_weights(model, read_weights(network, path, head=False))


def normalised(mean, variance):
    def edit(file):
        group = file.create_group("normalization")
        group["mean:0"], group["variance:0"] = mean, variance
        group.attrs["weight_names"] = [b"mean:0", b"variance:0"]
        names = np.append(file.attrs["layer_names"], "normalization").astype(bytes)
        del file.attrs["layer_names"]
        file.attrs["layer_names"] = names

    return edit


def test_a_file_that_saw_images_otherwise_is_refused(b0_file, tmp_path):
    mean, std = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")
    for variance in (std, std**2):
        path = edited(tmp_path / "good.h5", b0_file, normalised(mean, variance))
        build_backbone("b0", size=32, weights=path, taps=["b1"])
    path = edited(tmp_path / "bad.h5", b0_file, normalised(0 * mean, 0 * std + 1))
    with pytest.raises(UsageError, match="layer 'normalization' normalises images otherwise"):
        build_backbone("b0", size=32, weights=path, taps=["b1"])


def test_weights_that_nobody_publishes_are_an_error():
    for name in ("b8", "lite3"):
        with pytest.raises(UsageError, match=f"'imagenet' is there for b0, .*, not for {name}"):
            read_weights(architecture(name), "imagenet", head=False)


@pytest.mark.parametrize(
    ("name", "file"),
    [("b4", "efficientnetb4_notop.h5"), ("v2-s", "efficientnetv2-s_notop.h5")],
)
def test_no_network_is_one_error_that_says_what_to_do(monkeypatch, name, file):
    def fail(fname, origin, **_):
        assert fname == file
        assert origin.startswith("https://storage.googleapis.com/") and origin.endswith(file)
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(UsageError, match=f"path of a local copy of {file}, or null") as error:
        read_weights(architecture(name), "imagenet", head=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "head", "file"),
    [
        ("b0", False, "efficientnetb0_notop.h5"),
        ("b7", True, "efficientnetb7.h5"),
        ("v2-b3", False, "efficientnetv2-b3_notop.h5"),
        ("v2-l", True, "efficientnetv2-l.h5"),
    ],
)
def test_addresses_and_hashes_are_those_of_keras(monkeypatch, b0_file, name, head, file):
    asked = {}

    def get_file(fname, origin, **settings):
        asked.update(fname=fname, origin=origin, **settings)
        return b0_file

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with contextlib.suppress(UsageError):  # but for B0, the answer is another network's file
        read_weights(architecture(name), "imagenet", head=head)
    source = efficientnet_v2 if name.startswith("v2") else efficientnet
    assert asked == {
        "fname": file,
        "origin": source.BASE_WEIGHTS_PATH + file,
        "cache_subdir": "models",
        "file_hash": source.WEIGHTS_HASHES[name.removeprefix("v2")[-2:]][0 if head else 1],
    }
