"""Which run a training goes on with: the one in its workdir, if that is the same experiment."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics import configfile, lock
from tfforensics.command import UsageError
from tfforensics.config import Config
from tfforensics.run import Run
from tfforensics.storage import Folder

if TYPE_CHECKING:
    from tfforensics.replicas import Replicas

_log = logging.getLogger(__name__)


def take_up(run: Run, config: Config, override: bool, replicas: Replicas) -> None:
    """Writes config.yaml, and checks that weights which are there are of the same experiment.

    Args:
        override: take them whatever the settings that they were trained with.

    Raises:
        UsageError: they are of other settings, or the workers do not see one folder.
        DataError, OSError: as `Run.publish`.
    """
    if replicas.chief:
        if run.config_file.is_file() and run.begun:
            changed = configfile.differences(_made_as(run.config(), config), config)
            if changed and not override:
                raise UsageError(
                    f"--workdir: {run} holds a run with other settings "
                    f"({'; '.join(changed)}); name another folder, or pass --override-resume"
                )
        run.save_config(config)
        run.publish()
    replicas.wait()
    if not replicas.chief:
        run.refresh()
    if not run.config_file.is_file():
        raise UsageError(f"--workdir: expected a folder that all workers see, got {run}")


def _made_as(config: Config, other: Config) -> Config:
    """The same experiment with its batches made where the other's are: they are the same."""
    data = dataclasses.replace(config.data, service=other.data.service)
    return dataclasses.replace(config, data=data)


def set_aside(workdir: Folder) -> None:
    """Gives a run another name, so that a new one can begin in its place.

    Raises:
        UsageError: it lies in object storage, or another process writes to it.
    """
    if not isinstance(workdir, Path):
        raise UsageError(f"--fresh: expected a --workdir on this machine, got {workdir}")
    if not workdir.exists():
        return
    taken = (workdir.with_name(f"{workdir.name}.{number}") for number in itertools.count(1))
    aside = next(path for path in taken if not path.exists())
    with lock.hold(workdir):
        workdir.rename(aside)
    _log.info("%s: the run that was there is now %s", workdir, aside)
