"""Checkpoints: whole or not there, checked before use, bounded on disk."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as keras

import tfforensics  # noqa: F401  (before TensorFlow: it says which Keras)
from tfforensics import checkpoint
from tfforensics.checkpoint import CheckpointError, CheckpointStore
from tfforensics.command import UsageError

FILES = ["manifest.json", "meta.json", "state.data-00000-of-00001", "state.index"]


def objects(size: int = 4, value: float = 0.0) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        weights=tf.Variable(tf.fill([size], value)), count=tf.Variable(0, dtype=tf.int64)
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def save(store: CheckpointStore, step: int, *, best: bool = False, size: int = 4) -> Path:
    return store.save(objects(size, float(step)), {"at": step}, step=step, best=best)


def restored(store: CheckpointStore) -> int:
    """The step whose variables and meta are restored, which must agree."""
    state = objects()
    meta = store.restore(state)
    assert meta is not None
    assert state.weights.numpy().tolist() == [float(meta["at"])] * 4
    return meta["at"]


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


def test_a_checkpoint_is_a_folder_with_a_manifest(store: CheckpointStore) -> None:
    folder = save(store, 500, best=True)
    assert folder.name == "step-00000500"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["schema"], manifest["step"], manifest["best"]) == (1, 500, True)
    assert sorted(manifest["files"]) == FILES[1:]
    assert manifest["files"]["meta.json"] == {
        "size": 11,  # {"at": 500}
        "sha256": "27c75e53ef908d0b62b5332f9fb1358b509734011a82e2da66f985024250ce2e",
    }


def test_nothing_to_restore(store: CheckpointStore) -> None:
    assert store.restore(objects()) is None
    assert store.restore_best(objects()) is None
    assert store.steps() == []
    assert store.best_step() is None


def test_restores_the_newest_and_the_best(store: CheckpointStore) -> None:
    save(store, 500)
    save(store, 1000, best=True)
    save(store, 1500)
    assert restored(store) == 1500
    state = objects()
    assert store.restore_best(state) == {"at": 1000}
    assert state.weights.numpy().tolist() == [1000.0] * 4


def test_the_newest_and_the_best_stay(store: CheckpointStore) -> None:
    seen = []
    for step, best in [(1, False), (2, True), (3, False), (4, False), (5, True), (6, False)]:
        save(store, step, best=best)
        seen.append(store.steps())
    assert seen == [[1], [1, 2], [2, 3], [2, 3, 4], [4, 5], [5, 6]]


@pytest.mark.parametrize(("keep", "expected"), [(1, [2, 6]), (3, [2, 4, 5, 6])])
def test_keep(tmp_path: Path, keep: int, expected: list[int]) -> None:
    store = CheckpointStore(tmp_path, keep=keep)
    for step in range(1, 7):
        save(store, step, best=step == 2)
    assert store.steps() == expected


def test_keep_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keep: expected at least 1 checkpoint, got 0"):
        CheckpointStore(tmp_path, keep=0)


def test_a_step_saved_again_is_the_newer_one(store: CheckpointStore) -> None:
    save(store, 500)
    store.save(objects(value=7.0), {"at": 7}, step=500, best=True)
    assert names(store) == ["step-00000500", "step-00000500.2"]
    assert restored(store) == 7
    save(store, 1000)
    assert names(store) == ["step-00000500.2", "step-00001000"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
def test_damage_is_named_and_the_one_before_is_used(
    store: CheckpointStore, name: str, harm: Callable[[Path], None], caplog: Any
) -> None:
    if (name, harm) == ("manifest.json", flip):
        pytest.skip("a manifest is not signed: a flipped bit of it may be a harmless one")
    save(store, 500)
    harm(save(store, 1000) / name)
    with caplog.at_level(logging.WARNING):
        assert restored(store) == 500
    assert f"step-00001000 is damaged ({name}: " in caplog.text
    assert caplog.text.count("\n") == 1


def test_every_one_damaged(store: CheckpointStore) -> None:
    for step in (500, 1000):
        truncate(save(store, step) / "state.index")
    with pytest.raises(CheckpointError, match=r"every checkpoint .*step-00000500, step-00001000"):
        store.restore(objects())


def test_a_damaged_best_is_an_error(store: CheckpointStore) -> None:
    truncate(save(store, 500, best=True) / "state.index")
    save(store, 1000)
    with pytest.raises(CheckpointError, match=r"step-00000500: damaged \(state.index: expected"):
        store.restore_best(objects())


def test_damaged_ones_go_with_the_next_save(store: CheckpointStore) -> None:
    save(store, 500)
    truncate(save(store, 1000) / "meta.json")
    assert restored(store) == 500
    save(store, 700)
    assert store.steps() == [500, 700]


def test_a_newer_schema_is_an_error_and_not_damage(store: CheckpointStore) -> None:
    save(store, 500)
    manifest = save(store, 1000) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(UsageError, match=r"step-00001000: written by a newer version .*schema 2"):
        store.restore(objects())


@pytest.mark.parametrize(
    "other",
    [
        {"weights": [0.0] * 5, "count": 0},
        {"weights": [0.0] * 4},
        {"weights": [0.0] * 4, "count": 0, "bias": 0.0},
    ],
    ids=["another shape", "one less", "one more"],
)
def test_another_model_is_refused(store: CheckpointStore, other: dict[str, Any]) -> None:
    save(store, 500)
    dtypes = {"count": tf.int64}
    variables = {n: tf.Variable(v, dtype=dtypes.get(n, tf.float32)) for n, v in other.items()}
    with pytest.raises(UsageError, match="step-00000500: holds another model than") as error:
        store.restore(tf.train.Checkpoint(**variables))
    assert "\n" not in str(error.value)


def test_a_part_can_be_restored(store: CheckpointStore) -> None:
    save(store, 500)
    part = tf.train.Checkpoint(weights=tf.Variable([0.0] * 4))
    assert store.restore(part, partial=True) == {"at": 500}
    assert part.weights.numpy().tolist() == [500.0] * 4


class Killed(BaseException):
    """Leaves everything as it is, as a kill does."""


# Opens, syncs, renames and removals of a save that replaces an older checkpoint.
MOMENTS = range(1, 14)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment(
    store: CheckpointStore, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, 1, best=True)
    save(store, 2)
    save(store, 3)
    count = 0

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def maybe_killed(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == moment:
                raise Killed
            return function(*arguments, **more)

        return maybe_killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync", counting(checkpoint.sync))
        for name in ("mkdir", "write_text", "rename"):
            patch.setattr(Path, name, counting(getattr(Path, name)))
        patch.setattr(shutil, "rmtree", counting(shutil.rmtree))
        try:
            save(store, 4)
        except Killed:
            pass
        else:
            assert moment == MOMENTS[-1]  # then all moments were tried
    after = CheckpointStore(store.directory)
    newest = restored(after)
    assert newest in (3, 4)
    assert len(names(after)) <= 2 + 1 + 1
    save(after, 5)
    assert names(after) == ["step-00000001", f"step-{newest:08d}", "step-00000005"]


def test_size_is_known_beforehand(store: CheckpointStore) -> None:
    model = keras.Sequential([keras.layers.Dense(100, input_shape=(1000,))])
    for optimizer in (
        keras.optimizers.Adam(),
        keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(momentum=0.9)),
        keras.optimizers.legacy.Adam(),
    ):
        model.compile(optimizer, "mse")
        model.fit(tf.zeros([4, 1000]), tf.zeros([4, 100]), verbose=0)
        state = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        folder = store.save(state, {}, step=1, best=False)
        written = (folder / "state.data-00000-of-00001").stat().st_size
        assert checkpoint._size(state) == pytest.approx(written, rel=0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_an_almost_full_disk_is_seen_before_writing(small_disk: Path) -> None:
    store = CheckpointStore(small_disk)
    save(store, 1, size=500_000)  # 2 MB
    (small_disk / "ballast").write_bytes(bytes(2_000_000))
    with pytest.raises(
        CheckpointError,
        match=r"step 2 was not saved \(it needs 3\.0 MB and the disk has [12]\.\d MB left\); "
        r"the last good one is of step 1",
    ):
        save(store, 2, size=500_000)
    assert names(store) == ["ballast", "step-00000001"]


def test_a_disk_that_fills_up_while_writing(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(small_disk)
    save(store, 1)
    # Another program takes the room between the look and the writing.
    monkeypatch.setattr(checkpoint, "_size", lambda state: 0)
    with pytest.raises(CheckpointError, match=r"step 2 was not saved .* good one is of step 1"):
        save(store, 2, size=2_000_000)
    assert names(store) == ["step-00000001"]
    assert restored(store) == 1


def test_a_write_that_fails(store: CheckpointStore) -> None:
    save(store, 1)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(CheckpointError, match="step 2 was not saved") as error:
            save(store, 2, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "\n" not in str(error.value)
    assert names(store) == ["step-00000001"]
    assert restored(store) == 1


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/checkpoints: cannot write here \(Not a directory"):
        save(CheckpointStore(tmp_path / "file" / "checkpoints"), 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match=r"cannot write here \(Permission denied"):
        save(CheckpointStore(tmp_path), 1)
