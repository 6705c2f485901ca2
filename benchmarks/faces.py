"""How fast are faces cut out of 720p video, against decoding alone and against plain MTCNN?

    python benchmarks/faces.py [--portraits DIR] [--clips 8] [--memory 1000]

Portraits pan, zoom and turn in front of a cluttered background, one or two people a clip, in
H.264 clips of ten seconds, of which 32 frames are taken. Three ways take turns on each clip, all
in this process on one thread, as in a worker of `tfforensics.records`, and what counts is the
processor's time, so that other load on the machine matters little:

- decoding: the clip up to the last of those frames, and nothing else;
- `tfforensics.faces.extract`: decoding, finding, tracking, cropping to 380 pixels;
- plain: decoding, and the mtcnn package's `detect_faces` on every frame at full size.

Then, frame by frame, the package's boxes against ours (`FaceFinder.find`): how well they agree,
and how many of the package's faces ours misses. A face that the package sees where no portrait
is counts apart. With --memory, that many short clips are extracted after one another.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from tfforensics import command
from tfforensics.demo.portrait import draw
from tfforensics.faces import FaceFinder, extract
from tfforensics.video import evenly_spaced, sample_frames

HEIGHT, WIDTH, LENGTH, FRAMES = 720, 1280, 300, 32
PORTRAIT = 512
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Clip:
    """A video, and where each person's portrait is in each frame: affine matrices (2, 3)."""

    path: Path
    people: int
    matrices: list[list[np.ndarray]]


@dataclass(frozen=True)
class Row:
    """One clip: seconds each way, the package's faces that ours meets, misses, and others."""

    people: int
    faces: int
    decoding: float
    ours: float
    plain: float
    overlaps: list[float]
    lost: int
    false_ones: int


def background(rng: np.random.Generator) -> np.ndarray:
    """Lumps, shapes and lines of all colours, somewhat larger than a frame."""
    size = WIDTH + 80, HEIGHT + 80
    picture = np.zeros((size[1], size[0], 3), np.float32)
    for cells in (5, 20, 80):
        coarse = rng.uniform(0, 255, (cells, 2 * cells, 3)).astype(np.float32)
        picture += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) / 3
    canvas = np.clip(picture, 0, 255).astype(np.uint8)
    for kind in rng.integers(0, 3, 60):
        colour = rng.integers(0, 256, 3).tolist()
        x, y = rng.integers(0, size).tolist()
        w, h = rng.integers(10, 150, 2).tolist()
        if kind == 0:
            cv2.ellipse(canvas, (x, y), (w, h), w, 0, 360, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, -1)
        else:
            cv2.line(canvas, (x, y), (x + w, y - h), colour, 1 + w // 20, cv2.LINE_AA)
    return canvas


def motion(rng: np.random.Generator, place: int, people: int, length: int) -> list[np.ndarray]:
    """Where a portrait is in each frame: smooth shifts, zoom within 15%, turns within 8 degrees."""
    scale = rng.uniform(0.6, 1.4)
    phases, speeds = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.4, 1.2, 4)
    matrices = []
    for frame in range(length):
        turn, zoom, right, down = np.sin(speeds * frame / 30 + phases)
        matrix = cv2.getRotationMatrix2D((PORTRAIT / 2,) * 2, 8 * turn, scale * (1 + 0.15 * zoom))
        matrix[0, 2] += WIDTH * (place + 0.5 + 0.12 * right) / people - PORTRAIT / 2
        matrix[1, 2] += HEIGHT * (0.5 + 0.08 * down) - PORTRAIT / 2
        matrices.append(matrix)
    return matrices


