"""Who lies in two splits: identities, pairs, source videos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics import ffpp
from tfforensics.audit import Check
from tfforensics.clips import REAL, Clip, leaks, shared_source_groups
from tfforensics.manifest import Manifest

if TYPE_CHECKING:
    from tfforensics.audit.read import Seen


def check(held: Manifest, seen: Sequence[Seen]) -> list[Check]:
    """Looks at what the manifest and the faces themselves say of their clips."""
    clips = sorted(_clips(held, seen))
    return [_identities(clips), _pairs(clips), *_source_videos(clips)]


def _clips(held: Manifest, seen: Sequence[Seen]) -> set[Clip]:
    """The clips of the faces, and those of the manifest; equal where the two agree."""
    group = {(clip.manipulation, clip.name): clip.source_group for clip in held.clips}
    nowhere = Path()
    stated = {
        Clip(c.manipulation, c.name, nowhere, c.split, c.target, c.source, c.source_group)
        for c in held.clips
    }
    stored = {
        Clip(
            s.manipulation, s.clip, nowhere, s.split, s.target, s.source,
            group.get((s.manipulation, s.clip), ""),
        )
        for s in seen
    }  # fmt: skip
    return stated | stored


def _identities(clips: Sequence[Clip]) -> Check:
    found = leaks(clips)
    people = {name for clip in clips for name in (clip.target, clip.source) if name}
    return Check(
        "identities",
        "failed" if found else "passed",
        f"{len(found)} of {len(people):,} identities and their clips lie in more than one split",
        tuple(found),
    )


def _pairs(clips: Sequence[Clip]) -> Check:
    """A clip's name, its target and source, and FaceForensics++'s official list must agree."""
    found, pairs = [], 0
    for clip in clips:
        if clip.source_group.startswith("youtube-"):
            official = ffpp.official_clips().get(clip.target)
            if official is None:
                found.append(f"{_name(clip)}: {clip.target} is not in the official list")
                continue
            if clip.split != official.split:
                found.append(f"{_name(clip)}: in {clip.split}, officially in {official.split}")
            if clip.source and clip.source != official.partner:
                found.append(f"{_name(clip)}: source {clip.source}, officially {official.partner}")
        named = re.fullmatch(r"([^_]+)_([^_]+)", clip.name)
        if clip.manipulation != REAL and clip.source and named:
            pairs += 1
            if (clip.target, clip.source) != named.groups():
                found.append(
                    f"{_name(clip)}: target {clip.target} and source {clip.source}, "
                    f"by its name {named[1]} and {named[2]}"
                )
    return Check(
        "pairs",
        "failed" if found else "passed",
        f"{len(found)} contradictions in {pairs:,} clips made of a target and a source",
        tuple(found),
    )


def _source_videos(clips: Sequence[Clip]) -> list[Check]:
    known = {"+".join(sorted(numbers)) for numbers in ffpp.shared_sources()}
    members: dict[str, set[str]] = {}
    for clip in clips:
        members.setdefault(clip.source_group, set()).add(clip.target)
    official: list[str] = []
    found: list[str] = []
    for line in shared_source_groups(clips):
        group = line.removeprefix("source video ").partition(":")[0]
        within = any(members[group] <= set(numbers.split("+")) for numbers in known)
        (official if group.startswith("youtube-") and within else found).append(line)
    checks = [
        Check(
            "source videos",
            "failed" if found else "passed",
            f"{len(found)} source videos lie in more than one split, beside official overlaps",
            tuple(found),
        )
    ]
    if official:
        checks.append(
            Check(
                "official overlaps",
                "noted",
                f"{len(official)} source videos are shared by splits of the official list itself",
                tuple(official),
            )
        )
    return checks


def _name(clip: Clip) -> str:
    return f"{clip.manipulation}/{clip.name}"
