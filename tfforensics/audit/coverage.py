"""Which classes each split has, and what is missing of them."""

from __future__ import annotations

from collections import Counter

from tfforensics.audit import Check
from tfforensics.clips import REAL, SPLITS
from tfforensics.manifest import Manifest

MOST_MISSING = 0.2  # of the frames that were asked of a manipulation in a split


def check(held: Manifest) -> list[Check]:
    """Looks at the manifest's clips."""
    counts: dict[str, dict[str, int]] = {}
    one_class, missing = [], []
    for split in SPLITS:
        here = [clip for clip in held.clips if clip.split == split]
        faces: Counter[str] = Counter()
        for clip in here:
            faces[clip.manipulation] += clip.found
        counts[split] = dict(sorted(faces.items()))
        real = faces.pop(REAL, 0)
        if not real or not sum(faces.values()):
            lacking = "real" if not real else "manipulated"
            one_class.append(f"{split}: no {lacking} face")
        for manipulation in sorted({clip.manipulation for clip in here}):
            of_it = [clip for clip in here if clip.manipulation == manipulation]
            asked, found = sum(c.asked for c in of_it), sum(c.found for c in of_it)
            without = sum(not c.found for c in of_it)
            if asked and found < (1 - MOST_MISSING) * asked:
                missing.append(
                    f"{manipulation} in {split}: {asked - found:,} of {asked:,} frames missing, "
                    f"{without} of {len(of_it)} clips without a face"
                )
    asked, found = (sum(getattr(clip, n) for clip in held.clips) for n in ("asked", "found"))
    empty = sum(not clip.found for clip in held.clips)
    return [
        Check(
            "classes",
            "failed" if one_class else "passed",
            "; ".join(
                f"{split}: {by.get(REAL, 0):,} real, {sum(by.values()) - by.get(REAL, 0):,} "
                "manipulated"
                for split, by in counts.items()
            ),
            tuple(one_class),
            counts,
        ),
        Check(
            "coverage",
            "failed" if missing else "passed",
            f"{max(0, asked - found):,} of {asked:,} frames and {empty} of "
            f"{len(held.clips):,} clips missing",
            tuple(missing),
        ),
    ]
