"""A packed run is a run in small files; the shipped detector is one."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from judged import finished_run

from tfforensics import evaluate, export, manifest, pack, packed
from tfforensics.command import DataError, UsageError
from tfforensics.run import Run
from tfforensics.serving import source
from tfforensics.serving.exported import load_export

ENOUGH = {(m, s): 12 for m in ("real", "A") for s in ("val", "test")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return finished_run(folder / "run", folder / "no-records")


@pytest.fixture
def made(run: Run, tmp_path: Path) -> Run:
    return packed.pack(run, tmp_path / "packed")


def hash_anew(run: Run, name: str) -> None:
    hashes = json.loads((run.folder / packed.HASHES).read_text())
    hashes[name] = manifest.sha256_of(run.folder / name)
    (run.folder / packed.HASHES).write_text(json.dumps(hashes))


def test_kernels_are_rounded_to_half_precision_and_nothing_else_is(run: Run, made: Run) -> None:
    before, after = run.load_network(), made.load_network()
    assert [w.name for w in before.weights] == [w.name for w in after.weights]
    changed = set()
    for a, b in zip(before.weights, after.weights, strict=True):
        half = a.numpy().astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(b.numpy(), half if len(a.shape) > 1 else a.numpy())
        if (a.numpy() != b.numpy()).any():
            changed.add(len(a.shape))
    assert changed == {2, 4}
    faces = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    a, b = (network(faces)["logit"].numpy() for network in (before, after))
    assert 0 < np.abs(a - b).max() < 2e-3


def test_packing_again_changes_no_bit_and_keeps_the_figures(write_records, tmp_path: Path) -> None:
    records = write_records(ENOUGH)
    first = packed.pack(finished_run(tmp_path / "run", records), tmp_path / "first")
    evaluate.evaluate(first)
    second = packed.pack(first, tmp_path / "second")
    names = ("weights.npz", "config.yaml", "data.json", "calibration.json")
    for name in (*names, "evaluation/test-turbo.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name
    hashes = json.loads((second.folder / packed.HASHES).read_text())
    assert set(hashes) == {*names, "evaluation/test-turbo.json"}
    # The card needs the records no more.
    card = source.load(first.folder).card
    shutil.rmtree(records)
    assert source.load(second.folder).card.data == card.data
    assert card.data is not None and card.data.faces == {"val": 24, "test": 24}
    assert source.load(second.folder).card.calibration == card.calibration is not None


def test_it_is_exported_and_trained_on_from(made: Run, tmp_path: Path) -> None:
    export.export(made.folder, tmp_path / "out")
    faces = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    expected = made.load_network()(faces)["logit"].numpy()
    served = load_export(tmp_path / "out").logits(faces)
    np.testing.assert_allclose(served, expected, atol=1e-5)
    with pytest.raises(UsageError, match="is packed and has one kind, not 'best'"):
        export.export(made.folder, tmp_path / "out", weights="best")


@pytest.mark.parametrize("name", ["weights.npz", "config.yaml"])
def test_a_damaged_file_is_named(made: Run, name: str) -> None:
    path = made.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: SHA-256 differs from the one in hashes.json"):
        made.load_network()


def test_weights_of_another_network_are_refused_by_name(made: Run, tmp_path: Path) -> None:
    other = finished_run(
        tmp_path / "other", tmp_path / "none", model={"detector": "mesoinception4"}
    )
    foreign = packed.pack(other, tmp_path / "foreign")
    shutil.copy(foreign.packed_weights, made.packed_weights)
    hash_anew(made, "weights.npz")
    with pytest.raises(DataError, match=r"conv1/kernel:0: expected \(3, 3, 3, 8\), got"):
        made.load_network()


def test_a_pickle_in_place_of_an_array_is_not_run(made: Run) -> None:
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("executed",))

    held = dict(np.load(made.packed_weights))
    first = next(iter(held))
    held[first] = np.array([Bomb()], object)
    np.savez(made.packed_weights, **held)
    hash_anew(made, "weights.npz")
    with pytest.raises(DataError, match=r"weights.npz: .*allow_pickle=False"):
        made.load_network()


def test_a_folder_that_holds_something_is_not_written_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="OUT: expected a new or empty folder"):
        pack.main([str(run.folder), str(tmp_path)])
