"""What a clip is, and the layout that anybody's media can be put in, `folders`.

Other layouts: ffpp.py, celebdf.py, dfdc.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tfforensics.command import DataError, UsageError

REAL = "real"
SPLITS = ("train", "val", "test")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, order=True)
class Clip:
    """One video or image and what is known of it.

    Attributes:
        manipulation: REAL or the manipulation's name.
        name: unique within its manipulation, e.g. "000_003".
        path: the media file.
        split: "train", "val" or "test".
        target: identity whose scene is shown.
        source: identity whose face or expression was put in; empty for real clips.
        source_group: equal for clips cut from the same original video.
        source_compression: the media's own compression as its dataset names it (FaceForensics++:
            the H.264 level raw, c23 or c40, which is not a JPEG level); empty where unknown.
    """

    manipulation: str
    name: str
    path: Path
    split: str
    target: str
    source: str = ""
    source_group: str = ""
    source_compression: str = ""


@dataclass(frozen=True)
class Listing:
    """The clips of a dataset and what a reader should be told about it.

    Attributes:
        notes: one line each.
        notice: what has to be said wherever figures of these clips are shown, such as that
            they are imitations; empty where there is nothing to say.
    """

    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    notice: str = ""


def find_folders(root: Path, by: str = "identity") -> Listing:
    """Lists anybody's `real/` and `<manipulation>/` folders of images or videos.

    A file's target identity is the first folder below `real/` or `<manipulation>/` where it
    lies in one, otherwise its name up to the first underscore ("003_frame12.jpg" and "003.mp4"
    are one identity). The rest of a manipulated file's name is its source where that is an
    identity too, as in "000_003". The split is a stable hash, so it is the same on every
    machine: about 72% train, 14% val, 14% test.

    Args:
        by: see `with_splits`.

    Raises:
        UsageError: `root` is not a folder, or there is no `real/` or no other folder in it.
        DataError: the folders hold no image or video.
    """
    if not root.is_dir():
        raise UsageError(f"--root: expected a folder, got {root}")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    names = [folder.name for folder in folders]
    if REAL not in names or len(names) < 2:
        raise UsageError(
            f"--root: expected {REAL}/ and at least one folder named for its manipulation in "
            f"{root}, got {', '.join(names) or 'no folder'}"
        )
    files: list[tuple[str, Path, str, str]] = []
    notes = []
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if not _is_utf8(name := str(path.relative_to(root))):
                notes.append(f"{name!a}: a name that is not UTF-8")
                continue
            if path.suffix.lower() not in VIDEO_SUFFIXES + IMAGE_SUFFIXES:
                notes.append(f"{path.relative_to(root)}: neither an image nor a video by its name")
                continue
            below = path.relative_to(folder)
            target, _, source = path.stem.partition("_")
            if len(below.parts) > 1:
                target, source = below.parts[0], ""
            elif folder.name == REAL:
                source = ""
            files.append((folder.name, path, target, source))
    if not files:
        raise DataError(f"{root}: no image or video in {', '.join(names)}")
    identities = {target for _, _, target, _ in files}
    # "000_003" is a target and a source where 003 is an identity too, else a numbered frame.
    files = [(m, p, t, s if s in identities else "") for m, p, t, s in files]
    clips, _ = with_splits(
        (
            Clip(m, _name(p.relative_to(root / m)), p, split="", target=t, source=s)
            for m, p, t, s in files
        ),
        by,
    )
    refuse_same_names(clips)
    return Listing(tuple(sorted(clips)), tuple(notes))


def _name(path: Path) -> str:
    return path.with_suffix("").as_posix().replace("/", "-")


def split_of(identity: str) -> str:
    """The split of an identity: a stable hash, 72% train, 14% val, 14% test on average."""
    share = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.72 else "val" if share < 0.86 else "test"


def with_splits(
    clips: Iterable[Clip], by: str, test: Collection[Path] = ()
) -> tuple[list[Clip], list[str]]:
    """Gives clips their splits: a stable hash of their people, so the same on every machine.

    Args:
        by: "identity" keeps a target and its source in one split, and with them everybody they
            are mixed with; "clip" keeps only the media of one target together, for datasets
            that mix everybody with everybody.
        test: media of an official test list. They are then the test split; others train or
            validate only if nobody of the test is in them.

    Returns:
        The clips that are left, and what was left out; one line each.
    """
    clips = list(clips)
    tested = {who for clip in clips if clip.path in test for who in (clip.target, clip.source)}
    tested -= {""}
    others = [
        clip for clip in clips if clip.path not in test and not {clip.target, clip.source} & tested
    ]
    group_of = _connected((c.target, c.source) for c in others if c.source and by == "identity")
    found = [replace(clip, split="test") for clip in clips if clip.path in test]
    for clip in others:
        split = split_of(group_of.get(clip.target, clip.target))
        found.append(replace(clip, split="val" if test and split == "test" else split))
    if by == "clip":
        # Where targets alone are kept apart, sources say nothing of the split.
        found = [replace(clip, source="") for clip in found]
    left_out = Counter(clip.manipulation for clip in clips) - Counter(c.manipulation for c in found)
    return found, [
        f"{name}: {count} clips left out, since somebody of the test is in them"
        for name, count in sorted(left_out.items())
    ]


def leaks(clips: Iterable[Clip]) -> list[str]:
    """Identities and clips that lie in more than one split; one line each, empty when sound."""
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for clip in clips:
        splits["clip", clip.name].add(clip.split)
        for identity in (clip.target, clip.source):
            if identity:
                splits["identity", identity].add(clip.split)
    return [
        f"{kind} {name} is in {' and '.join(s for s in SPLITS if s in where)}"
        for (kind, name), where in sorted(splits.items())
        if len(where) > 1
    ]


def shared_source_groups(clips: Iterable[Clip]) -> list[str]:
    """Original videos whose clips lie in more than one split; one line each."""
    members: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for clip in clips:
        if clip.source_group:
            members[clip.source_group][clip.split].add(clip.target)
    return [
        f"source video {group}: "
        + ", ".join(f"{'+'.join(sorted(by[s]))} in {s}" for s in SPLITS if s in by)
        for group, by in sorted(members.items())
        if len(by) > 1
    ]


def _is_utf8(name: str) -> bool:
    """Whether a file's name can be written down: Linux takes any bytes for one."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _connected(edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The smallest name of each connected set of names."""
    group: dict[str, str] = {}

    def find(name: str) -> str:
        while group.setdefault(name, name) != name:
            name = group[name]
        return name

    for first, second in edges:
        low, high = sorted((find(first), find(second)))
        group[high] = low
    return {name: find(name) for name in list(group)}


def refuse_same_names(clips: Iterable[Clip]) -> None:
    """Raises DataError where two files of a manipulation give one name."""
    seen: dict[tuple[str, str], Path] = {}
    for clip in clips:
        other = seen.setdefault((clip.manipulation, clip.name), clip.path)
        if other != clip.path:
            raise DataError(f"{clip.path}: gives the same clip name as {other}: {clip.name}")
