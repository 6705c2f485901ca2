"""Celeb-DF folders (v1 and v2) -> clips.

Folder shape and names: Li et al., Celeb-DF: A Large-scale Challenging Dataset for DeepFake
Forensics (CVPR 2020), and its download.

Celeb-real/id0_0000.mp4             of person id0
Celeb-synthesis/id0_id1_0000.mp4    the same video with the face of id1
YouTube-real/00000.mp4              of people who are in no other video
List_of_testing_videos.txt          "1 YouTube-real/00170.mp4": 1 real, 0 synthesised

The people of the official test list are in most other videos, too. With that list a clip trains or
validates only if nobody of the test is in it; what is left out for that is told.
"""

from __future__ import annotations

import re
from pathlib import Path

from tfforensics.clips import REAL, Clip, Listing, with_splits
from tfforensics.command import DataError, UsageError

SYNTHESISED = "Celeb-synthesis"
TEST_LIST = "List_of_testing_videos.txt"
_NAMES = {
    "Celeb-real": r"(id\d+)_\d+",
    "YouTube-real": r"(\d+)",
    SYNTHESISED: r"(id\d+)_(id\d+)_\d+",
}


def find_celebdf(root: Path, by: str = "identity", *, official_test: bool = False) -> Listing:
    """Lists the clips of a Celeb-DF folder.

    Args:
        by: see `clips.with_splits`; by identity nearly everybody of the whole set is together.
        official_test: the test split is the official list.

    Raises:
        UsageError: `root` has no such folders, or no such list.
        DataError: no clip there, or the list is not one.
    """
    folders = [name for name in _NAMES if (root / name).is_dir()]
    if SYNTHESISED not in folders or len(folders) < 2:
        raise UsageError(f"--root: expected a Celeb-DF folder with {', '.join(_NAMES)}, got {root}")
    found: list[tuple[str, Path, str, str]] = []
    notes = [f"{name}: no such folder" for name in _NAMES if name not in folders]
    for folder in folders:
        for path in sorted((root / folder).glob("*.mp4")):
            match = re.fullmatch(_NAMES[folder], path.stem)
            if match is None:
                notes.append(f"{folder}/{path.name}: not a name of Celeb-DF's")
                continue
            people = match.groups() if match[1].startswith("id") else (f"youtube{match[1]}",)
            found.append((folder, path, people[0], "".join(people[1:])))
    if not found:
        raise DataError(f"{root}: no clip in {', '.join(folders)}")
    listed: list[str] = []
    if official_test:
        listed = _test_list(root / TEST_LIST)
        absent = [name for name in listed if not (root / name).is_file()]
        notes += [f"{name}: of the official test list, not there" for name in absent]
    clips, left_out = with_splits(
        (
            Clip(SYNTHESISED if f == SYNTHESISED else REAL, p.stem, p, split="", target=t, source=s)
            for f, p, t, s in found
        ),
        by,
        {root / name for name in listed},
    )
    return Listing(tuple(sorted(clips)), tuple(notes + left_out))


def _test_list(path: Path) -> list[str]:
    """Files by their paths below the root."""
    if not path.is_file():
        raise UsageError(f"--official-test: expected the list {path.name} in {path.parent}")
    listed = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"([01])\s+((?:{})/\w+\.mp4)\s*".format("|".join(_NAMES)), line)
        if match is None or (match[1] == "0") != match[2].startswith(f"{SYNTHESISED}/"):
            raise DataError(
                f"{path}: line {number}: expected 1 and a real video or 0 and a synthesised one, "
                f"got {line!r}"
            )
        listed.append(match[2])
    return listed
