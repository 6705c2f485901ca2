"""FaceForensics++ folders and official splits -> clips.

Folder shape and pairing: Roessler et al., FaceForensics++ (ICCV 2019) and its download
script. A user often holds one H.264 compression and some manipulations only; whatever is
there is taken, and what is missing is told.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tfforensics import ffpp_split
from tfforensics.clips import REAL, SPLITS, Clip, Listing
from tfforensics.command import DataError, UsageError

MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
COMPRESSIONS = ("raw", "c23", "c40")  # H.264, in the order in which they are preferred


@dataclass(frozen=True)
class OfficialClip:
    """One original of FaceForensics++.

    Attributes:
        number: three digits, "000" to "999".
        split: "train", "val" or "test".
        partner: the other clip of the pair, always in the same split.
        source_group: equal for clips cut from the same YouTube video (977 groups).
    """

    number: str
    split: str
    partner: str
    source_group: int


@cache
def official_clips() -> dict[str, OfficialClip]:
    """The 1,000 originals by number: 720 train, 140 val, 140 test."""
    group_of = {f"{number:03d}": number for number in range(1000)}
    for group in ffpp_split.SHARED_VIDEOS.split():
        numbers = group.split("+")
        group_of.update(dict.fromkeys(numbers, int(numbers[0])))
    clips = {}
    for split, pairs in (
        ("train", ffpp_split.TRAIN_PAIRS),
        ("val", ffpp_split.VAL_PAIRS),
        ("test", ffpp_split.TEST_PAIRS),
    ):
        for pair in pairs.split():
            first, second = pair.split("-")
            for number, partner in ((first, second), (second, first)):
                clips[number] = OfficialClip(number, split, partner, group_of[number])
    return dict(sorted(clips.items()))


def shared_sources() -> dict[tuple[str, ...], tuple[str, ...]]:
    """The official split's own overlaps.

    Returns:
        {clips cut from one YouTube video: the splits they lie in}, for videos that lie in more
        than one split.
    """
    groups: dict[int, list[OfficialClip]] = defaultdict(list)
    for clip in official_clips().values():
        groups[clip.source_group].append(clip)
    return {
        tuple(clip.number for clip in group): splits
        for group in groups.values()
        if len(splits := tuple(s for s in SPLITS if any(clip.split == s for clip in group))) > 1
    }


def find_clips(root: Path, compression: str | None = None) -> Listing:
    """Lists the clips of a FaceForensics++ folder.

    Args:
        root: the folder that holds `original_sequences/` and `manipulated_sequences/`.
        compression: H.264 level, one of COMPRESSIONS; None takes the first of them that the
            originals have, since real and manipulated media of different compressions would
            give the label away.

    Returns:
        Clips by manipulation and number, and notes: files that are not clips of the official
        list, halves of pairs and manipulations that are missing.

    Raises:
        UsageError: `root` has no such folders, or no clips at that compression.
    """
    originals = root / "original_sequences" / "youtube"
    if not originals.is_dir():
        raise UsageError(
            f"--root: expected a FaceForensics++ folder with original_sequences/youtube/, "
            f"got {root}"
        )
    if compression is None:
        held = [c for c in COMPRESSIONS if any((originals / c / "videos").glob("*.mp4"))]
        if not held:
            raise UsageError(
                f"--root: no videos in {originals}/<{'|'.join(COMPRESSIONS)}>/videos/*.mp4"
            )
        compression = held[0]
    elif compression not in COMPRESSIONS:
        raise UsageError(
            f"--source-compression: expected one of {', '.join(COMPRESSIONS)}, got {compression!r}"
        )

    clips: list[Clip] = []
    notes: list[str] = []
    folders = {REAL: originals / compression / "videos"}
    for manipulation in MANIPULATIONS:
        folder = root / "manipulated_sequences" / manipulation / compression / "videos"
        if folder.is_dir():
            folders[manipulation] = folder
        else:
            notes.append(f"{manipulation}: no folder at compression {compression}")
    for manipulation, folder in folders.items():
        for path in sorted(folder.glob("*.mp4")):
            clip = _clip(path, manipulation, compression)
            if clip is None:
                notes.append(f"{manipulation}/{path.name}: not a clip of the official list")
            else:
                clips.append(clip)
    if not clips:
        raise DataError(f"{root}: no clip of the official list at compression {compression}")
    return Listing(tuple(clips), tuple(notes + _missing(clips)), _notice(root))


def _notice(root: Path) -> str:
    """What a folder of imitations says of itself."""
    marker = root / "demo.json"
    return json.loads(marker.read_text())["notice"] if marker.is_file() else ""


def _clip(path: Path, manipulation: str, compression: str) -> Clip | None:
    match = re.fullmatch(r"(\d{3})" if manipulation == REAL else r"(\d{3})_(\d{3})", path.stem)
    if match is None:
        return None
    target = official_clips()[match[1]]
    if manipulation != REAL and match[2] != target.partner:
        return None
    return Clip(
        path=path,
        name=path.stem,
        manipulation=manipulation,
        split=target.split,
        target=target.number,
        source="" if manipulation == REAL else target.partner,
        source_group=f"youtube-{target.source_group:03d}",
        source_compression=compression,
    )


def _missing(clips: list[Clip]) -> list[str]:
    """Halves of pairs that are not there, and manipulated clips without their original."""
    held = {(clip.manipulation, clip.target) for clip in clips}
    manipulations = {clip.manipulation for clip in clips}
    partner = {number: clip.partner for number, clip in official_clips().items()}
    notes = [
        f"{manipulation}: {target} is there, its pair's other half {partner[target]} is not"
        for manipulation, target in sorted(held)
        if (manipulation, partner[target]) not in held
    ]
    notes += [
        f"{manipulation}: the original {target} of this clip is missing"
        for manipulation, target in sorted(held)
        if manipulation != REAL and (REAL, target) not in held
    ]
    notes += [
        f"{manipulation}: no clip of target {target}"
        for target in sorted(t for m, t in held if m == REAL)
        for manipulation in sorted(manipulations - {REAL})
        if (manipulation, target) not in held
    ]
    return notes
