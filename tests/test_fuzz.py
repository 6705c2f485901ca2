"""A thousand files that nobody would send in good faith, through `predict` and the SavedModel.

As a program it is the process that is fed with them: a crash ends it, and the test sees that.

    python test_fuzz.py FOLDER COUNT
"""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

COUNT = 1000
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
Make = Callable[[random.Random, list[bytes]], bytes]


def cut(rng: random.Random, good: list[bytes]) -> bytes:
    data = rng.choice(good)
    return data[: rng.randrange(len(data))]


def flipped(rng: random.Random, good: list[bytes]) -> bytes:
    data = bytearray(rng.choice(good))
    for _ in range(rng.choice([1, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwritten(rng: random.Random, good: list[bytes]) -> bytes:
    data = rng.choice(good)
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.randrange(1, 500)) + data[start + 64 :]


def wrong_type(rng: random.Random, good: list[bytes]) -> bytes:
    """One format's first bytes, another's body."""
    return rng.choice(good)[: rng.randrange(2, 64)] + rng.choice(good)[rng.randrange(64) :]


def polyglot(rng: random.Random, good: list[bytes]) -> bytes:
    """Two files in one."""
    other = [b"PK\x03\x04" + rng.randbytes(64), b"%PDF-1.7\n", b"<html><script>", *good]
    return b"".join(rng.sample([rng.choice(good), rng.choice(other)], 2))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def huge(rng: random.Random, _: list[bytes]) -> bytes:
    """Some bytes that claim to be a picture of gigabytes."""
    side = rng.choice([5_000, 20_000, 65_000])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16)).save(jpeg, "JPEG", progressive=rng.random() < 0.5)
    frame = jpeg.getvalue()
    start = max(frame.find(b"\xff\xc0"), frame.find(b"\xff\xc2")) + 5
    bmp = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54)
    tiff = io.BytesIO()
    Image.new("L", (4, 4)).save(tiff, "TIFF")
    return rng.choice(
        [
            png + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b""),
            frame[:start] + struct.pack(">HH", side, side) + frame[start + 4 :],
            bmp + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0) + b"x" * 99,
            tiff.getvalue().replace(b"\x04\x00\x00\x00\x01", struct.pack("<HH", side, 0) + b"\x01"),
        ]
    )


def gif_bomb(rng: random.Random, _: list[bytes]) -> bytes:
    """A large canvas, and a thousand pictures on it."""
    side = rng.choice([4_000, 20_000, 65_535])
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00"
    palette = b"\x00\x00\x00\xff\xff\xff"
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + palette
    return head + picture * rng.choice([1, 1000]) + b"\x3b"


KINDS: tuple[Make, ...] = (cut, flipped, overwritten, wrong_type, polyglot, huge, gif_bomb)


def good_files(folder: Path) -> list[bytes]:
    from videos import person, scene, write_video

    someone = person(1, 160)
    files = []
    for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
        file = io.BytesIO()
        Image.fromarray(someone.image).save(file, name)
        files.append(file.getvalue())
    frames = [scene([someone], [(10 + i, 20)], height=180, width=320) for i in range(8)]
    return [*files, write_video(folder / "good.mp4", frames).read_bytes()]


def feed(folder: Path, count: int) -> dict[str, object]:
    """Judges the files one after another."""
    from tfforensics.command import DataError
    from tfforensics.judging.judge import Judge
    from tfforensics.serving.exported import load_export

    model = load_export(folder / "out")
    judge = Judge(model)
    rng = random.Random(0)
    good = good_files(folder)
    path = folder / "file"
    for data in good:  # what every file costs is not what a bad one costs
        path.write_bytes(data)
        list(judge.judge([path]))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    calls: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        data = KINDS[number % len(KINDS)](rng, good)
        path.write_bytes(data)
        start = time.monotonic()
        (found,) = judge.judge([path])
        middle = time.monotonic()
        try:
            model.by_bytes([data])
            answer = "served"
        except DataError:
            answer = "refused"
        slowest = max(slowest, middle - start, time.monotonic() - middle)
        calls.update([found.call, answer])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own
    return {"calls": dict(calls), "slowest": slowest, "grown": grown / 1024}


@pytest.mark.slow
@pytest.mark.promise
def test_no_file_crashes_hangs_or_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from judged import finished_run

    from tfforensics import export
    from tfforensics.serving import measure

    monkeypatch.setattr(measure, "_SECONDS", 0.0)
    export.export(finished_run(tmp_path / "run", tmp_path / "none").folder, tmp_path / "out")
    arguments = [sys.executable, __file__, str(tmp_path), str(COUNT)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=550, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    calls = found["calls"]
    assert sum(calls.values()) == 2 * COUNT
    assert calls["could not be read"] > COUNT / 4 and calls["refused"] > COUNT / 2
    assert calls["served"] > 20  # a flipped bit is often just another picture
    assert found["slowest"] < 10 and found["grown"] < 1024, found


if __name__ == "__main__":
    print(json.dumps(feed(Path(sys.argv[1]), int(sys.argv[2]))))
