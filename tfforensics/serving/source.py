"""What is exported: the network of a run or of released weights, and what its card says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from tfforensics import calibrated, manifest, shipped, staging
from tfforensics.calibration import Calibration
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config
from tfforensics.run import Run, at
from tfforensics.serving import server
from tfforensics.serving.card import CropContract, DataFacts, ModelCard
from tfforensics.storage import Folder, Remote

Weights = Literal["best", "ema"]
_DETECTOR = "MTCNN (mtcnn 1.0.0)"
_LIMITS = (
    "An answer is a measurement, not a proof; nobody should be accused on it alone.",
    "Figures hold for media like those they were measured on. Manipulations, cameras and "
    "compressions that were not trained on can lower them to chance.",
    "One face is judged at a time, cut out as described above. Other crops, masks, drawings and "
    "faces of a few dozen pixels give an answer too, and it means nothing.",
    "Differences between groups of people have not been measured unless they are listed above.",
)


@dataclass(frozen=True, eq=False)
class Source:
    """A network in float32 and its card."""

    network: keras.Model
    card: ModelCard


@dataclass(frozen=True)
class Known:
    """What is known of the records of a run.

    Attributes:
        data: None where the records were not at hand.
        margin: of the crops; the default where the records were not at hand.
    """

    data: DataFacts | None
    margin: float

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, read back by `from_plain`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Known:
        """What `to_plain` gave; KeyError or TypeError for anything else."""
        data = plain["data"]
        return cls(None if data is None else DataFacts.from_plain(data), float(plain["margin"]))


def load(path: Folder, weights: Weights | None = None) -> Source:
    """A run directory, or a file of MesoNet's released weights.

    Args:
        path: of either, or `shipped.NAME`.
        weights: of a run: "best" on validation as trained, or their moving average, "ema"; None
            takes what validation judged, which is the average where the run has one.

    Raises:
        UsageError: neither, or a run without such weights.
        DataError: it is damaged.
        OSError: object storage refuses.
    """
    if isinstance(path, Remote):
        with at(path, "RUN") as run:
            return _of_run(run, weights)
    path = shipped.resolve(path)
    if path.is_dir():
        return _of_run(Run(path), weights)
    if weights is not None:
        raise UsageError(f"--weights: expected a run for {weights!r}, got the file {path}")
    return _of_released_weights(path)


def _of_run(run: Run, weights: Weights | None) -> Source:
    config = run.config()
    averaged = config.optimizer.ema is not None
    if weights == "ema" and not averaged:
        raise UsageError(f"--weights: {run} has no moving average (optimizer.ema is null)")
    if weights is not None and run.packed_weights.is_file():
        raise UsageError(f"--weights: {run} is packed and has one kind, not {weights!r}")
    own = weights == "best" and averaged  # what validation and evaluation did not judge
    with _float32():
        network = _as_trained(run) if own else run.load_network()
    records = known(run)
    model = config.model
    limits = list(_LIMITS)
    if config.data.selfblend == 1:
        limits.append("Trained on real faces blended with themselves: it has seen no manipulation.")
    if records.data is None:
        limits.append("The records were not at hand: the margin is the default, the data unknown.")
    card = ModelCard(
        name=server.model_name(run.folder.resolve().name),
        detector=model.detector,
        backbone=None if model.detector.startswith("meso") else model.backbone,
        weights=f"best on validation{', averaged' if averaged and not own else ''}",
        crop=CropContract(_DETECTOR, records.margin, config.data.size),
        outputs=(),
        data=records.data,
        training=_training(config),
        evaluation=None if own else _evaluation(run, config),
        calibration=None if own else _calibration(run),
        limits=tuple(limits),
    )
    return Source(network, card)


def _of_released_weights(path: Path) -> Source:
    from tfforensics.models.mesonet import from_released_weights

    with _float32():
        network = from_released_weights(path).network
    card = ModelCard(
        name=server.model_name(path.stem),
        detector=network.name.replace("_", ""),
        backbone=None,
        weights=f"released by MesoNet's authors ({path.name}), their label turned round",
        crop=CropContract(_DETECTOR, manifest.Settings().margin, network.input_shape[1]),
        outputs=(),
        data=None,
        training={},
        evaluation=None,
        calibration=None,
        limits=(
            *_LIMITS,
            "Its authors cut faces out by another detector and turned them upright.",
        ),
    )
    return Source(network, card)


def _as_trained(run: Run) -> keras.Model:
    """The weights that were best on validation, not their average."""
    from tfforensics.checkpoint import CheckpointStore
    from tfforensics.models import build_detector

    detector = build_detector(run.config())
    store = CheckpointStore(run.checkpoints)
    if store.restore_best(tf.train.Checkpoint(model=detector), partial=True) is None:
        raise UsageError(f"{run}: no validated checkpoint yet; train it further")
    return detector.network


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """Networks are built in float32 however they were trained; their weights are so anyway."""
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


def known(run: Run) -> Known:
    """What the records of a run say of themselves, or what a packed one has kept of that.

    Raises:
        UsageError: not a run.
        DataError: damaged records, or a damaged packed run.
    """
    if run.data_file.is_file():
        try:
            return Known.from_plain(json.loads(run.data_file.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{run.data_file}: {error!r}") from error
    config = run.config()
    records = staging.find_manifest(config.data.records)
    if records is None:
        return Known(None, manifest.Settings().margin)
    taken = config.data.manipulations or records.manipulations
    if config.data.selfblend == 1:
        taken = ()
    clips = [c for c in records.clips if c.found and c.manipulation in ("real", *taken)]
    splits = [s for s in ("train", "val", "test") if any(c.split == s for c in clips)]
    facts = DataFacts(
        dataset=records.dataset,
        manipulations=tuple(taken),
        faces={s: sum(c.found for c in clips if c.split == s) for s in splits},
        videos={s: sum(c.split == s for c in clips) for s in splits},
        source_compression=tuple(sorted({c.source_compression for c in clips} - {""})),
        notice=records.notice,
        notes=records.notes,
    )
    return Known(facts, records.settings.margin)


def _training(config: Config) -> dict[str, Any]:
    degrade = config.degrade
    return {
        "steps": config.train.steps,
        "batch": config.data.batch,
        "seed": config.train.seed,
        "optimizer": config.optimizer.name,
        "initial weights": config.model.initial or config.model.weights or "none",
        "JPEG levels": " ".join(degrade.levels)
        if degrade.quality is None
        else "Q{} to Q{}".format(*degrade.quality),
    }


def _evaluation(run: Run, config: Config) -> dict[str, Any] | None:
    path = run.evaluation / f"test-{config.evaluation.encoder}.json"
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    return found


def _calibration(run: Run) -> Calibration | None:
    path = run.folder / calibrated.NAME
    if not path.is_file():
        return None
    try:
        return Calibration.from_json(path.read_text())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
