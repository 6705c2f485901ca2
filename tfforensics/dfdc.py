"""DFDC folders -> clips.

Dolhansky et al., The DeepFake Detection Challenge Dataset (2020), as it is downloaded:

dfdc_train_part_0/metadata.json   {"aa.mp4": {"label": "FAKE", "original": "bb.mp4", ...}, ...}
dfdc_train_part_0/aa.mp4
test/metadata.json                {"cc.mp4": {"is_fake": 1, ...}, ...}; or test/labels.csv
test/cc.mp4                       filename,label; 1 = fake

Who is seen is not published. The videos of one part are of a few people, so a part is kept in one
split; a fake has the name of its original as its target.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfforensics.clips import REAL, Clip, Listing, refuse_same_names, split_of
from tfforensics.command import DataError, UsageError

FAKE = "DFDC"
_METADATA, _LABELS = "metadata.json", "labels.csv"


def find_dfdc(root: Path, by: str = "identity", *, official_test: bool = False) -> Listing:
    """Lists the clips of DFDC, whatever parts of it are there.

    Args:
        by: "identity" keeps a part in one split; "clip" only an original and its fakes, for when
            there are few parts: people are then in several splits, and nothing can tell.
        official_test: the folders of the official test are the test split, and all others train
            or validate; otherwise they are parts like any other.

    Raises:
        UsageError: there is no part below `root`; or no official test.
        DataError: a list of a part is damaged, a video is there twice, or none is.
    """
    parts = sorted({p.parent for name in (_METADATA, _LABELS) for p in root.rglob(name)})
    if not parts:
        raise UsageError(
            f"--root: expected folders of DFDC, each with {_METADATA} or {_LABELS}, got {root}"
        )
    clips: list[Clip] = []
    notes: list[str] = []
    tests = 0
    for part in parts:
        is_test, listed = _read(part)
        tests += is_test
        absent = 0
        for name, fake, original in listed:
            path = part / name
            if not path.is_file():
                absent += 1
                continue
            target = Path(original or name).stem
            group = part.name if by == "identity" else target
            split = split_of(group)
            if official_test:
                split = "test" if is_test else "val" if split == "test" else split
            clips.append(Clip(FAKE if fake else REAL, path.stem, path, split, target))
        if absent:
            notes.append(
                f"{part.relative_to(root)}: {absent} of {len(listed)} videos are not there"
            )
    if official_test and not tests:
        raise UsageError(
            f"--official-test: expected a folder of the official test in {root}, whose {_METADATA} "
            f"says is_fake, or which has {_LABELS}"
        )
    if not clips:
        raise DataError(f"{root}: none of the listed videos is there")
    refuse_same_names(clips)
    return Listing(tuple(sorted(clips)), tuple(notes))


def _read(part: Path) -> tuple[bool, list[tuple[str, bool, str]]]:
    """Whether a part is of the official test, and its videos: name, fake, original."""
    labels = part / _LABELS
    path = labels if labels.is_file() else part / _METADATA
    try:
        if path == labels:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [
                    (row["filename"], {"is_fake": int(row["label"])})
                    for row in csv.DictReader(file)
                ]
        else:
            rows = list(json.loads(path.read_text(encoding="utf-8")).items())
        listed = list(_entries(rows))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a list of DFDC: {error!r}") from error
    return any("is_fake" in entry for _, entry in rows), listed


def _entries(rows: list[tuple[str, Any]]) -> Iterator[tuple[str, bool, str]]:
    for name, entry in rows:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not a file's name")
        fake = {"FAKE": 1, "REAL": 0}[entry["label"]] if "label" in entry else entry["is_fake"]
        yield name, {0: False, 1: True}[fake], entry.get("original") or ""
