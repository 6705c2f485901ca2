"""FaceForensics++: the official lists as facts, and whatever part of the folders is there."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from tfforensics import clips, ffpp
from tfforensics.command import DataError, UsageError

SHARED = Path(__file__).parents[2] / "shared" / "ffpp" / "clips.csv"


@pytest.fixture
def tree(tmp_path):
    """Writes empty videos: tree("real/c23: 000 003", "Deepfakes/c23: 000_003")."""

    def write(*folders):
        for line in folders:
            place, _, names = line.partition(":")
            manipulation, compression = place.split("/")
            folder = tmp_path / (
                "original_sequences/youtube"
                if manipulation == "real"
                else f"manipulated_sequences/{manipulation}"
            )
            videos = folder / compression / "videos"
            videos.mkdir(parents=True)
            for name in names.split():
                (videos / (name if "." in name else f"{name}.mp4")).touch()
        return tmp_path

    return write


def test_the_splits_have_the_official_sizes():
    official = ffpp.official_clips()
    assert list(official) == [f"{number:03d}" for number in range(1000)]
    assert all(number == clip.number for number, clip in official.items())
    assert Counter(clip.split for clip in official.values()) == {
        "train": 720,
        "val": 140,
        "test": 140,
    }


def test_partners_are_mutual_others_and_of_the_same_split():
    official = ffpp.official_clips()
    for clip in official.values():
        partner = official[clip.partner]
        assert partner.partner == clip.number != partner.number
        assert partner.split == clip.split


def test_single_facts_of_the_official_list():
    official = ffpp.official_clips()
    assert official["000"] == ffpp.OfficialClip("000", "test", "003", 0)
    assert official["001"] == ffpp.OfficialClip("001", "train", "870", 1)
    assert (official["999"].split, official["999"].partner) == ("train", "960")
    assert (official["004"].split, official["004"].partner) == ("val", "982")


def test_a_thousand_clips_come_from_977_videos():
    groups = Counter(clip.source_group for clip in ffpp.official_clips().values())
    assert len(groups) == 977
    # 21 videos gave two clips and one gave three: 1000 = 977 + 21 + 2.
    assert Counter(groups.values()) == {1: 955, 2: 21, 3: 1}
    official = ffpp.official_clips()
    assert {official[n].source_group for n in ("685", "686", "687")} == {685}


def test_the_official_splits_share_seven_videos():
    shared = ffpp.shared_sources()
    assert Counter(shared.values()) == {("train", "val"): 5, ("train", "test"): 2}
    assert {group for group, where in shared.items() if "test" in where} == {
        ("755", "756"),
        ("954", "955"),
    }
    official = ffpp.official_clips()
    assert official["755"].split == official["955"].split == "test"
    assert official["756"].split == official["954"].split == "train"


@pytest.mark.skipif(not SHARED.is_file(), reason="the list that the facts come from is not here")
def test_the_facts_are_those_of_the_shared_list():
    official = ffpp.official_clips()
    with SHARED.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    group_of = {}
    for row in rows:
        clip = official[row["clip"]]
        assert (clip.split, clip.partner) == (row["split"], row["partner"])
        group_of.setdefault(row["source_group"], set()).add(clip.source_group)
    assert all(len(groups) == 1 for groups in group_of.values())
    assert len(group_of) == 977


def test_whatever_manipulations_are_there_are_listed_with_their_facts(tree):
    root = tree("real/c23: 000 003 001 870", "FaceSwap/c23: 000_003 003_000 001_870 870_001")
    listing = ffpp.find_clips(root)
    assert [(c.manipulation, c.name) for c in listing.clips] == [
        *(("real", name) for name in ("000", "001", "003", "870")),
        *(("FaceSwap", name) for name in ("000_003", "001_870", "003_000", "870_001")),
    ]
    assert listing.clips[4] == clips.Clip(
        manipulation="FaceSwap",
        name="000_003",
        path=root / "manipulated_sequences/FaceSwap/c23/videos/000_003.mp4",
        split="test",
        target="000",
        source="003",
        source_group="youtube-000",
        source_compression="c23",
    )
    assert (listing.clips[1].split, listing.clips[1].source) == ("train", "")
    assert listing.notes == (
        "Deepfakes: no folder at compression c23",
        "Face2Face: no folder at compression c23",
        "NeuralTextures: no folder at compression c23",
    )
    assert clips.leaks(listing.clips) == []


def test_a_whole_folder_has_no_leaks_but_the_seven_shared_videos(tree):
    official = ffpp.official_clips()
    pairs = " ".join(f"{clip.number}_{clip.partner}" for clip in official.values())
    root = tree(
        f"real/raw: {' '.join(official)}", *(f"{m}/raw: {pairs}" for m in ffpp.MANIPULATIONS)
    )
    listing = ffpp.find_clips(root)
    assert listing.notes == ()
    assert Counter((c.manipulation, c.split) for c in listing.clips) == {
        (m, split): count
        for m in ("real", *ffpp.MANIPULATIONS)
        for split, count in (("train", 720), ("val", 140), ("test", 140))
    }
    assert clips.leaks(listing.clips) == []
    shared = clips.shared_source_groups(listing.clips)
    assert len(shared) == 7
    assert "source video youtube-755: 756 in train, 755 in test" in shared
    assert "source video youtube-954: 954 in train, 955 in test" in shared


def test_the_least_compressed_originals_are_taken_and_only_manipulations_alike(tree):
    root = tree(
        "real/c40: 000", "real/c23: 000 003", "Deepfakes/c40: 000_003", "Face2Face/c23: 000_003"
    )
    listing = ffpp.find_clips(root)
    assert {c.source_compression for c in listing.clips} == {"c23"}
    assert {c.manipulation for c in listing.clips} == {"real", "Face2Face"}
    assert "Deepfakes: no folder at compression c23" in listing.notes
    at_c40 = ffpp.find_clips(root, "c40")
    assert [(c.manipulation, c.name) for c in at_c40.clips] == [
        ("real", "000"),
        ("Deepfakes", "000_003"),
    ]


def test_what_is_not_in_the_official_list_is_told_and_left_out(tree):
    root = tree(
        "real/c23: 000 003 1000 12 abc 004_982 notes.txt",
        # A pair that is none, a clip with itself, and one clip where a pair belongs.
        "Deepfakes/c23: 000_003 003_000 000_001 000_000 000",
    )
    listing = ffpp.find_clips(root)
    assert [c.name for c in listing.clips] == ["000", "003", "000_003", "003_000"]
    assert [note for note in listing.notes if "official" in note] == [
        "real/004_982.mp4: not a clip of the official list",
        "real/1000.mp4: not a clip of the official list",
        "real/12.mp4: not a clip of the official list",
        "real/abc.mp4: not a clip of the official list",
        "Deepfakes/000.mp4: not a clip of the official list",
        "Deepfakes/000_000.mp4: not a clip of the official list",
        "Deepfakes/000_001.mp4: not a clip of the official list",
    ]


def test_missing_halves_and_originals_are_told(tree):
    root = tree("real/c23: 000 003 001 870", "Deepfakes/c23: 000_003 003_000 001_870 002_006")
    notes = [n for n in ffpp.find_clips(root).notes if "no folder" not in n]
    assert notes == [
        "Deepfakes: 001 is there, its pair's other half 870 is not",
        "Deepfakes: 002 is there, its pair's other half 006 is not",
        "Deepfakes: the original 002 of this clip is missing",
        "Deepfakes: no clip of target 870",
    ]


def test_a_folder_of_another_shape_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError) as raised:
        ffpp.find_clips(tmp_path)
    assert str(raised.value) == (
        "--root: expected a FaceForensics++ folder with original_sequences/youtube/, "
        f"got {tmp_path}"
    )


def test_a_folder_without_videos_is_the_users_mistake(tree):
    with pytest.raises(UsageError, match=r"^--root: no videos in .*/<raw\|c23\|c40>/videos/\*.mp4"):
        ffpp.find_clips(tree("real/c23:", "Deepfakes/c23: 000_003"))


def test_an_unknown_compression_is_refused_with_those_there_are(tree):
    with pytest.raises(UsageError) as raised:
        ffpp.find_clips(tree("real/c23: 000"), "c50")
    assert str(raised.value) == "--source-compression: expected one of raw, c23, c40, got 'c50'"


def test_a_compression_without_any_clip_is_bad_data(tree):
    with pytest.raises(DataError, match=r"no clip of the official list at compression raw$"):
        ffpp.find_clips(tree("real/c23: 000"), "raw")
