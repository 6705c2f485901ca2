"""Clips: the folders layout, splits by a stable hash, leaks."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfforensics import clips
from tfforensics.clips import Clip
from tfforensics.command import DataError, UsageError


@pytest.fixture
def tree(tmp_path):
    """Writes empty files by their paths."""

    def write(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return write


def listed(root, **options):
    """{manipulation/name: (target, source, split)}."""
    found = clips.find_folders(root, **options).clips
    return {f"{c.manipulation}/{c.name}": (c.target, c.source, c.split) for c in found}


def test_the_split_of_an_identity_never_changes():
    # The numbers in the middle lie nearest to the bounds, 0.72 and 0.86.
    examples = {
        "000": "train",
        "anna": "train",
        "056": "val",
        "183": "val",
        "132": "val",
        "140": "val",
        "": "test",
    }
    assert {name: clips.split_of(name) for name in examples} == examples


def test_about_72_14_and_14_percent_of_identities_go_to_the_splits():
    count = Counter(clips.split_of(f"{number:05d}") for number in range(20000))
    assert count["train"] / 20000 == pytest.approx(0.72, abs=0.01)
    assert count["val"] / 20000 == pytest.approx(0.14, abs=0.01)
    assert count["test"] / 20000 == pytest.approx(0.14, abs=0.01)


def test_identities_come_from_folders_or_from_names_up_to_the_underscore(tree):
    root = tree(
        "real/003.mp4",
        "real/007_frame12.jpg",
        "real/anna/holiday_1.png",
        "swap/003_007.mp4",
        "swap/003_frame9.mp4",
        "swap/anna/x/y_003.MOV",
    )
    found = listed(root)
    assert {name: (target, source) for name, (target, source, _) in found.items()} == {
        "real/003": ("003", ""),
        "real/007_frame12": ("007", ""),
        "real/anna-holiday_1": ("anna", ""),
        "swap/003_007": ("003", "007"),
        # "frame9" is nobody, so it is no source.
        "swap/003_frame9": ("003", ""),
        "swap/anna-x-y_003": ("anna", ""),
    }


def test_everybody_who_is_mixed_with_somebody_is_in_one_split(tree):
    chain = [f"{a:02d}_{a + 1:02d}" for a in range(30)]
    root = tree(
        *(f"real/{n:02d}.mp4" for n in range(31)),
        "real/lone.mp4",
        *(f"swap/{name}.mp4" for name in chain),
    )
    found = listed(root)
    assert {split for name, (_, _, split) in found.items() if "lone" not in name} == {
        clips.split_of("00")
    }
    assert found["real/lone"][2] == clips.split_of("lone")
    assert clips.leaks(clips.find_folders(root).clips) == []


def test_a_group_is_the_same_whatever_its_members_are_listed_in(tree):
    root = tree(*(f"real/{n}.mp4" for n in "abcd"), "swap/d_c.mp4", "swap/c_a.mp4", "swap/a_d.mp4")
    found = listed(root)
    assert {found[f"real/{n}"][2] for n in "acd"} == {clips.split_of("a")}
    assert found["real/b"][2] == clips.split_of("b")


def test_by_clip_only_the_media_of_one_target_stay_together(tree):
    numbers = [f"{n:02d}" for n in range(40)]
    root = tree(
        *(f"real/{n}.mp4" for n in numbers),
        *(f"swap/{a}_{b}.mp4" for a, b in pairwise(numbers)),
    )
    found = listed(root, by="clip")
    assert {split for _, _, split in found.values()} == {"train", "val", "test"}
    for target, source, split in found.values():
        assert source == ""
        assert split == clips.split_of(target)
    assert clips.leaks(clips.find_folders(root, by="clip").clips) == []


def test_other_files_are_told_and_left_out(tree):
    listing = clips.find_folders(
        tree("real/a.mp4", "swap/a.JPG", "swap/b.txt", "real/c", "top.mp4")
    )
    assert [c.name for c in listing.clips] == ["a", "a"]
    assert listing.notes == (
        "real/c: neither an image nor a video by its name",
        "swap/b.txt: neither an image nor a video by its name",
    )


def test_a_name_that_is_no_text_is_told_and_left_out(tree):
    root = tree("real/a.mp4", "swap/a.mp4")
    Path(os.fsdecode(os.fsencode(root) + b"/real/\xff.mp4")).touch()
    listing = clips.find_folders(root)
    assert len(listing.clips) == 2
    assert listing.notes == ("'real/\\udcff.mp4': a name that is not UTF-8",)


def test_the_listing_is_in_order(tree):
    root = tree("swap/b.mp4", "real/z.mp4", "alter/c.mp4", "swap/a.mp4")
    found = clips.find_folders(root).clips
    assert [f"{c.manipulation}/{c.name}" for c in found] == [
        "alter/c",
        "real/z",
        "swap/a",
        "swap/b",
    ]


@pytest.mark.parametrize(
    ("paths", "got"),
    [([], "no folder"), (["real/a.mp4"], "real"), (["fake/a.mp4", "true/b.mp4"], "fake, true")],
)
def test_a_folder_of_another_shape_is_the_users_mistake(tree, paths, got):
    root = tree(*paths)
    with pytest.raises(UsageError) as raised:
        clips.find_folders(root)
    assert str(raised.value) == (
        "--root: expected real/ and at least one folder named for its manipulation in "
        f"{root}, got {got}"
    )


def test_a_root_that_is_no_folder_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError, match=r"^--root: expected a folder, got .*/nowhere$"):
        clips.find_folders(tmp_path / "nowhere")


def test_folders_without_media_are_bad_data(tree):
    with pytest.raises(DataError, match=r": no image or video in real, swap$"):
        clips.find_folders(tree("real/a.txt", "swap/b.txt"))


@pytest.mark.parametrize("second", ["real/a.avi", "real/a.jpg"])
def test_two_files_of_one_clip_name_are_bad_data(tree, second):
    with pytest.raises(DataError, match=r"gives the same clip name as .*: a$"):
        clips.find_folders(tree("real/a.mp4", second, "swap/a.mp4"))


def clip(name, split, *, manipulation="real", target=None, source="", group=""):
    return Clip(manipulation, name, Path(name), split, target or name, source, group)


def test_leaks_name_the_clip_the_identity_and_the_splits():
    leaking = [
        clip("a", "train"),
        clip("a", "test", manipulation="swap"),
        clip("c_d", "val", manipulation="swap", target="c", source="d"),
        clip("d", "train"),
        clip("e", "train"),
        clip("e_f", "train", manipulation="swap", target="e", source="f"),
    ]
    assert clips.leaks(leaking) == [
        "clip a is in train and test",
        "identity a is in train and test",
        "identity d is in train and val",
    ]
    assert clips.leaks(leaking[4:]) == []


def test_videos_that_lie_in_two_splits_are_told_but_are_no_leak():
    shared = [clip("a", "val", group="v1"), clip("b", "train", group="v1"), clip("c", "train")]
    assert clips.leaks(shared) == []
    assert clips.shared_source_groups(shared) == ["source video v1: b in train, a in val"]


pairs = st.lists(st.tuples(*[st.integers(0, 30).map(str)] * 2), max_size=40)


@given(pairs)
def test_connected_names_have_one_group_and_others_do_not(edges):
    group = clips._connected(edges)
    assert set(group) == {name for edge in edges for name in edge}
    # The plain way: let labels flow along the edges until nothing moves.
    label = {name: name for name in group}
    moved = True
    while moved:
        moved = False
        for a, b in edges:
            low = min(label[a], label[b])
            moved |= (label[a], label[b]) != (low, low)
            label[a] = label[b] = low
    assert group == label
