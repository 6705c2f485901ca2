"""The same faces at lower qualities, and where the call flips."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfforensics import jpeg
from tfforensics.calibration import Calibration
from tfforensics.judging import verdict
from tfforensics.judging.subject import Subject
from tfforensics.judging.verdict import Judgement, Stage
from tfforensics.media import Pixels

QUALITIES = (90, 77, 60, 40, 23, 15, 10)
_FACES = 16


def lower(judgement: Judgement) -> tuple[int, ...]:
    """The qualities below the file's own; none where nobody was called."""
    if judgement.deciding is None or judgement.deciding.reason:
        return ()
    return tuple(q for q in QUALITIES if q < (judgement.quality or 100))


def chosen(subject: Subject, judgement: Judgement) -> list[int]:
    """Which crops are re-encoded: at most 16 of the deciding person's, evenly spaced."""
    if judgement.deciding is None:
        return []
    own = [i for i, c in enumerate(subject.crops) if c.track == judgement.deciding.number]
    even = np.linspace(0, len(own) - 1, min(_FACES, len(own))).round().astype(int)
    return [own[i] for i in even]


def re_encoded(subject: Subject, judgement: Judgement) -> Pixels:
    """The chosen faces at each lower quality in turn, uint8 (N, S, S, 3)."""
    faces = [subject.crops[i].pixels for i in chosen(subject, judgement)]
    made = [jpeg.decode(jpeg.encode(f, q)) for q in lower(judgement) for f in faces]
    return np.array(made, np.uint8)


def with_stages(
    subject: Subject, judgement: Judgement, calibration: Calibration | None, logits: np.ndarray
) -> Judgement:
    """The judgement with what was answered of `re_encoded`'s faces."""
    qualities = lower(judgement)
    if not len(logits) or judgement.deciding is None:
        return judgement
    where = chosen(subject, judgement)
    order = [i for i, c in enumerate(subject.crops) if c.track == judgement.deciding.number]
    as_it_is = judgement.deciding.probabilities[[order.index(i) for i in where]].mean()
    stages = [Stage(None, float(as_it_is), judgement.thresholds.call(float(as_it_is)))]
    for quality, own in zip(qualities, logits.reshape(len(qualities), -1), strict=True):
        mean = float(verdict.probabilities(calibration, own, quality).mean())
        stages.append(Stage(quality, mean, verdict.thresholds(calibration, quality).call(mean)))
    return dataclasses.replace(judgement, stages=tuple(stages))
