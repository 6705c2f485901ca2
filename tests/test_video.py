"""Videos: which frames are read, how they are turned, and what a bad file leads to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import grey_steps, turn, write_video

from tfforensics.media import Limits, MediaError
from tfforensics.video import evenly_spaced, open_video, sample_frames

pytestmark = pytest.mark.io

FASTSTART = {"movflags": "faststart"}


def numbers(frames) -> list[tuple[int, int]]:
    """Each frame's index, and the number that `grey_steps` wrote into it."""
    return [(frame.index, round((frame.pixels.mean() - 30) / 6)) for frame in frames]


def reason(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        list(sample_frames(path, 4, limits or Limits()))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.fixture
def steps(tmp_path) -> Path:
    return write_video(tmp_path / "steps.mp4", grey_steps(30))


def test_even_spacing():
    assert evenly_spaced(10, 3) == [1, 5, 8]
    assert evenly_spaced(300, 4) == [37, 112, 187, 262]
    assert evenly_spaced(5, 32) == [0, 1, 2, 3, 4]
    assert evenly_spaced(1, 1) == [0]
    assert evenly_spaced(0, 3) == []
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        evenly_spaced(10, 0)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 300))
def test_even_spacing_is_even(total, count):
    indices = evenly_spaced(total, count)
    assert len(indices) == min(total, count)
    gaps = np.diff([-1 - indices[0], *indices, 2 * total - 1 - indices[-1]])
    assert gaps.max() - gaps.min() <= 2
    assert min(np.diff(indices), default=1) >= 1
    # Played backwards, the same moments, up to rounding.
    mirrored = [total - 1 - index for index in reversed(indices)]
    assert np.abs(np.subtract(indices, mirrored)).max() <= 1


def test_the_frames_that_were_asked_for(steps):
    frames = list(sample_frames(steps, 7))
    assert numbers(frames) == [(n, n) for n in (2, 6, 10, 15, 19, 23, 27)]
    assert frames[0].pixels.shape == (64, 96, 3)
    assert frames[0].pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.avi", "libx264"), ("a.ts", "libx264"),
     ("a.m2ts", "libx264"), ("a.flv", "libx264"), ("a.webm", "libvpx-vp9"),
     ("a.wmv", "wmv2"), ("a.mpg", "mpeg2video")],
)  # fmt: skip
def test_containers(name, codec, tmp_path):
    options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {}
    path = write_video(tmp_path / name, grey_steps(30), codec=codec, options=options)
    misnamed = path.rename(tmp_path / "misnamed.txt")
    found = numbers(sample_frames(misnamed, 5))
    assert [number for _, number in found] == [index for index, _ in found]
    # Some containers only guess at their length.
    assert np.abs(np.subtract([index for index, _ in found], [3, 9, 15, 21, 27])).max() <= 3


def test_colours_are_rgb(tmp_path):
    orange = np.full((64, 64, 3), (230, 120, 20), np.uint8)
    (frame,) = sample_frames(write_video(tmp_path / "orange.mp4", [orange]), 1)
    assert np.abs(frame.pixels.reshape(-1, 3).mean(axis=0) - [230, 120, 20]).max() < 6


def test_one_frame(tmp_path):
    path = write_video(tmp_path / "one.mp4", grey_steps(1))
    assert numbers(sample_frames(path, 32)) == [(0, 0)]


def test_a_short_video_gives_each_frame_once(tmp_path):
    path = write_video(tmp_path / "short.mp4", grey_steps(5))
    assert numbers(sample_frames(path, 32)) == [(n, n) for n in range(5)]


def test_a_stream_without_a_length_is_counted(tmp_path):
    path = write_video(tmp_path / "live.mkv", grey_steps(30), container={"live": "1"})
    with open_video(path) as video:
        assert video.frames == 30
        assert numbers(video.read([0, 29])) == [(0, 0), (29, 29)]
    assert reason(path, Limits(frames=29)) == "too-long"


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_rotation_is_applied(clockwise, tmp_path):
    picture = np.full((64, 96, 3), 128, np.uint8)
    picture[:32, :32] = (250, 20, 20)
    picture[32:, 64:] = (20, 20, 250)
    path = turn(write_video(tmp_path / "phone.mp4", [picture] * 3), clockwise)
    with open_video(path) as video:
        (frame,) = video.read([1])
        assert (video.height, video.width) == frame.pixels.shape[:2]
    expected = np.rot90(picture, -clockwise // 90)
    assert frame.pixels.shape == expected.shape
    assert np.abs(frame.pixels.astype(int) - expected).mean() < 8


def test_two_passes_give_the_same_frames(steps):
    with open_video(steps) as video:
        first = list(video.read([3, 4, 20]))
        second = list(video.read([3, 4, 20]))
    assert numbers(first) == numbers(second) == [(3, 3), (4, 4), (20, 20)]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_frames_do_not_depend_on_threads(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (144, 176, 3), np.uint8) for _ in range(24)]
    path = write_video(tmp_path / "noise.mp4", noise, options={"slices": "4"})
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = [frame.pixels for frame in sample_frames(path, 8)]
        cv2.setNumThreads(4)
        together = [frame.pixels for frame in sample_frames(path, 8)]
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(alone, together)


