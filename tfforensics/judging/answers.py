"""The faces of many files -> the model's answers, in full batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

from tfforensics.media import Pixels
from tfforensics.serving.card import ModelCard

T = TypeVar("T")
Answers = dict[str, np.ndarray]


class Model(Protocol):
    """What is asked: `serving.exported.Exported`, or anything that answers as it does."""

    @property
    def card(self) -> ModelCard: ...

    def by_pixels(self, faces: Pixels) -> Answers: ...


def ask(
    model: Model, groups: Iterable[tuple[T, Pixels]], batch: int
) -> Iterator[tuple[T, Answers]]:
    """Asks the model of groups of faces, in batches that reach across groups.

    Args:
        groups: anything, with its faces, uint8 (N, S, S, 3); N may be 0.
        batch: faces that are judged at once.

    Yields:
        In the same order, each with its answers, `logit` and, where the model has maps,
        `attention`; N rows. A group without faces has no rows of `logit`.
    """
    waiting: deque[tuple[T, int]] = deque()
    unasked: list[Pixels] = []
    answered: list[Answers] = []

    def run(faces: list[Pixels]) -> None:
        found = model.by_pixels(np.stack(faces))
        answered.extend({n: v[i] for n, v in found.items()} for i in range(len(faces)))

    def ready() -> Iterator[tuple[T, Answers]]:
        while waiting and len(answered) >= waiting[0][1]:
            what, count = waiting.popleft()
            yield what, _stacked(answered[:count])
            del answered[:count]

    for what, faces in groups:
        waiting.append((what, len(faces)))
        unasked.extend(faces)
        while len(unasked) >= batch:
            run(unasked[:batch])
            del unasked[:batch]
        yield from ready()
    if unasked:
        run(unasked)
    yield from ready()


def _stacked(rows: list[Answers]) -> Answers:
    if not rows:
        return {"logit": np.zeros(0, np.float32)}
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
