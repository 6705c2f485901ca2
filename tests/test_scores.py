"""Scores: selection, videos by clip and manipulation, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from tfforensics.command import DataError, UsageError
from tfforensics.scores import Scores, concatenate


def scores_of(rows, split="test"):
    """Scores from (probability, label, clip, manipulation, level) rows."""
    probability, label, clip, manipulation, level = zip(*rows, strict=True)
    return Scores(
        split=split,
        probability=probability,
        label=label,
        clip=clip,
        manipulation=manipulation,
        level=level,
        target=[name[:3] for name in clip],
        source=[name[4:] for name in clip],
    )


@pytest.fixture
def scores():
    return scores_of(
        [
            (0.1, 0, "000", "real", "c23"),
            (0.3, 0, "000", "real", "c23"),
            (0.9, 1, "000_003", "Deepfakes", "c23"),
            (0.5, 1, "000_003", "Deepfakes", "c23"),
            (0.2, 1, "000_003", "FaceSwap", "c23"),
            (0.4, 0, "000", "real", "c40"),
            (0.6, 1, "000_003", "Deepfakes", "c40"),
        ]
    )


def test_a_level_and_a_manipulation_keep_all_real_faces_and_nothing_else(scores):
    cell = scores.at_level("c23").against("Deepfakes")
    assert cell.probability.tolist() == [0.1, 0.3, 0.9, 0.5]
    assert cell.label.tolist() == [0, 0, 1, 1]
    assert cell.source.tolist() == ["", "", "003", "003"]
    assert cell.split == "test"


def test_names_are_listed_in_the_order_of_their_first_face(scores):
    assert scores.levels == ["c23", "c40"]
    assert scores.manipulations == ["Deepfakes", "FaceSwap"]


def test_videos_of_one_clip_name_stay_apart_by_manipulation_and_level(scores):
    videos = scores.videos()
    found = {
        (m, c, level): p
        for m, c, level, p in zip(
            videos.manipulation, videos.clip, videos.level, videos.probability, strict=True
        )
    }
    assert found == {
        ("real", "000", "c23"): pytest.approx(0.2),
        ("real", "000", "c40"): 0.4,
        ("Deepfakes", "000_003", "c23"): pytest.approx(0.7),
        ("Deepfakes", "000_003", "c40"): 0.6,
        ("FaceSwap", "000_003", "c23"): 0.2,
    }
    assert videos.label.sum() == 3


def test_videos_do_not_depend_on_the_order_of_the_faces(scores):
    shuffled = scores.take(np.array([6, 2, 0, 4, 5, 3, 1])).videos()
    straight = scores.videos()
    assert shuffled.clip.tolist() == straight.clip.tolist()
    np.testing.assert_allclose(shuffled.probability, straight.probability, rtol=1e-15)


def test_a_video_with_both_labels_is_an_error_that_names_it():
    mixed = scores_of([(0.1, 0, "000", "FaceSwap", "c0"), (0.2, 1, "000", "FaceSwap", "c0")])
    with pytest.raises(DataError, match=r"FaceSwap/c0, clip 000: .* one label"):
        mixed.videos()


def test_an_unknown_level_or_manipulation_lists_what_is_there(scores):
    with pytest.raises(UsageError, match="level: expected one of c23, c40, not 'c99'"):
        scores.at_level("c99")
    with pytest.raises(UsageError, match="expected one of Deepfakes, FaceSwap, not 'real'"):
        scores.against("real")


@pytest.mark.parametrize("probability", [float("nan"), -0.1, 1.5, float("inf")])
def test_a_probability_that_is_none_is_an_error_that_names_the_clip(probability):
    with pytest.raises(DataError, match=r"real/c0, clip 001: probability must be in \[0, 1\]"):
        scores_of([(0.5, 0, "000", "real", "c0"), (probability, 0, "001", "real", "c0")])


def test_a_label_other_than_0_and_1_is_an_error():
    with pytest.raises(DataError, match="label must be 0 or 1, not 2"):
        scores_of([(0.5, 2, "000", "real", "c0")])


def test_arrays_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match=r"level must have the shape of probability, \(1,\)"):
        Scores("val", [0.5], [0], ["000"], ["real"], ["c0", "c0"], ["000"], [""])


def test_concatenation_keeps_the_order_and_refuses_two_splits(scores):
    both = concatenate([scores, scores])
    assert len(both) == 14
    assert both.clip.tolist() == scores.clip.tolist() * 2
    with pytest.raises(ValueError, match=r"one split, not of \['test', 'val'\]"):
        concatenate([scores, scores_of([(0.5, 0, "000", "real", "c0")], split="val")])
