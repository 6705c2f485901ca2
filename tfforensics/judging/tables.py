"""Judgements -> a table for a terminal, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tfforensics import __version__
from tfforensics.judging.inputs import shown
from tfforensics.judging.verdict import Judgement, Person
from tfforensics.serving.card import ModelCard
from tfforensics.tables import DASH

SCHEMA = 1
COLUMNS = (
    "file", "kind", "verdict", "probability", "low", "high", "jpeg_quality", "people", "faces",
    "frames", "flips_at", "reason",
)  # fmt: skip
_HEAD = ("file", "verdict", "P(manipulated)", "JPEG", "people", "faces", "frames", "flips at")


def terminal(found: Sequence[Judgement]) -> str:
    """One line a file, and one below it for each person where there are several."""
    rows = [_HEAD]
    for one in found:
        of_file = one.deciding
        rows.append(
            (
                shown(one.path),
                one.call + (f": {one.reason}" if one.reason else ""),
                probability(of_file),
                quality(one),
                str(len(one.people)) if one.frames else DASH,
                str(one.faces) if one.frames else DASH,
                str(one.frames) if one.frames else DASH,
                flips(one),
            )
        )
        if len(one.people) > 1:
            for p in one.people:
                row = (f"  person {p.number + 1}", p.call, probability(p), "", "")
                rows.append((*row, str(len(p.frames)), "", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def probability(person: Person | None) -> str:
    if person is None:
        return DASH
    if person.interval is None:
        return f"{person.probability:.3f}"
    low, high = person.interval
    return f"{person.probability:.3f} [{low:.3f}, {high:.3f}]"


def quality(one: Judgement) -> str:
    if one.quality is not None:
        return str(one.quality)
    return "no trace" if one.frames else DASH


def flips(one: Judgement) -> str:
    """Where the call is another one: "Q40", or "stable" down to the lowest quality tried."""
    if not one.stages:
        return DASH
    return "stable" if one.flips_at is None else f"Q{one.flips_at}"


def to_json(found: Sequence[Judgement], card: ModelCard, runtime: str) -> str:
    """All that is known, for programs; numbers are not rounded. `runtime` ran the model."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "tfforensics": __version__,
            "model": card.name,
            "runtime": runtime,
            "label": card.label,
            "calibrated": card.calibration is not None,
            "limits": card.limits,
            "files": [_plain(one) for one in found],
        },
        indent=1,
    )


def to_csv(found: Sequence[Judgement]) -> str:
    """A row a file; what is not known is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        p = one.deciding
        low, high = (p.interval if p and p.interval else None) or ("", "")
        values = (
            shown(one.path), one.kind, one.call, p.probability if p else "", low, high,
            one.quality, len(one.people), one.faces, one.frames, one.flips_at, one.reason,
        )  # fmt: skip
        writer.writerow(["" if value is None else _cell(value) for value in values])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A spreadsheet takes a text that begins with one of these for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value


def _plain(one: Judgement) -> dict[str, Any]:
    return {
        "file": shown(one.path),
        "kind": one.kind,
        "verdict": one.call,
        "reason": one.reason,
        "probability": one.deciding.probability if one.deciding else None,
        "interval": one.deciding.interval if one.deciding else None,
        "jpeg_quality": one.quality,
        "frames": one.frames,
        "faces": one.faces,
        "thresholds": {
            "not_manipulated_below": one.thresholds.real_below,
            "manipulated_from": one.thresholds.manipulated_from,
        },
        "people": [
            {
                "person": p.number + 1,
                "verdict": p.call,
                "reason": p.reason,
                "probability": p.probability,
                "interval": p.interval,
                "face_pixels": p.side,
                "frames": p.frames.tolist(),
                "seconds": p.seconds.tolist(),
                "probabilities": p.probabilities.tolist(),
            }
            for p in one.people
        ],
        "stability": [
            {"jpeg_quality": s.quality, "probability": s.probability, "verdict": s.call}
            for s in one.stages
        ],
        "flips_at": one.flips_at,
    }
