"""Does a file tell the label without a look at what it shows?

A detector takes the cheapest difference there is. Where real and manipulated media went through
other encoders, or were cropped differently, that is what it learns, and its figures say nothing
of manipulation. So a classifier (random forest) gets facts of the files alone, one row a clip,
and is cross-validated with all clips of linked identities in one fold. Its AUC must not lie above
chance: the lower end of its interval, by bootstrap over linked identities, at most one half. The
intervals of each fact and of all facts hold together with 95%. Above chance the check fails, and
says by which facts: each that is so by itself, or the fewest that are so only together. The bytes
of a near-lossless crop also depend on what it shows, so manipulation itself can be what fails it:
a reader must know that, too, before taking a detector's figures there for more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold

from tfforensics import intervals, metrics
from tfforensics.audit import Check
from tfforensics.audit.read import FACTS
from tfforensics.intervals import Resampling
from tfforensics.manifest import Manifest
from tfforensics.scores import Floats, Scores

if TYPE_CHECKING:
    from tfforensics.audit.read import Seen

FOLDS = 5
FEWEST = 2 * FOLDS  # linked identities below which nothing can be told
CHANCE = 0.5


def check(held: Manifest, seen: Sequence[Seen]) -> list[Check]:
    """Judges each stored level, and whether the classes say that their media differ."""
    return [_stated(seen), *(_level(seen, level) for level in held.levels)]


def _stated(seen: Sequence[Seen]) -> Check:
    """`source_compression` must be the same mix in both classes."""
    said = [{s.source_compression for s in seen if s.label == label} for label in (0, 1)]
    differs = said[0] != said[1] and all(said)
    shown = " against ".join(
        "+".join(sorted(name or "unknown" for name in names)) for names in said
    )
    return Check(
        "source compression",
        "failed" if differs else "passed",
        f"of real against manipulated media: {shown}",
        (f"the compression of the media gives the label away: {shown}",) if differs else (),
    )


def _level(seen: Sequence[Seen], level: str) -> Check:
    clips: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for face in seen:
        if face.level == level:
            clips[face.manipulation, face.clip].append(face)
    rows = [members[0] for members in clips.values()]
    facts = np.array(
        [[np.median([m.facts[f] for m in members]) for f in FACTS] for members in clips.values()]
    )
    name = f"compression as the label, {level}"
    found = _scores(rows, np.full(len(rows), 0.5))
    resampling = intervals.resample(found, resamples=2000, seed=0)
    groups = resampling.columns(found) if rows else np.zeros(0, np.int64)
    per_class = [len(np.unique(groups[found.label == label])) for label in (0, 1)]
    if min(per_class) < FEWEST:
        return Check(
            name,
            "noted",
            f"cannot tell: {min(per_class)} independent identities of a class, {FEWEST} needed",
        )
    judge = partial(_auc, found, facts, groups, resampling)
    alone: dict[tuple[str, ...], _Auc] = {(fact,): judge([fact]) for fact in FACTS}
    together = judge(FACTS)
    leaking = {names: auc for names, auc in alone.items() if auc.low > CHANCE}
    if together.low > CHANCE and not leaking:
        leaking = _fewest(judge)
    return Check(
        name,
        "failed" if leaking else "passed",
        f"AUC of all facts {together}",
        tuple(
            f"{' and '.join(names)} {'alone gives' if len(names) == 1 else 'together give'} "
            f"the label away: AUC {auc}"
            for names, auc in leaking.items()
        ),
        {
            " + ".join(names): auc._asdict()
            for names, auc in (alone | leaking | {FACTS: together}).items()
        },
    )


def _fewest(judge: Callable[[Sequence[str]], _Auc]) -> dict[tuple[str, ...], _Auc]:
    """What is left when each fact is dropped without which the others are above chance, too."""
    kept: tuple[str, ...] = FACTS
    found = judge(kept)
    for fact in FACTS:
        others = tuple(name for name in kept if name != fact)
        without = judge(others)
        if without.low > CHANCE:
            kept, found = others, without
    return {kept: found}


class _Auc(NamedTuple):
    """An AUC and its interval."""

    auc: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.auc:.2f} [{self.low:.2f}, {self.high:.2f}]"


def _auc(
    clips: Scores,
    known: Floats,
    groups: np.ndarray,
    resampling: Resampling,
    names: Sequence[str],
) -> _Auc:
    """The cross-validated AUC of a classifier on the named ones of FACTS, known (N, F)."""
    facts = known[:, [FACTS.index(name) for name in names]]
    if not np.ptp(facts, axis=0).any():
        return _Auc(CHANCE, CHANCE, CHANCE)  # the same in every file
    probability = np.zeros(len(facts))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for fit, judge in folds.split(facts, clips.label, groups):
        forest = RandomForestClassifier(
            50, min_samples_leaf=5, class_weight="balanced", random_state=0
        )
        forest.fit(facts[fit], clips.label[fit])
        probability[judge] = forest.predict_proba(facts[judge])[:, 1]
    scored = Scores(clips.split, probability, *(getattr(clips, n) for n in _COLUMNS))
    value = float(metrics.auc(metrics.count(scored.label, scored.probability)))
    bounds = intervals.interval(
        intervals.replicates(scored, metrics.auc, resampling),
        confidence=1 - 0.05 / (len(FACTS) + 1),
    )
    return _Auc(value, value, value) if bounds is None else _Auc(value, bounds.low, bounds.high)


_COLUMNS = ("label", "clip", "manipulation", "level", "target", "source")


def _scores(rows: Sequence[Seen], probability: Floats) -> Scores:
    return Scores(
        "all splits", probability, *(np.array([getattr(r, n) for r in rows]) for n in _COLUMNS)
    )
