"""Records in object storage, against an S3-compatible server on loopback.

What needs tensorflow-io runs in the environment of the extra io alone (`make test-io`).
"""

# ruff: noqa: F811
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from object_store import HAS_IO, environment, needs_io, objects, upload
from test_records import command_line, hashes, media  # noqa: F401

from tfforensics import manifest, staging, storage
from tfforensics.command import ArgumentTypeError, DataError, UsageError
from tfforensics.storage import Remote

needs_none = pytest.mark.skipif(HAS_IO, reason="tensorflow-io is installed")


def run(program: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program, env=environment(), capture_output=True, text=True, check=False)


def test_a_folder_on_this_machine_is_a_path() -> None:
    assert storage.folder("records/demo", "--out") == Path("records/demo")
    assert staging.local("records/demo") == Path("records/demo")
    assert storage.here("records/demo") == Path("records/demo")
    with pytest.raises(ArgumentTypeError, match="path on this machine, got s3://b/run"):
        storage.here("s3://b/run")


@pytest.mark.parametrize("place", ["http://b/faces", "s3://b", "s3://b/", "s3:///faces"])
def test_other_addresses_are_refused(place: str) -> None:
    with pytest.raises(UsageError, match=f"^--out: expected a folder, or .*got {place}$"):
        storage.folder(place, "--out")


@needs_none
def test_without_tensorflow_io_the_extra_is_named() -> None:
    done = run([sys.executable, "-m", "tfforensics.records", "--root", ".", "--out", "s3://b/x"])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--out: s3://b/x needs tensorflow-io, which the extra io has" in done.stderr
    with pytest.raises(UsageError, match=r"data\.records: gs://b/x needs tensorflow-io"):
        staging.local("gs://b/x")
    assert staging.find("s3://b/x") is None and staging.find_manifest("s3://b/x") is None


def test_an_endpoint_that_does_not_answer_is_named() -> None:
    with pytest.raises(UsageError, match=r"^S3_ENDPOINT: nothing answers at http://127\.0\."):
        storage._check("http://127.0.0.1:1")


