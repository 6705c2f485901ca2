"""Checkpoints that are whole or not there.

A checkpoint is a folder, `step-00000500/`:

    state.index, state.data-*   the variables, as tf.train.Checkpoint writes them
    meta.json                   what is no tensor: history, scores, settings (the caller's)
    manifest.json               schema version, step, best or not, size and SHA-256 of each file

It is written under a temporary name in the same folder, every file and the folder are
fsynced, and it gets its name by a rename: a kill at any moment leaves it whole or leaves a
`.saving-*` folder, which the next save removes. Older checkpoints go only after the new one
is in place, so the disk holds at most `keep` + 1 best + 1 in flight.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from tfforensics.command import DataError, UsageError
from tfforensics.files import sync

SCHEMA = 1
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")
_TEMPORARY = ".saving-"
_HEADROOM = 1 << 20  # bytes beside the variables: index, object graph, meta, folders

_log = logging.getLogger(__name__)


class CheckpointError(DataError):
    """A checkpoint could not be written, or none of those there can be read."""


class _DamagedError(Exception):
    """This checkpoint is not what was written; the message says what differs."""


class CheckpointStore:
    """The checkpoints of one run, in one folder.

    Args:
        directory: where they lie; made by the first save.
        keep: how many of the newest stay, at least 1; the newest that was saved as best stays
            besides.
        after_save: called when one is in place and those that need not stay are gone.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int = 2,
        after_save: Callable[[], None] = lambda: None,
    ) -> None:
        if keep < 1:
            raise UsageError(f"keep: expected at least 1 checkpoint, got {keep}")
        self.directory = Path(directory)
        self.keep = keep
        self._after_save = after_save
        self._damaged: set[Path] = set()

    def steps(self) -> list[int]:
        """The steps that checkpoints are there of, oldest first; none is opened."""
        return [_order(folder)[0] for folder in self._folders()]

    def best_step(self) -> int | None:
        """The step of the newest checkpoint that was saved as best, or None."""
        folder = self._best(self._folders())
        return None if folder is None else _order(folder)[0]

    def save(
        self, checkpoint: tf.train.Checkpoint, meta: dict[str, Any], *, step: int, best: bool
    ) -> Path:
        """Writes a checkpoint, then removes those that need not stay.

        Args:
            checkpoint: everything that has variables: model, optimizer, metrics.
            meta: everything else, as JSON values.
            step: training steps done.
            best: whether this is the best on validation so far.

        Returns:
            The new checkpoint's folder.

        Raises:
            UsageError: the directory cannot be written to.
            CheckpointError: the disk has too little room, before or while writing; what was
                there before is untouched.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.remove_leftovers()
            self._check_room(checkpoint, step)
            final = self._free_name(step)
            temporary = self.directory / f"{_TEMPORARY}{final.name}"
            temporary.mkdir()
        except OSError as error:
            raise UsageError(f"{self.directory}: cannot write here ({error.strerror})") from error
        try:
            checkpoint.write(str(temporary / "state"))
            (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
            files = {path.name: _sync_and_describe(path) for path in sorted(temporary.iterdir())}
            manifest = {"schema": SCHEMA, "step": step, "best": best, "files": files}
            (temporary / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            sync(temporary / "manifest.json")
            sync(temporary)
            temporary.rename(final)
            sync(self.directory)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise self._not_saved(step, _first_line(error)) from error
        self._prune()
        self._after_save()
        return final

    def restore(
        self, checkpoint: tf.train.Checkpoint, *, partial: bool = False
    ) -> dict[str, Any] | None:
        """Restores the newest whole checkpoint.

        A damaged one is named in a warning and the one before it is used.

        Args:
            checkpoint: the objects that `save` was given; their variables are assigned.
            partial: True where `checkpoint` holds only some of the saved objects (the model
                without its optimizer).

        Returns:
            The `meta` it was saved with, or None where there is no checkpoint at all.

        Raises:
            CheckpointError: there are checkpoints and all of them are damaged.
            UsageError: it was written by a newer version, or for another model.
        """
        folders = self._folders()
        for folder in reversed(folders):
            try:
                return _read(folder, checkpoint, partial)
            except _DamagedError as damage:
                self._damaged.add(folder)
                _log.warning("%s is damaged (%s): trying the one before", folder, damage)
        if folders:
            raise CheckpointError(
                f"{self.directory}: every checkpoint here is damaged "
                f"({', '.join(folder.name for folder in folders)})"
            )
        return None

    def restore_best(
        self, checkpoint: tf.train.Checkpoint, *, partial: bool = False
    ) -> dict[str, Any] | None:
        """Restores the best checkpoint on validation; like `restore` otherwise.

        Returns None where none was saved as best, and raises CheckpointError where that one
        is damaged: the second best is gone.
        """
        folder = self._best(self._folders())
        if folder is None:
            return None
        try:
            return _read(folder, checkpoint, partial)
        except _DamagedError as damage:
            raise CheckpointError(f"{folder}: damaged ({damage})") from damage

    def remove_leftovers(self) -> None:
        """Removes what a killed save left. Only the process that holds the run's lock may."""
        for folder in self.directory.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        named = (path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))
        return sorted(named, key=_order)

    def _best(self, folders: list[Path]) -> Path | None:
        for folder in reversed(folders):
            with contextlib.suppress(_DamagedError):
                if _read_manifest(folder)["best"]:
                    return folder
        return None

    def _free_name(self, step: int) -> Path:
        """`step-N`, or `step-N.2`, ... where N was saved before (say, before validation)."""
        name = f"step-{step:08d}"
        taken = [_order(path)[1] for path in self._folders() if _order(path)[0] == step]
        return self.directory / (f"{name}.{max(taken) + 1}" if taken else name)

    def _check_room(self, checkpoint: tf.train.Checkpoint, step: int) -> None:
        need = _size(checkpoint) + _HEADROOM
        free = shutil.disk_usage(self.directory).free
        if need > free:
            raise self._not_saved(
                step, f"it needs {need / 1e6:.1f} MB and the disk has {free / 1e6:.1f} MB left"
            )

    def _not_saved(self, step: int, reason: str) -> CheckpointError:
        steps = self.steps()
        last = f"the last good one is of step {steps[-1]}" if steps else "there is none yet"
        return CheckpointError(
            f"{self.directory}: the checkpoint of step {step} was not saved ({reason}); {last}"
        )

    def _prune(self) -> None:
        whole = [folder for folder in self._folders() if folder not in self._damaged]
        stay = {*whole[-self.keep :], self._best(whole)}
        for folder in self._folders():
            if folder not in stay:
                # Renamed first: a kill half-way must not leave a folder that looks whole.
                doomed = folder.rename(self.directory / f"{_TEMPORARY}removed-{folder.name}")
                shutil.rmtree(doomed)
        self._damaged.clear()


