"""The record writer on real videos: same bytes however it was run, and bad input counted."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from videos import grey_steps, person, scene, write_video

from tfforensics import example, jpeg, manifest

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}


def talking(seed: int, frames: int = 6) -> list[np.ndarray]:
    """A drawn person who moves a little, on a busy background."""
    someone = person(seed)
    return [scene([someone], [(180 + 4 * t, 60 + 2 * t)], seed=seed) for t in range(frames)]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs in train, one in test: originals and one manipulation."""
    root = tmp_path_factory.mktemp("ffpp")
    real = root / "original_sequences/youtube/c23/videos"
    fake = root / "manipulated_sequences/Deepfakes/c23/videos"
    real.mkdir(parents=True)
    fake.mkdir(parents=True)
    for seed, (first, second) in enumerate([("001", "870"), ("002", "006"), ("000", "003")]):
        for turn, (target, source) in enumerate([(first, second), (second, first)]):
            write_video(real / f"{target}.mp4", talking(2 * seed + turn))
            write_video(fake / f"{target}_{source}.mp4", talking(10 + 2 * seed + turn))
    return root


def command_line(root: Path, out: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "tfforensics.records", "--root", str(root), "--out", str(out)]
    small = ["--frames", "3", "--size", "64", "--levels", "c0", "c40", "--encoder", "turbo"]
    return [*program, *small, *options]


