"""Celeb-DF and DFDC: folders of their shape, their own test lists, and nobody in two splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tfforensics import layouts, records
from tfforensics.celebdf import find_celebdf
from tfforensics.clips import Clip, leaks
from tfforensics.command import DataError, UsageError
from tfforensics.dfdc import find_dfdc

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes empty files by their paths."""

    def write(*paths: str) -> Path:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return write


@pytest.fixture
def celebrities(tree: Tree) -> Path:
    """Eight people in four pairs that are mixed with each other, and three others."""
    paths = [f"YouTube-real/0000{n}.mp4" for n in range(3)]
    for a in range(0, 8, 2):
        for first, second in ((a, a + 1), (a + 1, a)):
            paths.append(f"Celeb-real/id{first}_0000.mp4")
            paths.append(f"Celeb-synthesis/id{first}_id{second}_0000.mp4")
    root = tree(*paths, "Celeb-synthesis/copy of id1.mp4")
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00001.mp4\n1 Celeb-real/id2_0000.mp4\n"
        "0 Celeb-synthesis/id2_id3_0000.mp4\n0 Celeb-synthesis/id9_id3_0000.mp4\n"
    )
    return root


def by_name(clips: tuple[Clip, ...]) -> dict[str, Clip]:
    return {clip.name: clip for clip in clips}


def test_celebdf_knows_who_is_seen_and_whose_face_it_is(celebrities: Path) -> None:
    found = find_celebdf(celebrities)
    clips = by_name(found.clips)
    assert len(clips) == len(found.clips) == 3 + 8 + 8
    swap = clips["id4_id5_0000"]
    assert (swap.manipulation, swap.target, swap.source) == ("Celeb-synthesis", "id4", "id5")
    assert (clips["00002"].manipulation, clips["00002"].target) == ("real", "youtube00002")
    assert clips["id4_0000"].split == clips["id5_0000"].split == swap.split
    assert leaks(found.clips) == []
    assert found.notes == ("Celeb-synthesis/copy of id1.mp4: not a name of Celeb-DF's",)


@pytest.mark.parametrize("by", ["identity", "clip"])
def test_nobody_of_the_official_test_is_trained_on(celebrities: Path, by: str) -> None:
    found = find_celebdf(celebrities, by, official_test=True)
    clips = by_name(found.clips)
    tested = {name for name, clip in clips.items() if clip.split == "test"}
    assert tested == {"00001", "id2_0000", "id2_id3_0000"}
    # id3 lends a face of the test, so its own videos are left out.
    assert not {"id3_0000", "id3_id2_0000"} & clips.keys() and len(clips) == 17
    assert leaks(found.clips) == []
    assert [note for note in found.notes if "test" in note] == [
        "Celeb-synthesis/id9_id3_0000.mp4: of the official test list, not there",
        "Celeb-synthesis: 1 clips left out, since somebody of the test is in them",
        "real: 1 clips left out, since somebody of the test is in them",
    ]


@pytest.mark.parametrize(
    "line", ["0 YouTube-real/00001.mp4", "1 ../../x.mp4", "YouTube-real/1.mp4"]
)
def test_a_line_that_is_none_is_told(celebrities: Path, line: str) -> None:
    (celebrities / "List_of_testing_videos.txt").write_text(f"1 YouTube-real/00001.mp4\n{line}\n")
    with pytest.raises(DataError, match="line 2: expected 1 and a real video"):
        find_celebdf(celebrities, official_test=True)


@pytest.fixture
def challenge(tree: Tree) -> Path:
    """Twelve parts of two originals with a fake each, and a test."""
    root = tree("test/t0.mp4", "test/t1.mp4")
    for part in range(12):
        listed = {}
        for name in (f"a{part}", f"b{part}"):
            tree(f"dfdc_train_part_{part}/{name}.mp4", f"dfdc_train_part_{part}/{name}f.mp4")
            listed[f"{name}.mp4"] = {"label": "REAL", "split": "train"}
            fake = {"label": "FAKE", "split": "train", "original": f"{name}.mp4"}
            listed[f"{name}f.mp4"] = fake
        (root / f"dfdc_train_part_{part}" / "metadata.json").write_text(json.dumps(listed))
    (root / "test" / "metadata.json").write_text(
        json.dumps({"t0.mp4": {"is_fake": 0}, "t1.mp4": {"is_fake": 1}, "t2.mp4": {"is_fake": 1}})
    )
    return root


def test_dfdc_keeps_a_part_together(challenge: Path) -> None:
    found = find_dfdc(challenge)
    clips = by_name(found.clips)
    assert len(clips) == 12 * 4 + 2
    assert (clips["a3f"].manipulation, clips["a3f"].target) == ("DFDC", "a3")
    for part in range(12):
        assert len({clips[f"{name}{part}"].split for name in "ab"}) == 1
    assert {clip.split for clip in found.clips} == {"train", "val", "test"}
    assert found.notes == ("test: 1 of 3 videos are not there",)
    assert leaks(find_dfdc(challenge, "clip").clips) == []


def test_a_video_that_is_there_twice_is_refused(challenge: Path, tree: Tree) -> None:
    tree("train_sample_videos/a0.mp4")
    listed = json.dumps({"a0.mp4": {"label": "REAL"}})
    (challenge / "train_sample_videos" / "metadata.json").write_text(listed)
    with pytest.raises(DataError, match=r"gives the same clip name as .*: a0"):
        find_dfdc(challenge)


@pytest.mark.parametrize("form", ["metadata.json", "labels.csv"])
def test_dfdc_has_a_test_of_its_own(challenge: Path, form: str) -> None:
    if form == "labels.csv":
        (challenge / "test" / "metadata.json").unlink()
        (challenge / "test" / form).write_text("filename,label\nt0.mp4,0\nt1.mp4,1\n")
    clips = by_name(find_dfdc(challenge, official_test=True).clips)
    tested = {name: clip.manipulation for name, clip in clips.items() if clip.split == "test"}
    assert tested == {"t0": "real", "t1": "DFDC"}
    assert len(clips) == 50


@pytest.mark.parametrize(
    "damaged",
    ["[]", "{", '{"a.mp4": {}}', '{"../a.mp4": {"is_fake": 1}}', '{"a.mp4": {"is_fake": 2}}'],
)
def test_a_damaged_list_is_named(challenge: Path, damaged: str) -> None:
    path = challenge / "test" / "metadata.json"
    path.write_text(damaged)
    with pytest.raises(DataError, match=f"{path}: not a list of DFDC"):
        find_dfdc(challenge)


def test_what_is_not_there_is_a_mistake(tmp_path: Path, challenge: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    for layout in ("celebdf", "dfdc"):
        with pytest.raises(UsageError, match="--root: expected"):
            layouts.find(layout, empty)
    with pytest.raises(UsageError, match="--official-test: expected --layout celebdf or dfdc"):
        records.main(["--root", str(empty), "--out", "x", "--layout", "folders", "--official-test"])
    (challenge / "test" / "metadata.json").unlink()
    with pytest.raises(UsageError, match="--official-test: expected a folder"):
        find_dfdc(challenge, official_test=True)
