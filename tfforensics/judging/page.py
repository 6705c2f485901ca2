"""Judgements -> one HTML file that asks for no other."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from tfforensics.judging import tables
from tfforensics.judging.inputs import shown
from tfforensics.judging.verdict import Judgement, Person
from tfforensics.report import render
from tfforensics.serving.card import ModelCard

# The timeline's frame in the template, in pixels.
_LEFT, _WIDTH, _TOP, _HEIGHT = 40, 670, 10, 110


def report(found: Sequence[Judgement], card: ModelCard) -> str:
    """The page; pictures are shown where `judge.Settings.pictures` asked for them."""
    return render(
        "judgements.html",
        files=found,
        card=card,
        shown=shown,
        jpeg=_uri,
        probability=tables.probability,
        quality=tables.quality,
        flips=tables.flips,
        y=_y,
        line=_line,
        span=_span,
    )


def _uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _y(probability: float) -> float:
    return round(_TOP + _HEIGHT * (1 - min(max(probability, 0.0), 1.0)), 2)


def _line(person: Person) -> str:
    first, last = int(person.frames[0]), int(person.frames[-1])
    pairs = zip(person.frames.tolist(), person.probabilities.tolist(), strict=True)
    return " ".join(
        f"{_LEFT + _WIDTH * (frame - first) / max(1, last - first):.1f},{_y(value)}"
        for frame, value in pairs
    )


def _span(person: Person) -> tuple[str, str]:
    """The first and the last time, or frame where times are not known."""
    if person.seconds.any():
        return f"{person.seconds[0]:.1f} s", f"{person.seconds[-1]:.1f} s"
    return f"frame {person.frames[0]}", f"frame {person.frames[-1]}"
