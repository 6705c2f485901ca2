"""Runs and exports in object storage, against an S3-compatible server on loopback."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from judged import finished_run
from object_store import environment, needs_io, objects, upload
from test_train import settings

from tfforensics import configfile, export, lock, mirror, storage
from tfforensics.command import DataError, UsageError
from tfforensics.mirror import Mirror
from tfforensics.serving import measure, publish
from tfforensics.storage import Remote

pytestmark = pytest.mark.io


def keys(client: Any, place: Remote) -> set[str]:
    """What another client sees below a folder."""
    below = str(place).split("/", 3)[3] + "/"
    found = objects(client, place)
    return {key.removeprefix(below) for key in found if key.startswith(below)}


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def owned(bucket: Remote, tmp_path: Path) -> Mirror:
    """A mirror of an empty folder, this process its writer."""
    mine = Mirror(bucket, tmp_path / "copy")
    mine.fetch()
    mine.own()
    return mine


@needs_io
def test_what_changes_is_put_and_what_goes_is_removed(
    owned: Mirror, client: Any, tmp_path: Path
) -> None:
    folder, place = owned.folder, owned.place
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/one").write_bytes(b"1" * 1000)
    (folder / "two").write_bytes(b"2")
    (folder / ".lock").write_text("of this machine")
    (folder / "a/.saving-1").mkdir()
    (folder / "a/.saving-1/half").write_bytes(b"half")
    owned.publish()
    assert keys(client, place) == {mirror.INDEX, "a/b/one", "two"}
    first = objects(client, place)

    (folder / "two").write_bytes(b"22")
    (folder / "a/b/one").unlink()
    (folder / "three").write_bytes(b"3")
    owned.publish()
    assert keys(client, place) == {mirror.INDEX, "two", "three"}
    owned.publish()
    last = objects(client, place)
    assert last["faces/two"]["ETag"] != first["faces/two"]["ETag"]

    with mirror.copy_of(place) as read:
        read.fetch()
        assert read.folder.name == "faces"
        assert contents(read.folder) == {"two": b"22", "three": b"3"}
    assert not read.folder.exists()


@needs_io
def test_unchanged_files_are_not_put_again(owned: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    (owned.folder / "old").write_bytes(b"old")
    owned.publish()
    (owned.folder / "new").write_bytes(b"new")
    put: list[str] = []
    as_it_is = Remote.put
    monkeypatch.setattr(Remote, "put", lambda at, file: (put.append(at.name), as_it_is(at, file)))
    owned.publish()
    assert put == ["new", mirror.INDEX]


@needs_io
def test_a_publish_that_was_cut_short_is_not_there(
    owned: Mirror, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (owned.folder / "step-1").mkdir()
    (owned.folder / "step-1/state").write_bytes(b"1")
    owned.publish()
    shutil.rmtree(owned.folder / "step-1")
    (owned.folder / "step-2").mkdir()
    (owned.folder / "step-2/state").write_bytes(b"2")
    (owned.folder / "step-2/manifest.json").write_bytes(b"{}")

    def cut(place: Remote, file: Path) -> None:
        if place.name == "manifest.json":
            time.sleep(1)  # the other is put meanwhile
            raise OSError("cut")
        put(place, file)

    put = Remote.put
    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"^cut$"):
        patch.setattr(Remote, "put", cut)
        owned.publish()
    assert keys(client, owned.place) == {mirror.INDEX, "step-1/state", "step-2/state"}
    with mirror.copy_of(owned.place) as read:
        read.fetch()
        assert contents(read.folder) == {"step-1/state": b"1"}
        read.own()
    assert keys(client, owned.place) == {mirror.INDEX, "step-1/state"}


@needs_io
def test_who_opens_it_last_has_it(owned: Mirror, client: Any, tmp_path: Path) -> None:
    other = Mirror(owned.place, tmp_path / "other")
    other.fetch()
    other.own()
    (owned.folder / "late").write_bytes(b"late")
    with pytest.raises(DataError, match=r"faces: taken over meanwhile \(by process \d+ on "):
        owned.publish()
    assert keys(client, owned.place) == {mirror.INDEX}
    (other.folder / "in time").write_bytes(b"in time")
    other.publish()
    assert keys(client, owned.place) == {mirror.INDEX, "in time"}


@needs_io
def test_what_is_published_while_it_is_fetched_is_fetched_anew(
    owned: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (owned.folder / "step-1").write_bytes(b"1")
    (owned.folder / "metrics").write_bytes(b"of 1")
    owned.publish()
    read_bytes, later = Remote.read_bytes, iter(["step-2"])

    def read(place: Remote) -> bytes:
        if place.name == "step-1" and (name := next(later, None)):
            (owned.folder / "step-1").unlink()
            (owned.folder / name).write_bytes(b"2")
            (owned.folder / "metrics").write_bytes(b"of 2")
            owned.publish()
        return read_bytes(place)

    monkeypatch.setattr(Remote, "read_bytes", read)
    with mirror.copy_of(owned.place) as other:
        other.fetch()
        assert contents(other.folder) == {"step-2": b"2", "metrics": b"of 2"}


@needs_io
def test_a_folder_that_another_tool_brought_is_taken_as_it_is(
    bucket: Remote, tmp_path: Path
) -> None:
    (tmp_path / "here/a").mkdir(parents=True)
    (tmp_path / "here/a/b").write_bytes(b"b")
    upload(tmp_path / "here", bucket)
    with mirror.copy_of(bucket) as read:
        read.fetch()
        assert contents(read.folder) == contents(tmp_path / "here")
    (bucket / mirror.INDEX).write_bytes(b"[]")
    with pytest.raises(DataError, match=rf"{mirror.INDEX}: cannot be read: TypeError"):
        Mirror(bucket, tmp_path / "copy").fetch()


def test_copies_of_killed_processes_are_removed_and_those_of_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFFORENSICS_CACHE", str(tmp_path))
    program = """
