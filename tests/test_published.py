"""Published figures: the values, and that a level of one codec never passes for the other's."""

from __future__ import annotations

from tfforensics.ffpp import MANIPULATIONS
from tfforensics.metrics import AVERAGES
from tfforensics.published import ALL, FIGURES, SOURCES, beside


def values(codec, level, manipulation):
    return {figure.method: figure.auc for figure in beside(codec, level, manipulation)}


def test_figures_are_found_by_codec_level_and_manipulation():
    assert values("H.264", "c23", ALL) == {
        "Meso4": 0.6077,
        "MesoInception4": 0.7583,
        "EfficientNet-B4": 0.9567,
    }
    assert values("H.264", "c40", ALL)["EfficientNet-B4"] == 0.8150
    assert values("H.264", "c23", "NeuralTextures")["Meso4"] == 0.5701
    assert values("H.264", "c23", "Face2Face")["MesoInception4"] == 0.8087
    assert values("JPEG", "c23 & c40", "Deepfakes") == {"as published": 0.987}
    assert values("JPEG", "c85 & c90", "NeuralTextures") == {
        "before its methods": 0.718,
        "after its methods": 0.756,
    }
    assert values("JPEG", "all datasets", "FaceSwap") == {"as published": 0.937}


def test_a_jpeg_level_has_none_of_the_figures_of_the_h264_level_of_that_name():
    assert beside("JPEG", "c23", ALL) == []
    assert beside("JPEG", "c40", "Deepfakes") == []
    assert beside("H.264", "c23 & c40", "Deepfakes") == []


def test_every_figure_has_a_source_a_known_setting_and_a_place_of_its_own():
    assert len(FIGURES) == 3 * 6 + 4 * 4
    places = {(f.source, f.method, f.codec, f.level, f.manipulation) for f in FIGURES}
    assert len(places) == len(FIGURES)
    for figure in FIGURES:
        assert figure.source in SOURCES
        assert figure.manipulation in (*MANIPULATIONS, ALL)
        assert figure.level in ({"c23", "c40"} if figure.codec == "H.264" else AVERAGES)
        assert 0.5 < figure.auc < 1
