"""A run's detector in a few small files: what one hands on, and what the package ships.

OUT/config.yaml        of the run
OUT/weights.npz        its arrays by name: kernels as float16, all else as float32
OUT/data.json          what the card says of the records, which need not be at hand any more
OUT/calibration.json   and
OUT/evaluation/*.json  of a run that was packed already: they belong to the rounded weights
OUT/hashes.json        SHA-256 of the others

Such a folder is a run that can be evaluated, exported and trained on from, though not gone on
with: what only its training needs is left behind. Nothing in it is executed.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfforensics import calibrated, files, manifest
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config, Demo
from tfforensics.run import Run

if TYPE_CHECKING:
    import tf_keras as keras

HASHES = "hashes.json"


def pack(run: Run, out: Path) -> Run:
    """Writes the weights that were best on validation to a new folder.

    A kernel keeps eleven bits of each number, so the figures of a run that is not packed yet are
    not those of what comes of it: evaluate that.

    Args:
        run: a finished run.
        out: new or empty.

    Raises:
        UsageError: not a finished run, or the folder holds something.
        DataError: the run is damaged, or has a weight beyond float16.
    """
    from tfforensics.serving import source

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"OUT: expected a new or empty folder, got {out}")
    content = _to_bytes(run.load_network())
    out.mkdir(parents=True, exist_ok=True)
    packed = Run(out)
    files.write(packed.packed_weights, content)
    packed.save_config(dataclasses.replace(run.config(), demo=Demo()))
    manifest.write_json(packed.data_file, source.known(run).to_plain())
    if run.packed_weights.is_file():
        for path in _figures(run.folder):
            copy = out / path.relative_to(run.folder)
            copy.parent.mkdir(exist_ok=True)
            files.write(copy, path.read_bytes())
    hashes = {
        path.relative_to(out).as_posix(): manifest.sha256_of(path)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    manifest.write_json(out / HASHES, hashes)
    return packed


def _figures(folder: Path) -> Iterator[Path]:
    """What `evaluate` found, without the pages and pictures that show it."""
    yield from folder.glob(calibrated.NAME)
    yield from folder.glob("evaluation/*.json")


def _to_bytes(network: keras.Model) -> bytes:
    arrays = {}
    for variable in network.weights:
        array = variable.numpy()
        if array.ndim > 1:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
        if not np.isfinite(array).all():
            raise DataError(f"{variable.name}: a weight is not a number, or beyond float16's")
        arrays[variable.name] = array
    if len(arrays) != len(network.weights):
        raise DataError("the network has two weights of one name")
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def load_network(run: Run) -> keras.Model:
    """The network of a packed run.

    Raises:
        DataError: a file is damaged, or the weights are not those of the configuration.
    """
    from tfforensics.models import build_network

    path = run.packed_weights
    hashes = _read_hashes(run.folder)
    for file in (path, run.config_file):
        if manifest.sha256_of(file) != hashes.get(file.name):
            raise DataError(f"{file}: SHA-256 differs from the one in {HASHES}")
    network = build_network(without_weights(run.config()))
    expected = {variable.name: tuple(variable.shape) for variable in network.weights}
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: {error}") from error
    found = {name: array.shape for name, array in arrays.items()}
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise DataError(f"{path}: {name}: expected {expected.get(name)}, got {found.get(name)}")
    network.set_weights([arrays[name].astype(np.float32) for name in expected])
    return network


def _read_hashes(folder: Path) -> dict[str, str]:
    try:
        hashes = json.loads((folder / HASHES).read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in hashes.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / HASHES}: cannot be read: {error}") from error


def without_weights(config: Config) -> Config:
    """The same network, without the weights that its training began with."""
    return dataclasses.replace(config, model=dataclasses.replace(config.model, weights=None))
