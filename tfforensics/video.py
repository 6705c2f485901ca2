"""Video files -> evenly spaced RGB frames, in one sequential pass."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfforensics.media import (
    LIMITS,
    VIDEO_FORMATS,
    Limits,
    MediaError,
    Pixels,
    is_mp4,
    kind_of,
    read_head,
    wrong_kind,
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame: its number in the video, from 0, and RGB uint8 (H, W, 3)."""

    index: int
    pixels: Pixels


def evenly_spaced(total: int, count: int) -> list[int]:
    """The middle frames of `count` equal parts of a video of `total` frames, ascending.

    A video of no more than `count` frames gives each of them once.

    Raises:
      ValueError: `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    count = min(count, total)
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


def sample_frames(path: Path, count: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Decodes the `evenly_spaced` frames of a video; raises what `open_video` and `read` raise."""
    with open_video(path, limits) as video:
        yield from video.read(evenly_spaced(video.frames, count))


class Video:
    """A video that is open for reading.

    Attributes:
      path: the file.
      frames: how many there are by the file's own account; the stream may end earlier.
      width, height: of the frames, in pixels, rotation applied.
      rate: frames a second by the file's own account; 0 where it gives none that can be.
    """

    def __init__(self, path: Path, capture: cv2.VideoCapture, limits: Limits) -> None:
        self.path = path
        self._capture = capture
        self._limits = limits
        self._at_start = True
        self.width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self.width * self.height > limits.pixels:
            detail = f"frames of {self.width} x {self.height}, at most {limits.pixels} pixels"
            raise MediaError(str(path), "too-large", detail)
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= 1000 else 0.0
        declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # A stream without an index declares no count, or a negative one.
        self.frames = declared if declared > 0 else self._count()
        if self.frames > limits.frames:
            detail = f"{self.frames} frames, at most {limits.frames}"
            raise MediaError(str(path), "too-long", detail)

    def read(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Decodes the frames of these numbers (ascending) in one sequential pass.

        Rotation that the file asks for (a phone held upright) is applied. A frame that cannot
        be decoded is left out, so compare what comes with what was asked for.

        Raises:
          MediaError: not one of the frames could be decoded ("truncated", "no-frames"), or
            the pass took longer than the limit ("too-long").
        """
        deadline = time.monotonic() + self._limits.seconds
        self._rewind()
        position = -1
        found = 0
        for index in indices:
            while position < index and self._grab(deadline):
                position += 1
            if position < index:
                break
            decoded, image = self._capture.retrieve()
            if decoded:
                found += 1
                yield Frame(index, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
        if not found:
            reason = "truncated" if _is_cut(self.path) else "no-frames"
            detail = f"none of {len(indices)} frames could be decoded"
            raise MediaError(str(self.path), reason, detail)

    def _count(self) -> int:
        deadline = time.monotonic() + self._limits.seconds
        self._rewind()
        frames = 0
        while frames <= self._limits.frames and self._grab(deadline):
            frames += 1
        return frames

    def _rewind(self) -> None:
        if not self._at_start:
            with _silence():
                self._capture.open(*_source(self.path))
        self._at_start = False

    def _grab(self, deadline: float) -> bool:
        if time.monotonic() > deadline:
            detail = f"not decoded within {self._limits.seconds:g} s"
            raise MediaError(str(self.path), "too-long", detail)
        return self._capture.grab()


@contextmanager
def open_video(path: Path, limits: Limits = LIMITS) -> Iterator[Video]:
    """Opens a video of one of VIDEO_FORMATS by OpenCV and FFmpeg.

    Decoding takes as many threads as OpenCV is set to (`cv2.setNumThreads`); the frames are
    the same for any number. FFmpeg writes nothing to stderr, unless the user has set
    OPENCV_FFMPEG_LOGLEVEL.

    Raises:
      MediaError: "unreadable", "empty-file", "not-a-video" (also where nothing in it can be
        decoded), "unsupported-format", "truncated", "too-large", "too-long".
    """
    head = read_head(path)
    kind = kind_of(head)
    if kind != "video":
        raise wrong_kind(str(path), kind, "not-a-video", VIDEO_FORMATS)
    with _silence():
        capture = cv2.VideoCapture(*_source(path))
    try:
        if not capture.isOpened():
            if _is_cut(path):
                raise MediaError(str(path), "truncated", "the file ends before its index")
            raise MediaError(str(path), "not-a-video", "no video stream that can be decoded")
        yield Video(path, capture, limits)
    finally:
        capture.release()


def _source(path: Path) -> tuple[str, int, list[int]]:
    """VideoCapture's arguments. An absolute path is never taken for a URL or a protocol."""
    threads = max(1, cv2.getNumThreads())
    return str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads]


def _is_cut(path: Path) -> bool:
    """Whether this is an MP4 whose boxes reach beyond its end, or whose index is missing."""
    if not is_mp4(read_head(path)):
        return False
    end = path.stat().st_size
    kinds = set()
    position = 0
    with path.open("rb") as file:
        while position + 16 <= end:
            file.seek(position)
            size, kind, long_size = struct.unpack(">I4sQ", file.read(16))
            kinds.add(kind)
            if size == 0:  # up to the end of the file
                break
            position += max(8, long_size if size == 1 else size)
    return position > end or b"moov" not in kinds


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps FFmpeg's and OpenCV's remarks on a bad file off stderr; the error says it better.

    FFmpeg's level is read from the environment when a process opens its first video.
    """
    name = "OPENCV_FFMPEG_LOGLEVEL"
    chosen = name in os.environ
    os.environ.setdefault(name, "-8")  # AV_LOG_QUIET
    logging: Any = getattr(cv2.utils, "logging", cv2)  # cv2 itself in OpenCV 4.11
    level = logging.setLogLevel(0)  # silent
    try:
        yield
    finally:
        logging.setLogLevel(level)
        if not chosen:
            del os.environ[name]
