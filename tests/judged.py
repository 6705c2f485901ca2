"""What tests of evaluation share: scores that nobody computed, and a run that nobody trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfforensics import intervals, tables
from tfforensics.calibrated import Calibrator
from tfforensics.findings import Findings
from tfforensics.manifest import Manifest, Settings
from tfforensics.models.scaling import Cost
from tfforensics.run import Run
from tfforensics.scores import Scores

RANDOM = np.random.default_rng


def make_scores(
    separation: Mapping[str, float],
    *,
    manipulations: Sequence[str] = ("A", "B"),
    pairs: int = 6,
    frames: int = 3,
    seed: int = 0,
    split: str = "test",
) -> Scores:
    """Scores in FaceForensics++'s shape: clips in pairs, each with a fake of each manipulation.

    Args:
        separation: by level, how many standard deviations the logits of the classes lie apart.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for level, distance in separation.items():
        for name in ("real", *manipulations):
            for number in range(2 * pairs):
                target, source = f"{number:03d}", f"{number ^ 1:03d}"
                clip = target if name == "real" else f"{target}_{source}"
                for logit in rng.normal(0, 1, frames) + distance * (name != "real"):
                    p = 1 / (1 + np.exp(-logit))
                    s = "" if name == "real" else source
                    rows.append((p, int(name != "real"), clip, name, level, target, s))
    probability, label, clip, manipulation, levels, targets, sources = zip(*rows, strict=True)
    return Scores(split, *map(np.array, (probability, label, clip, manipulation)),
                  np.array(levels), np.array(targets), np.array(sources))  # fmt: skip


def make_findings(
    scores: Scores,
    name: str = "run",
    *,
    multiply_adds: int = 10**9,
    resamples: int = 200,
    **changes: Any,
) -> Findings:
    """Findings without a detector behind them; probabilities are not corrected."""
    held = Manifest("nothing", Settings(), (), (), (), {})
    values: dict[str, Any] = {
        "run": Run(Path("runs") / name),
        "records": Path("records/nothing"),
        "held": held,
        "encoder": "turbo",
        "network": "meso4",
        "weights": "0" * 64,
        "scores": scores,
        "calibrator": Calibrator(None, "none: made up"),
        "cost": Cost(10**6, 10**6, multiply_adds),
        "table": tables.measure(
            scores, scores, intervals.resample(scores, resamples=resamples, seed=0)
        ),
        "precedents": (),
        "notes": (),
    }
    return Findings(**values | changes)


def finished_run(folder: Path, records: Path, *, seed: int = 0, **sections: Any) -> Run:
    """A run whose checkpoint holds a small network as it was initialised."""
    import tensorflow as tf
    import tf_keras as keras

    from tfforensics import configfile
    from tfforensics.checkpoint import CheckpointStore
    from tfforensics.models import build_detector

    settings: dict[str, Any] = {
        "data": {"records": str(records), "size": 64, "batch": 8},
        "model": {"detector": "meso4", "weights": None},
        "train": {"seed": seed},
        "evaluation": {"levels": ["c0", "c85"]},
    }
    for name, section in sections.items():
        settings[name] = settings.get(name, {}) | section
    config = configfile.from_dict(settings)
    run = Run(folder)
    folder.mkdir()
    run.save_config(config)
    keras.utils.set_random_seed(seed)
    detector = build_detector(config)
    store = CheckpointStore(run.checkpoints)
    store.save(tf.train.Checkpoint(model=detector), {}, step=1, best=True)
    return run
