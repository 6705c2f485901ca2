"""Is a record folder fit to train and to judge on?

Each check is a file: leakage.py (identities, pairs, source videos), duplicates.py (images that
lie in two splits), coverage.py (classes and what is missing), giveaway.py (whether compression
or the size of the face box tells the label). They ask what was read.py of the records once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["passed", "failed", "noted"]


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: of the check.
        status: "noted" is for what a reader should know and nobody can mend.
        summary: one line.
        findings: one line each.
        figures: what was measured, as JSON values.
    """

    name: str
    status: Status
    summary: str
    findings: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)


def audit(folder: Path, *, frames: int = 4) -> list[Check]:
    """Runs every check on a record folder; shows progress.

    Args:
        folder: written by `tfforensics.records`.
        frames: evenly spaced faces of each clip that are looked at.

    Raises:
        UsageError: no records there.
        DataError: damaged records, or none with a face.
    """
    from tfforensics import manifest
    from tfforensics.audit import coverage, duplicates, giveaway, leakage, read

    held = manifest.load(folder)
    seen = read.faces(folder, held, frames)
    return [
        *leakage.check(held, seen),
        duplicates.check(seen),
        *coverage.check(held),
        *giveaway.check(held, seen),
    ]
