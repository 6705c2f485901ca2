"""Published figures stand beside ours only where the setting is the same."""

from __future__ import annotations

import pytest

from tfforensics.clips import REAL
from tfforensics.ffpp import MANIPULATIONS, official_clips
from tfforensics.manifest import ClipReport, Manifest, Settings
from tfforensics.precedents import find


def records(*, without=(), manipulations=MANIPULATIONS, compression="c23", notice=""):
    """A manifest of FaceForensics++, less some (manipulation, target)."""
    clips = [
        ClipReport(name, clip.number, clip.split, clip.number, "", "", compression, 32, found, {})
        for name in (REAL, *manipulations)
        for clip in official_clips().values()
        if (found := 0 if (name, clip.number) in without else 32) >= 0
    ]
    return Manifest("ffpp", Settings(), (), tuple(clips), (), {}, notice)


TEST_CLIP = next(clip.number for clip in official_clips().values() if clip.split == "test")
TRAIN_CLIP = next(clip.number for clip in official_clips().values() if clip.split == "train")
WHOLE = records()


def found(held, trained_on=WHOLE, split="test"):
    return {
        (p.column, p.figure.source, p.figure.method, p.figure.manipulation): p.figure.auc
        for p in find(held, trained_on, split)
    }


def test_the_whole_set_at_h264_c23_has_all_precedents():
    precedents = found(WHOLE)
    assert precedents["c0", "DeepfakeBench", "EfficientNet-B4", "FaceSwap"] == 0.9797
    assert precedents["c0", "DeepfakeBench", "Meso4", "all"] == 0.6077
    assert precedents["c23 & c40", "the report", "as published", "NeuralTextures"] == 0.953
    assert precedents["c85 & c90", "the report", "after its methods", "Deepfakes"] == 0.91
    assert len(precedents) == 3 * 5 + 4 * 4


def test_at_h264_c40_only_what_was_trained_on_c23_is_comparable():
    precedents = found(records(compression="c40"))
    assert precedents["c0", "DeepfakeBench", "MesoInception4", "all"] == 0.7278
    assert sum(key[0] == "c0" for key in precedents) == 3
    for trained_on in (records(compression="c40"), records(compression="raw"), None):
        assert not any(key[0] == "c0" for key in found(records(compression="c40"), trained_on))


@pytest.mark.parametrize(
    ("held", "split"),
    [
        (records(notice="These are imitations."), "test"),
        (WHOLE, "val"),
        (records(without={(REAL, TEST_CLIP)}), "test"),
        (records(manipulations=("A", "B")), "test"),
        (Manifest("empty", Settings(), (), (), (), {}), "test"),
    ],
)
def test_other_faces_have_none(held, split):
    assert found(held, split=split) == {}


def test_a_clip_that_is_missing_takes_its_manipulation_out():
    precedents = found(records(without={("FaceSwap", TEST_CLIP)}))
    assert {key[3] for key in precedents} == set(MANIPULATIONS) - {"FaceSwap"}
    # One of the training split was not judged by anyone.
    assert found(records(without={("FaceSwap", TRAIN_CLIP)})) == found(WHOLE)