def frames_of(
    portraits: Sequence[np.ndarray], matrices: list[list[np.ndarray]], canvas: np.ndarray
) -> Iterator[np.ndarray]:
    """Draws the frames: the background drifts, each portrait is faded into it at its rim."""
    y, x = np.mgrid[:PORTRAIT, :PORTRAIT] / (PORTRAIT / 2) - 1
    rim = np.clip((1 - (x / 0.9) ** 2 - (y / 0.98) ** 2) * 6, 0, 1).astype(np.float32)
    for frame in range(len(matrices[0])):
        left = 40 + round(40 * np.cos(frame / 43))
        top = 40 + round(40 * np.sin(frame / 30))
        picture = canvas[top : top + HEIGHT, left : left + WIDTH].astype(np.float32)
        for portrait, places in zip(portraits, matrices, strict=True):
            shown = cv2.warpAffine(portrait, places[frame], (WIDTH, HEIGHT)).astype(np.float32)
            cover = cv2.warpAffine(rim, places[frame], (WIDTH, HEIGHT))[..., None]
            picture += (shown - picture) * cover
        yield picture.astype(np.uint8)


def write(path: Path, frames: Iterator[np.ndarray]) -> None:
    """H.264 at FaceForensics++'s rate factor 23, 30 frames a second."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode(None))


def make_clip(path: Path, portraits: Sequence[np.ndarray], seed: int, length: int) -> Clip:
    rng = np.random.default_rng(seed)
    people = len(portraits)
    matrices = [motion(rng, place, people, length) for place in range(people)]
    write(path, frames_of(portraits, matrices, background(rng)))
    return Clip(path, people, matrices)


def read_portraits(folder: Path | None, count: int) -> list[np.ndarray]:
    """Photographs from the folder, as far apart in its order as they go, or drawn people."""
    if folder is None:
        return [draw(np.random.default_rng(seed), PORTRAIT).image for seed in range(count)]
    paths = sorted(folder.rglob("*.jpg"))
    if len(paths) < count:
        raise command.UsageError(f"--portraits {folder}: expected {count} JPEGs, got {len(paths)}")
    chosen = [paths[number * len(paths) // count] for number in range(count)]
    size = PORTRAIT, PORTRAIT
    return [np.asarray(Image.open(p).convert("RGB").resize(size)) for p in chosen]


def decode_alone(path: Path) -> list[np.ndarray]:
    """What any way must do first, by OpenCV directly."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted = set(evenly_spaced(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), FRAMES))
    frames = []
    for index in range(max(wanted) + 1):
        capture.grab()
        if index in wanted:
            frames.append(capture.retrieve()[1])
    capture.release()
    return frames


def seconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def clipped(box: Box) -> Box:
    """As the package clips its boxes."""
    (left, right), (top, bottom) = (
        np.clip([start, start + size], 0, limit - 1)
        for start, size, limit in ((box[0], box[2], WIDTH), (box[1], box[3], HEIGHT))
    )
    return float(left), float(top), float(right - left), float(bottom - top)


def is_person(box: Box, matrices: Sequence[np.ndarray]) -> bool:
    """Whether a box lies on a portrait and has a face's share of it, not a detail's."""
    for matrix in matrices:
        side = PORTRAIT * float(np.hypot(*matrix[0, :2]))
        middle = matrix @ [PORTRAIT / 2, PORTRAIT / 2, 1]
        apart = np.abs(np.array([box[0] + box[2] / 2, box[1] + box[3] / 2]) - middle).max()
        if apart < side / 2 and max(box[2:]) > side / 10:
            return True
    return False


def measure(clip: Clip, finder: FaceFinder, package: Any, turns: int) -> Row:
    every = clip.people > 1
    decoding, ours = [], []
    for _ in range(turns):
        decoding.append(seconds(lambda: decode_alone(clip.path)))
        ours.append(seconds(lambda: extract(clip.path, finder, frames=FRAMES, every=every)))
    begin = time.process_time()
    bgr = decode_alone(clip.path)
    slow = [package.detect_faces(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)) for frame in bgr]
    plain = time.process_time() - begin

    frames = list(sample_frames(clip.path, FRAMES))
    overlaps, lost, false_ones = [], 0, 0
    for frame, fast, known in zip(
        frames, finder.find(frame.pixels for frame in frames), slow, strict=True
    ):
        boxes = [clipped(face.box) for face in fast]
        for face in known:
            best = max((overlap(face["box"], box) for box in boxes), default=0.0)
            if not is_person(face["box"], [places[frame.index] for places in clip.matrices]):
                false_ones += 1
            elif best < 0.3:
                lost += 1
            else:
                overlaps.append(best)
    faces = len(extract(clip.path, finder, frames=FRAMES, every=every).crops)
    middle = statistics.median
    return Row(
        clip.people, faces, middle(decoding), middle(ours), plain, overlaps, lost, false_ones
    )