def records(root: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(root, out, *options),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def hashes(out: Path) -> dict[str, str]:
    shards = manifest.load(out).shards
    assert not manifest.find_damage(out, shards)
    assert sorted(s.path for s in shards) == sorted(
        str(p.relative_to(out)) for p in out.rglob("*.tfrecord")
    )
    assert not list(out.rglob("*.partial"))
    return {shard.path: shard.sha256 for shard in shards}


@pytest.fixture(scope="module")
def built(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("records") / "one"
    done = records(media, out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "real            train        4       12       12  0" in done.stdout
    return out


def test_a_record_holds_what_it_says(built: Path) -> None:
    import tensorflow as tf

    done = manifest.load(built)
    assert done.levels == ("c0", "c40")
    shard = next(s for s in done.select("test", "c0") if s.manipulation == "Deepfakes")
    faces = [
        example.deserialise(r.numpy()) for r in tf.data.TFRecordDataset(str(built / shard.path))
    ]
    expected = [(clip, frame) for clip in ("000_003", "003_000") for frame in (1, 3, 5)]
    assert [(face.clip, face.frame) for face in faces] == expected
    for face in faces:
        assert (face.label, face.manipulation, face.split) == (1, "Deepfakes", "test")
        assert (face.target, face.source) == tuple(face.clip.split("_"))
        assert (face.level, face.encoder, face.source_compression) == ("c0", "turbo", "c23")
        pixels = jpeg.decode(face.encoded)
        assert pixels.shape == (64, 64, 3) and pixels.std() > 20
        x, y, width, height = face.box
        # The drawn face fills about half of a portrait of 256 pixels, the square 1.3 of it.
        assert width == height and 90 < width < 260 and 100 < x < 400 and 0 < y < 300


def test_a_stored_level_is_the_canonical_crop_compressed(built: Path) -> None:
    import tensorflow as tf

    by_level = {
        level: [
            example.deserialise(r.numpy())
            for shard in manifest.load(built).select("train", level)
            for r in tf.data.TFRecordDataset(str(built / shard.path))
        ]
        for level in ("c0", "c40")
    }
    assert len(by_level["c0"]) == len(by_level["c40"]) == 24
    for canonical, stored in zip(by_level["c0"], by_level["c40"], strict=True):
        assert (canonical.clip, canonical.frame) == (stored.clip, stored.frame)
        pixels = tf.constant(jpeg.decode(canonical.encoded))
        made = jpeg.degrade_in_graph(pixels, tf.constant(60)).numpy()
        assert np.array_equal(made, jpeg.decode(stored.encoded))
        in_graph = jpeg.decode_in_graph(tf.constant(stored.encoded)).numpy()
        assert np.array_equal(in_graph, jpeg.decode(stored.encoded))


@pytest.mark.slow
@pytest.mark.promise
def test_two_workers_write_the_same_bytes(media: Path, built: Path, tmp_path: Path) -> None:
    done = records(media, tmp_path / "two", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert hashes(tmp_path / "two") == hashes(built)


@pytest.mark.slow
@pytest.mark.promise
def test_killed_at_any_moment_and_resumed(media: Path, built: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    draw = random.Random(0)
    kills = 0
    while kills < 3:
        with subprocess.Popen(
            command_line(media, out, "--workers", "2"), env=ENVIRONMENT, start_new_session=True
        ) as process:
            # Once the first part is written, at any moment of the rest.
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                if kills == 0 or len(list(out.rglob("*.tfrecord"))) >= 2:
                    time.sleep(draw.uniform(0, 3))
                    break
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
        kills += 1
    done = records(media, out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert hashes(out) == hashes(built)


def test_what_is_missing_is_made_again_and_nothing_else(
    media: Path, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(built, out)
    before = hashes(out)
    lost = sorted(before)[0]
    (out / lost).unlink()
    kept = {path: (out / path).stat().st_mtime_ns for path in before if path != lost}
    same_part = lost.replace("/c0/", "/c40/")
    done = records(media, out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert hashes(out) == before
    for path, time_written in kept.items():
        assert (path == same_part) or (out / path).stat().st_mtime_ns == time_written


def test_other_settings_are_refused(media: Path, built: Path) -> None:
    refused = records(media, built, "--size", "96")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"python -m tfforensics.records: --out: {built} was written with size 64, not 96; "
        "name another folder\n"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--margin", "9"], "--margin: expected 1 to 3, got 9.0"),
        (["--size", "5"], "--size: expected 32 to 1024 pixels, got 5"),
        (["--frames-for", "Nobody=3"], "expected one of Deepfakes, real, got 'Nobody'"),
        (["--frames-for", "Deepfakes"], "expected NAME=N, e.g. NeuralTextures=64"),
        (["--workers", "0"], "expected a whole number of at least 1, got '0'"),
        (["--levels", "c1"], "invalid choice: 'c1'"),
    ],
)
def test_a_mistake_is_one_line(media: Path, tmp_path: Path, options: list[str], named: str) -> None:
    done = records(media, tmp_path / "out", *options)
    assert done.returncode == 2
    assert named in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made(media: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = records(media, tmp_path / "file/out")
    assert done.returncode == 2
    assert "cannot write here" in done.stderr and done.stderr.count("\n") == 1


def test_bad_media_are_counted_with_their_reasons(tmp_path: Path) -> None:
    root = tmp_path / "media"
    for name in ("real", "swap"):
        (root / name).mkdir(parents=True)
    good = write_video(root / "real/anna.mp4", talking(1))
    shutil.copy(good, root / "swap/anna_bert.mp4")
    whole = good.read_bytes()
    (root / "real/cut.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "real/empty.mp4").write_bytes(b"")
    (root / "real/text.mp4").write_text("no video at all\n" * 50)
    write_video(root / "real/faceless.mp4", grey_steps(5))
    write_video(root / "real/short.mp4", talking(2, frames=1))
    cv2.imwrite(str(root / "real/still.png"), talking(3)[0][..., ::-1])
    (root / "real/notes.pdf").write_bytes(b"%PDF")

    out = tmp_path / "out"
    done = records(root, out, "--layout", "folders", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    reports = {clip.name: clip for clip in manifest.load(out).clips if clip.manipulation == "real"}
    assert reports["anna"].found == 3 and not reports["anna"].skipped
    assert reports["short"].found == 1 and reports["still"].found == 1
    assert reports["faceless"].skipped == {"no-face": 3}
    for name, reason in (("empty", "empty-file"), ("text", "not-a-video")):
        assert reports[name].skipped == {reason: 3} and reports[name].found == 0
    assert reports["cut"].found == 0 and sum(reports["cut"].skipped.values()) == 3
    for report in reports.values():
        assert report.asked == report.found + sum(report.skipped.values())
    assert any("notes.pdf" in note for note in manifest.load(out).notes)


def test_an_identity_in_two_splits_is_an_error(tmp_path: Path) -> None:
    from tfforensics.clips import Clip, Listing
    from tfforensics.command import DataError
    from tfforensics.manifest import Settings
    from tfforensics.record_folder import build

    clips = tuple(
        Clip("real", f"c{i}", tmp_path, s, "ann") for i, s in enumerate(("train", "test"))
    )
    with pytest.raises(DataError, match="identity ann is in train and test"):
        build(Listing(clips), tmp_path / "out", Settings(), workers=1)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A file system of 300 kB; where it cannot be mounted, the test skips."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_in_one_line_and_breaks_nothing(media: Path, tiny_disk: Path) -> None:
    out = tiny_disk / "records"
    done = records(media, out, "--workers", "1", "--size", "320")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(out) in done.stderr.splitlines()[-1]
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob("*.partial"))
    # Whatever has its name is whole: its own report says so.
    for part in (out / ".parts").glob("*.json"):
        for shard in json.loads(part.read_text())["shards"]:
            assert manifest.sha256_of(out / shard["path"]) == shard["sha256"]
    subprocess.run(["mount", "-o", "remount,size=30m", str(tiny_disk)], check=True)
    done = records(media, out, "--workers", "1", "--size", "320")
    assert done.returncode == 0, done.stderr
    assert len(hashes(out)) == 8


@pytest.mark.slow
def test_a_workers_memory_stays_flat(media: Path, tmp_path: Path) -> None:
    """Under 1.5 GB, and no more for many clips than for few."""
    root = tmp_path / "many"
    (root / "real").mkdir(parents=True)
    (root / "swap").mkdir()
    source = next(media.rglob("001.mp4"))
    for number in range(160):
        kind = "real" if number % 2 else "swap"
        (root / kind / f"p{number}.mp4").symlink_to(source)
    process = subprocess.Popen(
        command_line(root, tmp_path / "out", "--layout", "folders", "--workers", "1"),
        env=ENVIRONMENT,
    )
    seen: list[tuple[int, int]] = []
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        parts = len(list((tmp_path / "out/.parts").glob("*.json")))
        sizes = [child.memory_info().rss for child in watched.children(recursive=True)]
        seen.append((parts, max(sizes, default=0)))
        time.sleep(0.2)
    assert process.returncode == 0
    early = max(size for parts, size in seen if parts <= 6)
    late = max(size for parts, size in seen if parts > 6)
    assert late < 1.5e9
    assert late < 1.1 * early