import os, signal, sys
from tfforensics import mirror
with mirror.scratch() as folder:
    (folder / "file").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], env=environment(), **pipes) as other:
        assert other.stdout is not None and other.stdin is not None
        folder = Path(other.stdout.readline().strip())
        with mirror.scratch() as mine:
            assert (folder / "file").is_file() and mine.parent == folder.parent
        other.stdin.write("\n")
        other.stdin.flush()
        other.wait()
    assert other.returncode == -signal.SIGKILL and (folder / "file").is_file()
    with mirror.scratch() as mine:
        assert not folder.exists()
        with pytest.raises(UsageError, match="is writing here"), lock.hold(mine):
            pass


# Trains, and is killed as it is about to put its Nth object.
KILLED = """
import itertools, os, signal, sys
from tfforensics import train
from tfforensics.storage import Remote
at, put, count = int(sys.argv.pop()), Remote.put, itertools.count(1)
def put_or_die(place, file):
    if next(count) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    put(place, file)
Remote.put = put_or_die
train.main()
"""


def trained(*program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program], env=environment(), capture_output=True, text=True, check=False
    )


@needs_io
def test_trained_and_killed_there_and_resumed_elsewhere_it_is_the_run_on_disk(
    bucket: Remote, client: Any, write_records: Any, tmp_path: Path
) -> None:
    counts = {"train": 12, "val": 6, "test": 6}
    records = write_records({(m, s): n for m in ("real", "A") for s, n in counts.items()})
    root, disk = Remote(bucket.address.rsplit("/", 1)[0]), tmp_path / "it"
    upload(records, root / "records")
    place = root / "runs/it"
    file = tmp_path / "config.yaml"
    one_level = {"train": {"validate_levels": ["c0"]}, "evaluation": {"levels": ["c0"]}}
    file.write_text(yaml.safe_dump(configfile.to_dict(settings(records, **one_level))))
    program = ("-m", "tfforensics.train", "--config", str(file))
    done = trained(*program, "--workdir", str(disk))
    assert done.returncode == 0, done.stderr

    there = ("--data.records", f"{root}/records", "--workdir", str(place))
    killed = trained("-c", KILLED, *program[2:], *there, "17")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = json.loads((place / mirror.INDEX).read_text())["files"]
    assert any("checkpoints/step-" in name for name in left) and "metrics.json" not in left
    shutil.rmtree(tmp_path / "cache")  # another machine goes on
    again = trained(*program, *there)
    assert again.returncode == 0, again.stderr
    assert f"{place}: going on from step" in again.stderr
    assert [p.name for p in (tmp_path / "cache/copies").iterdir()] == [".lock"]

    found = {name: (place / name).read_bytes() for name in keys(client, place)}
    on_disk = contents(disk)
    of_events = [name for name in {**found, **on_disk} if name.startswith("tensorboard/")]
    assert len(of_events) > 1
    assert {*found} - {mirror.INDEX, *of_events} == {*on_disk} - {*of_events}
    figures, expected = (json.loads(files["metrics.json"]) for files in (found, on_disk))
    figures["test"].pop("records"), expected["test"].pop("records")
    assert figures == expected
    for name, content in on_disk.items():
        if name.startswith("checkpoints/"):
            assert found[name] == content, name


