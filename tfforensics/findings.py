"""What a run's detector is found to be worth on a split, by one encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfforensics import calibrated, groups, intervals, manifest, precedents, staging, tables
from tfforensics.calibrated import Calibrator
from tfforensics.config import Model
from tfforensics.groups import People
from tfforensics.jpeg import Encoder, Level
from tfforensics.judge import Judge
from tfforensics.manifest import Manifest
from tfforensics.models.scaling import Cost, measure
from tfforensics.precedents import Precedent
from tfforensics.run import Run
from tfforensics.scores import Scores, concatenate
from tfforensics.tables import Plain, Table

RESAMPLES = 1000
SEED = 0  # of the resamples: all runs on the same clips get the same ones


@dataclass(frozen=True, eq=False)
class Findings:
    """What came of judging a split.

    Attributes:
        run: whose detector judged.
        records: the record folder.
        held: its manifest.
        encoder: of every level but c0.
        network: what kind of network judged.
        weights: digest of it and its weights.
        scores: of all levels, one after the other, as the detector gave them.
        calibrator: fitted on validation.
        cost: of the network, for one face.
        table: the figures.
        precedents: published figures of the same setting.
        notes: what a reader should know of the figures, one line each.
        groups: the figures of groups of people, where it was said who belongs to which.
    """

    run: Run
    records: Path
    held: Manifest
    encoder: Encoder
    network: str
    weights: str
    scores: Scores
    calibrator: Calibrator
    cost: Cost
    table: Table
    precedents: tuple[Precedent, ...]
    notes: tuple[str, ...]
    groups: groups.Plain | None = None

    @property
    def has_figures(self) -> bool:
        """Whether there are any: faces of one class alone give none."""
        return any(cell is not None for cell in self.table.values())

    def result(self) -> dict[str, Any]:
        """The findings as JSON values."""
        figures, bounds = tables.plain(self.table)
        first = self.scores.at_level(self.scores.levels[0])
        return {
            "run": self.run.name,
            "network": self.network,
            "weights": self.weights,
            "records": str(self.records),
            "notice": self.held.notice,
            "split": self.scores.split,
            "encoder": self.encoder,
            "faces": len(first),
            "videos": len(first.videos()),
            "calibration": self.calibrator.source,
            "multiply_adds": self.cost.multiply_adds,
            "parameters": self.cost.trainable,
            "figures": figures,
            "intervals": bounds,
            "calls": calibrated.calls(self.calibrator, self.scores),
            "calibration_error": {
                level: {name: diagram.error for name, diagram in pair.items()}
                for level, pair in calibrated.reliability(self.calibrator, self.scores).items()
            },
            "published": list(self._beside(figures, bounds)),
            "groups": self.groups,
            "notes": list(self.notes),
        }

    def _beside(self, figures: Plain, bounds: Plain) -> Iterator[dict[str, Any]]:
        for precedent in self.precedents:
            figure = precedent.figure
            ours = figures.get(precedent.column, {}).get(figure.manipulation, {}).get("frame")
            if ours is None:
                continue
            yield {
                "source": figure.source,
                "method": figure.method,
                "level": f"{figure.codec} {figure.level}",
                "manipulation": figure.manipulation,
                "published_auc": figure.auc,
                "our_auc": ours["auc"],
                "our_interval": bounds[precedent.column][figure.manipulation]["frame"]["auc"],
            }


def examine(
    judge: Judge,
    records: Path,
    *,
    split: str,
    levels: Sequence[Level],
    encoder: Encoder,
    manipulations: tuple[str, ...] = (),
    people: People | None = None,
) -> Findings:
    """Judges a split at each level; shows progress.

    Args:
        judge: the run's detector.
        records: the record folder.
        manipulations: those to judge beside the real faces; empty takes all.
        people: who belongs to which group, for figures of each.

    Raises:
        UsageError: a manipulation that is not in the records; someone of no group.
        DataError: damaged records, or a split without a face.
    """
    held = manifest.load(records)
    scores = concatenate(judge.at_levels(records, split, levels, encoder, manipulations))
    calibrator = calibrated.calibrate(judge, records)
    trained_on = staging.find_manifest(judge.config.data.records)
    resampling = intervals.resample(scores, resamples=RESAMPLES, seed=SEED)
    table = tables.measure(scores, calibrator.probabilities(scores), resampling)
    return Findings(
        run=judge.run,
        records=records,
        held=held,
        encoder=encoder,
        network=_name(judge.config.model),
        weights=judge.digest,
        scores=scores,
        calibrator=calibrator,
        cost=measure(judge.network),
        table=table,
        precedents=tuple(precedents.find(held, trained_on, split)),
        notes=tuple(_notes(judge, scores, table)),
        groups=None
        if people is None
        else groups.plain(groups.measure(scores, calibrator, people, resampling)),
    )


def _name(model: Model) -> str:
    backbone = f"EfficientNet {model.backbone}"
    if model.detector == "plain":
        return backbone
    if model.detector == "multi_attention":
        return f"multi-attention on {backbone}"
    return {"meso4": "Meso4", "mesoinception4": "MesoInception4"}[model.detector]


def _notes(judge: Judge, scores: Scores, table: Table) -> Iterator[str]:
    if set(scores.label.tolist()) != {0, 1}:
        kind = "manipulated" if scores.label.all() else "real"
        yield (
            f"the {scores.split} split holds {kind} faces only: there is nothing to tell them "
            f"from, and no figure ({tables.DASH})"
        )
    elif any(cell and cell["auc"].interval is None for cell in table.values()):
        yield (
            f"no interval where a class has fewer than {intervals.FEWEST_CLUSTERS} clips that do "
            "not depend on one another"
        )
    data = judge.config.data
    trained = data.manipulations
    all_trained = not trained and data.selfblend < 1
    unseen = [
        name
        for name in scores.manipulations
        if data.selfblend == 1 or not (all_trained or name in trained)
    ]
    if unseen:
        yield f"not trained on {', '.join(unseen)}"