def resident() -> float:
    """MB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    """MB in memory at the highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def report(rows: Sequence[Row]) -> None:
    print("| people | crops | decoding | extract | plain | of decoding | x plain | IoU | lost |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        rates = [row.faces / time for time in (row.decoding, row.ours, row.plain)]
        print(
            f"| {row.people} | {row.faces} | {rates[0]:.1f}/s | {rates[1]:.1f}/s "
            f"| {rates[2]:.1f}/s | {row.decoding / row.ours:.2f} | {row.plain / row.ours:.1f} "
            f"| {np.mean(row.overlaps):.3f} | {row.lost} of {len(row.overlaps) + row.lost} |"
        )
    of_decoding = [row.decoding / row.ours for row in rows]
    of_plain = [row.plain / row.ours for row in rows]
    overlaps = [value for row in rows for value in row.overlaps]
    print(
        f"\nOver {len(rows)} clips: {statistics.median(of_decoding):.2f} of decoding's speed "
        f"({min(of_decoding):.2f} to {max(of_decoding):.2f}), {statistics.median(of_plain):.1f} "
        f"times plain MTCNN's ({min(of_plain):.1f} to {max(of_plain):.1f}); mean IoU "
        f"{np.mean(overlaps):.3f}, a tenth below {np.quantile(overlaps, 0.1):.3f}; "
        f"{sum(row.lost for row in rows)} of the package's {len(overlaps)} faces lost, besides "
        f"{sum(row.false_ones for row in rows)} that it saw where nobody is; peak {peak():.0f} MB."
    )


def report_memory(
    folder: Path, portraits: Sequence[np.ndarray], finder: FaceFinder, n: int
) -> None:
    """Resident memory after 1, 10, 100, ... clips of 16 frames, of which 4 are taken."""
    clips = [make_clip(folder / f"short{k}.mp4", [portraits[k]], k, 16).path for k in range(3)]
    print("\n| clips | seconds | MB |\n|---|---|---|")
    begin = time.process_time()
    for done in range(1, n + 1):
        extract(clips[done % len(clips)], finder, frames=4)
        if done in (1, 10, 100, 1_000, 10_000) or done == n:
            print(f"| {done} | {time.process_time() - begin:.1f} | {resident():.0f} |", flush=True)


def main() -> None:
    parser = command.Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--portraits", type=Path, help="photographs; without, people are drawn")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--memory", type=int, default=0, help="how many short clips besides")
    options = parser.parse_args()
    command.start_tensorflow()
    import tensorflow as tf
    from mtcnn import MTCNN

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cv2.setNumThreads(1)
    finder, package = FaceFinder(), MTCNN()
    people = [2 if number % 4 == 3 else 1 for number in range(options.clips)]
    portraits = read_portraits(options.portraits, sum(people) + 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm = make_clip(folder / "warm.mp4", portraits[-1:], 0, 60)
        measure(warm, finder, package, 1)
        rows = []
        for number, count in enumerate(people):
            chosen = portraits[sum(people[:number]) :][:count]
            clip = make_clip(folder / f"{number}.mp4", chosen, number, LENGTH)
            rows.append(measure(clip, finder, package, options.turns))
        today = datetime.date.today()
        print(f"{processor()}, one thread, processor time, {today}")
        print(f"{WIDTH} x {HEIGHT}, {LENGTH} frames a clip, {FRAMES} of them taken\n")
        report(rows)
        if options.memory:
            report_memory(folder, portraits, finder, options.memory)


if __name__ == "__main__":
    command.run(main, "benchmarks/faces.py")