@needs_io
def test_exported_there_it_is_the_export_on_disk(
    bucket: Remote, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfforensics.serving.exported import load_export

    monkeypatch.setattr(measure, "_SECONDS", 0.0)
    run = finished_run(tmp_path / "run", tmp_path / "none").folder
    export.export(run, tmp_path / "out")
    upload(run, bucket / "run")
    order: list[str] = []
    put = Remote.put
    monkeypatch.setattr(Remote, "put", lambda at, file: (order.append(at.address), put(at, file)))
    with pytest.raises(UsageError, match=rf"{bucket}/out: expected what .* found no version there"):
        publish.resolve(bucket / "out")
    (bucket / "out/1/assets/half").write_bytes(b"")  # what a killed one left
    assert publish.versions(bucket / "out") == []
    made = export.export(bucket / "run", bucket / "out")
    assert str(made.folder) == f"{bucket}/out/1"
    of_version = [name for name in order if name.startswith(f"{bucket}/out/1/")]
    assert of_version[-1].endswith("/saved_model.pb")
    with mirror.copy_of(bucket / "out") as copy:
        copy.fetch()
        assert contents(copy.folder) == contents(tmp_path / "out")

    assert export.export(bucket / "run", bucket / "out").folder.name == "2"
    assert publish.versions(bucket / "out") == [1, 2]
    export.main(["--verify", str(bucket / "out")])
    card = load_export(bucket / "out").card
    assert card == load_export(tmp_path / "out").card
    (bucket / "out/2/saved_model.pb").write_bytes(b"another program")
    (line,) = export.verify(bucket / "out")
    assert line.startswith(f"{bucket}/out/2/saved_model.pb: SHA-256 differs")
    with pytest.raises(DataError, match=r"saved_model\.pb: SHA-256 differs"):
        load_export(bucket / "out")


@needs_io
def test_a_bucket_that_vanishes_ends_training_in_one_line(
    bucket: Remote, client: Any, write_records: Any, tmp_path: Path
) -> None:
    counts = {"train": 12, "val": 6, "test": 6}
    records = write_records({(m, s): n for m in ("real", "A", "B") for s, n in counts.items()})
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configfile.to_dict(settings(records))))
    # Gone as the first checkpoint is in place.
    program = f"""
import boto3, os
from tfforensics import checkpoint, train
s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT"], region_name="us-east-1")
prune, bucket = checkpoint.CheckpointStore._prune, "{str(bucket).split("/")[2]}"
def vanish(store):
    prune(store)
    for item in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=item["Key"])
    s3.delete_bucket(Bucket=bucket)
checkpoint.CheckpointStore._prune = vanish
from tfforensics import command
command.run(train.main, "python -m tfforensics.train")
"""
    done = trained("-c", program, "--config", str(file), "--workdir", str(bucket))
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"python -m tfforensics.train: {bucket}"), done.stderr
    assert "Traceback" not in done.stderr and "pure virtual" not in done.stderr


@needs_io
def test_missing_credentials_are_told_before_training(
    refusing: str, write_records: Any, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(configfile.to_dict(settings(tmp_path / "none"))))
    done = trained("-m", "tfforensics.train", "--config", str(file), "--workdir", "s3://bucket/run")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "python -m tfforensics.train: --workdir: expected a folder that these credentials may "
        "write, got s3://bucket/run/.probe/empty: AccessDenied"
    )


def test_there_is_no_new_name_for_a_run_in_object_storage() -> None:
    from tfforensics import workdir

    with pytest.raises(UsageError, match=r"^--fresh: expected a --workdir on this machine, got s3"):
        workdir.set_aside(storage.Remote("s3://b/run"))


@needs_io
@pytest.mark.slow
def test_two_workers_go_on_from_there(bucket: Remote, write_records: Any, tmp_path: Path) -> None:
    from test_multi_worker import both

    counts = {"train": 12, "val": 6, "test": 6}
    records = write_records({(m, s): n for m in ("real", "A") for s, n in counts.items()})
    file = tmp_path / "config.yaml"
    small = {"train": {"validate_levels": ["c0"]}, "evaluation": {"levels": ["c0"]}}
    for steps in (6, 12):
        small["train"]["steps"] = steps  # type: ignore[assignment]
        file.write_text(yaml.safe_dump(configfile.to_dict(settings(records, **small))))
        program = ["-m", "tfforensics.train", "--config", str(file), "--workdir", str(bucket)]
        chief, other = both([*program, "--override-resume"], [*program, "--override-resume"])
        assert (chief[0], other[0]) == (0, 0), chief[2] + other[2]
    assert f"{bucket}: going on from step 6 of 12" in chief[2]
    figures = json.loads((bucket / "metrics.json").read_text())
    assert [epoch["step"] for epoch in figures["history"]] == [5, 6, 10, 12]
