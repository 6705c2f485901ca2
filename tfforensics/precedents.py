"""The published figures that an evaluation may stand beside: those of the same setting."""

from __future__ import annotations

from dataclasses import dataclass

from tfforensics import published
from tfforensics.clips import REAL
from tfforensics.ffpp import MANIPULATIONS, official_clips
from tfforensics.manifest import Manifest
from tfforensics.metrics import AVERAGES
from tfforensics.published import Published


@dataclass(frozen=True)
class Precedent:
    """A published figure and the cell of our table in the same setting.

    Attributes:
        column: level or average of our table.
        figure: what was published; frame AUC.
    """

    column: str
    figure: Published


def find(held: Manifest, trained_on: Manifest | None, split: str) -> list[Precedent]:
    """The precedents of an evaluation; none where its faces are not those of FaceForensics++.

    A figure is taken only where the whole official test split of its manipulations was
    judged. Those at an H.264 level stand beside our c0, and only for a detector that was
    trained, as theirs were, on H.264 c23.

    Args:
        held: the records that were judged.
        trained_on: the records that the detector was trained on; None where unknown.
        split: the split that was judged.
    """
    if held.notice or split != "test":
        return []
    whole = {name for name in (REAL, *MANIPULATIONS) if _is_whole(held, name)}
    if REAL not in whole:
        return []
    columns = [("JPEG", title, title) for title in AVERAGES]
    judged = _compressions(held, "test")
    if trained_on and _compressions(trained_on, "train") == {"c23"} and len(judged) == 1:
        columns.append(("H.264", judged.pop(), "c0"))
    return [
        Precedent(column, figure)
        for codec, level, column in columns
        for name in (*MANIPULATIONS, published.ALL)
        for figure in published.beside(codec, level, name)
        if (whole > set(MANIPULATIONS) if name == published.ALL else name in whole)
    ]


def _is_whole(held: Manifest, manipulation: str) -> bool:
    """Whether every clip of the official test split gave faces of a manipulation, or of REAL."""
    found = {
        clip.target
        for clip in held.clips
        if clip.manipulation == manipulation and clip.split == "test" and clip.found
    }
    return found == {clip.number for clip in official_clips().values() if clip.split == "test"}


def _compressions(held: Manifest, split: str) -> set[str]:
    return {clip.source_compression for clip in held.clips if clip.split == split}