def test_an_mp4_that_lost_its_index(steps):
    steps.write_bytes(steps.read_bytes()[:-300])
    assert reason(steps) == "truncated"


def test_an_mp4_that_lost_its_end_gives_the_frames_before(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(30)]
    options = {"g": "1", "bf": "0"}
    path = write_video(tmp_path / "cut.mp4", frames, container=FASTSTART, options=options)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with open_video(path) as video:
        assert video.frames == 30
        found = [frame.index for frame in video.read(range(30))]
    assert found == list(range(len(found)))
    assert 14 <= len(found) <= 18
    # Where no wanted frame is left, the file gives nothing.
    with open_video(path) as video, pytest.raises(MediaError) as caught:
        list(video.read([25, 29]))
    assert caught.value.reason == "truncated"


def test_frames_that_are_not_there(steps):
    with open_video(steps) as video, pytest.raises(MediaError) as caught:
        list(video.read([30, 31]))
    assert caught.value.reason == "no-frames"


def test_files_that_are_no_videos(tmp_path):
    def written(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    assert reason(tmp_path / "missing.mp4") == "unreadable"
    assert reason(tmp_path) == "unreadable"
    assert reason(written("empty.mp4", b"")) == "empty-file"
    assert reason(written("text.mp4", b"just text\n" * 100)) == "not-a-video"
    assert reason(written("list.mp4", b"#EXTM3U\n#EXTINF:1,\nother.ts\n")) == "not-a-video"
    assert reason(written("list2.mp4", b"ffconcat version 1.0\nfile other.mp4\n")) == "not-a-video"
    assert reason(written("noise.mp4", b"\0\0\0\x18ftypmp42" + bytes(range(256)))) == "truncated"
    assert reason(written("noise.mkv", b"\x1a\x45\xdf\xa3" + bytes(range(256)))) == "not-a-video"
    assert reason(written("still.mp4", b"\0\0\0\x18ftypavif" + bytes(99))) == "unsupported-format"
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        silence.sample_rate = 44100
        file.mux(stream.encode(silence))
        file.mux(stream.encode(None))
    assert reason(tmp_path / "sound.mp4") == "not-a-video"


def test_limits(steps):
    assert reason(steps, Limits(pixels=64 * 96 - 1)) == "too-large"
    assert reason(steps, Limits(frames=29)) == "too-long"
    assert reason(steps, Limits(seconds=0)) == "too-long"
    assert len(list(sample_frames(steps, 4, Limits(pixels=64 * 96, frames=30)))) == 4


def test_a_name_is_never_taken_for_an_address(steps, monkeypatch):
    monkeypatch.chdir(steps.parent)
    for name in ("file:elsewhere.mp4", "concat:a|b.mp4", "http:x.mp4", "frame%03d.mp4", "-i.mp4"):
        path = Path(name)
        path.write_bytes(steps.read_bytes())
        assert numbers(sample_frames(path, 2)) == [(7, 7), (22, 22)]


def test_bad_files_leave_stderr_and_the_environment_alone(tmp_path):
    """In a process of its own: FFmpeg takes its level from the first video that is opened."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(30)]
    content = bytearray(write_video(tmp_path / "noise.mp4", noise).read_bytes())
    (tmp_path / "cut.mp4").write_bytes(content[:-300])
    (tmp_path / "text.mp4").write_text("text")
    (tmp_path / "hollow.mp4").write_bytes(content[:40])
    for at in rng.integers(len(content) // 10, len(content) * 9 // 10, 60):
        content[at] ^= 255
    (tmp_path / "damaged.mp4").write_bytes(content)
    script = f"""
import os, sys
from pathlib import Path
from tfforensics.media import MediaError
from tfforensics.video import sample_frames
before = dict(os.environ)
for name in ("cut", "text", "hollow", "damaged"):
    try:
        print(len(list(sample_frames(Path({str(tmp_path)!r}) / (name + ".mp4"), 30))))
    except MediaError as error:
        print(error.reason)
assert dict(os.environ) == before
assert "tensorflow" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
    assert done.stdout.split()[:3] == ["truncated", "not-a-video", "truncated"]