def _order(folder: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(folder.name)
    assert match is not None, folder
    return int(match[1]), int(match[2] or 1)


def _size(checkpoint: tf.train.Checkpoint) -> int:
    """Bytes of all variables that a checkpoint of these objects holds."""
    objects = tf.train.TrackableView(checkpoint).descendants()
    variables = {id(entry): entry for entry in objects if isinstance(entry, tf.Variable)}
    for entry in objects:
        # The slots of Keras's older optimizers (tensorflow-addons has these) hang on no object.
        if isinstance(entry, keras.optimizers.legacy.Optimizer):
            variables.update((id(slot), slot) for slot in entry.variables())
    return sum(v.shape.num_elements() * v.dtype.size for v in variables.values())


def _describe(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def _sync_and_describe(path: Path) -> dict[str, Any]:
    sync(path)
    return _describe(path)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        schema = manifest["schema"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _DamagedError(f"manifest.json: {_first_line(error)}") from error
    if schema != SCHEMA:
        raise UsageError(
            f"{folder}: written by a newer version (checkpoint schema {schema}; this version "
            f"reads {SCHEMA})"
        )
    return manifest


def _read(folder: Path, checkpoint: tf.train.Checkpoint, partial: bool) -> dict[str, Any]:
    """Checks every file, then assigns the variables.

    Raises:
        _DamagedError: a file is missing or is not the one that was written.
        UsageError: the variables are not those of `checkpoint`.
    """
    manifest = _read_manifest(folder)
    for name, expected in manifest["files"].items():
        try:
            found = _describe(folder / name)
        except OSError as error:
            raise _DamagedError(f"{name}: {error.strerror}") from error
        if found != expected:
            raise _DamagedError(
                f"{name}: expected {expected['size']} bytes, SHA-256 {expected['sha256'][:12]}; "
                f"got {found['size']} bytes, {found['sha256'][:12]}"
            )
    other = f"{folder}: holds another model than this configuration builds"
    try:
        status = checkpoint.read(str(folder / "state"))
    except ValueError as error:  # another shape
        raise UsageError(f"{other} ({_first_line(error)[:200]})") from error
    try:
        status.assert_existing_objects_matched()
        if not partial:
            status.assert_consumed()
    except AssertionError as error:
        raise UsageError(f"{other} ({_first_line(error)[:200]})") from error
    finally:
        status.expect_partial()  # what was found wrong is said once
    return json.loads((folder / "meta.json").read_text(encoding="utf-8"))


def _first_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