@needs_io
@pytest.mark.io
def test_objects(bucket: Remote, client: Any, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (bucket / "a/b/c.bin").write_bytes(content)
    assert list(objects(client, bucket)) == ["faces/a/b/c.bin"]
    assert (bucket / "a/b/c.bin").read_bytes() == content
    assert (bucket / "a/b/c.bin").size() == len(content)
    assert (bucket / "a/b/c.bin").is_file() and not (bucket / "a/b/c.bin").is_dir()
    assert bucket.is_dir() and not bucket.is_file()
    assert [str(found) for found in bucket.below(2)] == [f"{bucket}/a/b/c.bin"]
    assert list((bucket / "none").below(0)) == []
    (bucket / "a").remove()
    (bucket / "none").remove()
    assert not objects(client, bucket)
    for refused in (bucket.read_bytes, bucket.size):
        with pytest.raises(OSError, match=rf"^{bucket}: [^\n]+$"):
            refused()
    with pytest.raises(OSError, match=r"^s3://no-such-bucket/x: NoSuchBucket"):
        Remote("s3://no-such-bucket/x").write_bytes(b"x")


@needs_io
@pytest.mark.io
def test_a_process_ends_with_its_own_status_and_says_nothing(bucket: Remote) -> None:
    program = f"""
import sys, tfforensics
from tfforensics.storage import Remote
Remote("{bucket}/x").write_bytes(b"12345")
print(Remote("{bucket}/x").size(), end="")
sys.exit(7)
"""
    done = run([sys.executable, "-c", program])
    assert (done.returncode, done.stdout) == (7, "5"), done.stderr
    assert "pure virtual" not in done.stderr and "terminate" not in done.stderr


@needs_io
@pytest.mark.io
def test_records_are_copied_once_and_checked(
    bucket: Remote, client: Any, write_records: Any
) -> None:
    folder = write_records({("real", "train"): 9, ("A", "train"): 9})
    with pytest.raises(UsageError, match=f"records {bucket}: not there, or not to be read with"):
        staging.local(str(bucket))
    upload(folder, bucket)
    assert staging.find_manifest(str(bucket)) == manifest.load(folder)
    copy = staging.local(str(bucket))
    assert copy.name == "faces"
    assert hashes(copy) == hashes(folder)
    # What is there is not fetched again, what is cut off is; a damaged shard is told.
    first, second = (shard.path for shard in manifest.load(folder).shards[:2])
    (bucket / first).write_bytes(b"damaged")
    staging._copied.cache_clear()
    assert staging.local(str(bucket)) == copy
    (copy / second).write_bytes(b"cut")
    staging._copied.cache_clear()
    assert hashes(staging.local(str(bucket))) == hashes(folder)
    (copy / first).unlink()
    staging._copied.cache_clear()
    with pytest.raises(DataError, match=f"^{bucket}/{first}: SHA-256 differs"):
        staging.local(str(bucket))
    assert not (copy / first).exists()


@needs_io
@pytest.mark.io
def test_written_killed_and_written_again_they_are_those_on_disk(
    media: Path,
    bucket: Remote,
    client: Any,
    tmp_path: Path,
) -> None:
    on_disk = run(command_line(media, tmp_path / "disk", "--workers", "1"))
    assert on_disk.returncode == 0, on_disk.stderr
    place: Any = str(bucket)
    process = subprocess.Popen(
        command_line(media, place, "--workers", "1"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not any(".parts/" in key for key in objects(client, bucket)):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = objects(client, bucket)
    assert "faces/manifest.json" not in before
    notes = [json.loads(note.read_text()) for note in (bucket / ".parts").below(0)]
    noted = [shard for note in notes for shard in note["shards"]]
    assert noted
    with pytest.raises(UsageError, match=r"not finished: run tfforensics\.records again"):
        manifest.load(bucket)
    again = run(command_line(media, place, "--workers", "1"))
    assert again.returncode == 0, again.stderr
    assert again.stdout == on_disk.stdout
    assert "pure virtual" not in again.stderr
    after = objects(client, bucket)
    for shard in noted:  # what was whole was not written again
        key = f"faces/{shard['path']}"
        assert after[key]["LastModified"] == before[key]["LastModified"]
    paths = {shard.path for shard in manifest.load(bucket).shards}
    assert set(after) == {"faces/manifest.json"} | {f"faces/{path}" for path in paths}
    assert hashes(staging.local(place)) == hashes(tmp_path / "disk")


@needs_io
@pytest.mark.io
def test_missing_credentials_are_told_before_the_work(media: Path, refusing: str) -> None:
    place: Any = "s3://bucket/faces"
    done = run(command_line(media, place, "--workers", "1"))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    assert done.stderr.splitlines()[-1].startswith(
        "python -m tfforensics.records: --out: expected a folder that these credentials may write, "
        "got s3://bucket/faces/.probe/empty: AccessDenied"
    )


@needs_io
@pytest.mark.io
def test_a_bucket_that_vanishes_half_way_is_named(
    media: Path,
    bucket: Remote,
    client: Any,
) -> None:
    place: Any = str(bucket)
    process = subprocess.Popen(
        command_line(media, place, "--workers", "1"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any(".parts/" in key for key in objects(client, bucket)):
        assert process.poll() is None
        time.sleep(0.1)
    name = str(bucket).split("/")[2]
    while process.poll() is None:  # it may put one more between the two
        for key in objects(client, bucket):
            client.delete_object(Bucket=name, Key=key)
        try:
            client.delete_bucket(Bucket=name)
            break
        except client.exceptions.ClientError:
            continue
    _, errors = process.communicate()
    last = errors.splitlines()[-1]
    assert process.returncode == 1, errors
    assert last.startswith(f"python -m tfforensics.records: {bucket}") and "Traceback" not in errors
