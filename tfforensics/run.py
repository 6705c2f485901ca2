"""A run directory: where things lie in it, and the detector that it holds.

config.yaml     the resolved configuration
checkpoints/    see checkpoint.py
tensorboard/    event files
metrics.json    history and final figures
evaluation/     what `tfforensics.evaluate` writes
export/         what `tfforensics.export` writes

In place of checkpoints a packed run has weights.npz and data.json; see packed.py.
A run in object storage is worked on in a copy; see mirror.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from tfforensics import configfile, files, mirror
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config
from tfforensics.mirror import Mirror
from tfforensics.storage import Folder

if TYPE_CHECKING:
    import tf_keras as keras


@dataclass(frozen=True)
class Run:
    """A run by its folder.

    Attributes:
        folder: on this machine.
        mirror: what brings it to object storage, where it lies there.
    """

    folder: Path
    mirror: Mirror | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return str(self.folder if self.mirror is None else self.mirror.place)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.folder.name

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def backbone(self) -> Run:
        """The run of a plain backbone that multi-attention begins with."""
        return Run(self.folder / "backbone", self.mirror)

    @property
    def begun(self) -> bool:
        """Whether there are weights that other settings would not have given."""
        return any(
            place.exists()
            for place in (self.checkpoints, self.backbone.checkpoints, self.packed_weights)
        )

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def packed_weights(self) -> Path:
        return self.folder / "weights.npz"

    @property
    def data_file(self) -> Path:
        return self.folder / "data.json"

    def publish(self) -> None:
        """Brings what has changed to where the run lies; nothing where that is this machine.

        Raises:
            DataError, OSError: as `Mirror.publish`.
        """
        if self.mirror is not None:
            self.mirror.publish()

    def refresh(self) -> None:
        """Fetches what another process has published; nothing where the run lies here.

        Raises:
            DataError, OSError: as `Mirror.fetch`.
        """
        if self.mirror is not None:
            self.mirror.fetch()

    def config(self) -> Config:
        """The configuration that the run was started with.

        Raises:
            UsageError: not a run.
            DataError: its config.yaml is not one.
        """
        if not self.config_file.is_file():
            raise UsageError(f"{self}: expected a run directory, found no config.yaml")
        try:
            return configfile.from_dict(
                yaml.safe_load(self.config_file.read_text()), str(self.config_file)
            )
        except (UsageError, yaml.YAMLError) as error:
            raise DataError(f"{self.config_file}: {error}") from error

    def save_config(self, config: Config) -> None:
        """Writes config.yaml, whole or not at all, and makes the folder for it if need be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        plain = configfile.to_dict(config)
        files.write(self.config_file, yaml.safe_dump(plain, sort_keys=False))

    def load_network(self) -> keras.Model:
        """The network with the weights that were best on validation, averaged where the run does.

        Raises:
            UsageError: not a run, or one without a validated checkpoint.
            DataError: it is damaged.
        """
        import tensorflow as tf

        from tfforensics import packed
        from tfforensics.checkpoint import CheckpointStore
        from tfforensics.ema import AveragedWeights
        from tfforensics.models import build_detector

        if self.packed_weights.is_file():
            return packed.load_network(self)
        config = packed.without_weights(self.config())
        detector = build_detector(config)
        parts = {"model": detector}
        if config.optimizer.ema is not None:
            parts["averages"] = AveragedWeights(detector, config.optimizer.ema)
        store = CheckpointStore(self.checkpoints)
        if store.restore_best(tf.train.Checkpoint(**parts), partial=True) is None:
            raise UsageError(f"{self}: no validated checkpoint yet; train it further")
        if "averages" in parts:
            parts["averages"].assign()
        return detector.network


@contextlib.contextmanager
def at(
    place: Folder, argument: str, to: Literal["read", "write", "follow"] = "read"
) -> Iterator[Run]:
    """A run by its place: the folder itself, or a copy of what lies in object storage.

    Args:
        argument: to name in errors.
        to: publish there ("write"), or see what another process writes ("follow": nothing is
            there before `Run.refresh`).

    Raises:
        UsageError: these credentials may not write there.
        DataError, OSError: as `Mirror.fetch`.
    """
    if isinstance(place, Path):
        yield Run(place)
        return
    if to == "write":
        place.check_writable(argument)
    with mirror.copy_of(place) as copy:
        if to != "follow":
            copy.fetch()
        if to == "write":
            copy.own()
        yield Run(copy.folder, copy)
