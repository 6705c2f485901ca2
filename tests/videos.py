"""Small videos for tests: written by PyAV, with drawn people whose places are known."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from tfforensics.demo.portrait import Portrait, draw


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    codec: str = "libx264",
) -> Path:
    """Writes RGB frames at 30 a second; the container follows the name."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = None
        for frame in frames:
            if stream is None:
                stream = file.add_stream(codec, rate=30)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "18", "preset": "veryfast"} | (options or {})
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        assert stream is not None
        file.mux(stream.encode(None))
    return path


def turn(path: Path, clockwise: int) -> Path:
    """Makes an MP4 ask to be shown turned by 90, 180 or 270 degrees, as a phone writes it."""
    content = bytearray(path.read_bytes())
    matrix = {
        90: (0, 1, -1, 0),
        180: (-1, 0, 0, -1),
        270: (0, -1, 1, 0),
    }[clockwise]
    a, b, c, d = (value << 16 for value in matrix)
    # ISO/IEC 14496-12, 8.3.2: in a track header of version 0 the matrix follows 40 bytes.
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def grey_steps(count: int, *, height: int = 64, width: int = 96) -> Iterator[np.ndarray]:
    """Frames by whose grey level they can be told apart: 30 + 6 x number."""
    for number in range(count):
        yield np.full((height, width, 3), 30 + 6 * number, np.uint8)


def person(seed: int, size: int = 256) -> Portrait:
    """A drawn person, whose face fills about half of the picture's height."""
    return draw(np.random.default_rng(seed), size)


def scene(
    people: Sequence[Portrait],
    places: Sequence[tuple[float, float]],
    *,
    height: int = 360,
    width: int = 640,
    seed: int = 0,
) -> np.ndarray:
    """Portraits with their left upper corners at these places, x and y, on a busy background."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 24, width // 24, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for portrait, place in zip(people, places, strict=True):
        shift = np.array([[1, 0, place[0]], [0, 1, place[1]]], np.float32)
        cv2.warpAffine(
            portrait.image, shift, (width, height), picture, borderMode=cv2.BORDER_TRANSPARENT
        )
    return picture


def centre(portrait: Portrait, place: tuple[float, float]) -> np.ndarray:
    """Where the middle of the five landmarks is in a scene, x and y."""
    return portrait.landmarks.mean(axis=0) + place
