"""How much of the bare codec's speed is left in the training pipeline?

    python benchmarks/pipeline.py [--portraits DIR]

The pipeline reads, checks and decodes a record, compresses it at a level drawn from c23, c40,
c85 and c90, decodes it, flips every other face and batches them. The bare codec (simplejpeg,
exact inverse DCT, 4:2:0, one process a core) only decodes, encodes and decodes the same faces at
the same qualities. They run in turns, so that whatever else the machine does meets all of them
alike, and the figures are medians of the turns' ratios. The ratio by processor time does not
depend on other load.

Also: the same with every augmentation on, and the memory that both take beyond TensorFlow's own.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tfforensics import command, jpeg, manifest
from tfforensics.config import Augment, Config, Data, Degrade
from tfforensics.manifest import Manifest, Settings, Shard

SIDE, BATCH, WARM = 380, 16, 8
REPEATS = 1024  # of each face: pools of some 16,000, as FaceForensics++'s are
LEVELS: tuple[jpeg.Level, ...] = ("c23", "c40", "c85", "c90")
EVERYTHING = Augment(flip=True, brightness=0.1, contrast=0.2, saturation=0.2, hue=0.05)
FLIPPED = Augment(flip=True)


@dataclass(frozen=True)
class Turn:
    """What one process did in one turn."""

    images: int
    wall: float
    processor: float
    memory: float  # MB beyond TensorFlow's own, at the highest


def bare_codec(pipe: Connection, folder: Path, images: int) -> None:
    """Decodes, encodes and decodes, turn after turn."""
    import simplejpeg

    faces = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    qualities = [jpeg.quality_of(level) for level in LEVELS]

    def decode(data: bytes) -> np.ndarray:
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)

    def work() -> None:
        for number in range(images):
            pixels = decode(faces[number % len(faces)])
            quality = qualities[number % len(qualities)]
            decode(simplejpeg.encode_jpeg(pixels, quality, "RGB", "420", fastdct=False))

    _take_turns(pipe, images, work, 0)


def training_pipeline(pipe: Connection, folder: Path, images: int, augment: Augment) -> None:
    """Takes training batches, turn after turn."""
    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics.pipeline import training_batches

    tf.random.stateless_uniform((), (0, 0)).numpy()
    own = _peak()
    config = Config(
        data=Data(records=str(folder / "records"), size=SIDE, batch=BATCH),
        degrade=Degrade(levels=dict.fromkeys(LEVELS, 1.0)),
        augment=augment,
    )
    batches = iter(training_batches(config))

    def work() -> None:
        for _ in range(images // BATCH):
            next(batches)

    def drain() -> None:
        """What was made ready between two turns does not count."""
        for _ in range(WARM):
            next(batches)

    _take_turns(pipe, images, work, own, drain)


def _take_turns(
    pipe: Connection,
    images: int,
    work: Callable[[], None],
    own: float,
    before: Callable[[], None] = lambda: None,
) -> None:
    pipe.send("ready")
    while pipe.recv():
        before()
        wall, processor = time.perf_counter(), time.process_time()
        work()
        took = time.perf_counter() - wall, time.process_time() - processor
        pipe.send(Turn(images, *took, _peak() - own))


def _peak() -> float:
    """MB at the highest; getrusage's is the parent's, where that had more when it started this."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def write_faces(folder: Path, pictures: Sequence[np.ndarray]) -> None:
    """Canonical crops as JPEG files, and half of them as real, half as manipulated records."""
    import tensorflow as tf

    from tfforensics.example import Face, serialise

    crops = [jpeg.encode_canonical(picture) for picture in pictures]
    shards = []
    for label, name in enumerate(("real", "Deepfakes")):
        path = folder / "records" / name / "c0" / "train-00000-of-00001.tfrecord"
        path.parent.mkdir(parents=True)
        lengths = []
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number, crop in enumerate(crops[label::2]):
                record = serialise(
                    Face(
                        encoded=crop,
                        level="c0",
                        encoder="turbo",
                        label=label,
                        manipulation=name,
                        split="train",
                        clip=f"{number:03d}",
                        target=f"{number:03d}",
                        source="",
                        source_compression="",
                        frame=0,
                        track=0,
                        box=(0, 0, SIDE, SIDE),
                        confidence=1.0,
                        margin=1.3,
                        padded=0.0,
                        landmarks=np.zeros((5, 2), np.float32),
                    )
                )
                writer.write(record)
                lengths.append(len(record))
        place = str(path.relative_to(folder / "records"))
        shards.append(Shard(place, name, "c0", "train", tuple(lengths), manifest.sha256_of(path)))
    # Each file counts many times: TensorFlow's shuffle is slow in pools far below 2^16 faces.
    made = Manifest("benchmark", Settings(size=SIDE), tuple(shards) * REPEATS, (), (), {})
    manifest.save(made, folder / "records")
    for number, crop in enumerate(crops):
        (folder / f"{number:03d}.jpg").write_bytes(crop)


def pictures_of(portraits: Path | None, count: int) -> list[np.ndarray]:
    """Photographs, cut square, or drawn portraits."""
    if portraits is None:
        from tfforensics.demo.portrait import draw

        return [draw(np.random.default_rng(seed), SIDE).image for seed in range(count)]
    paths = sorted(p for p in portraits.rglob("*") if p.suffix in {".jpg", ".jpeg", ".png"})
    return [
        np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), (SIDE, SIDE)))
        for path in paths[:count]
    ]


def measure(folder: Path, images: int, rounds: int) -> dict[str, list[list[Turn]]]:
    """The turns of each candidate: by round, one for each of its processes."""
    context = multiprocessing.get_context("spawn")
    candidates: dict[str, list[tuple[Callable[..., None], tuple[object, ...]]]] = {
        "bare codec": [(bare_codec, ())] * command.cores(),
        "pipeline": [(training_pipeline, (FLIPPED,))],
        "pipeline, augmented": [(training_pipeline, (EVERYTHING,))],
    }
    pipes: dict[str, list[Connection]] = {}
    for name, processes in candidates.items():
        pipes[name] = []
        for target, more in processes:
            ours, theirs = context.Pipe()
            share = images // len(processes)
            context.Process(target=target, args=(theirs, folder, share, *more), daemon=True).start()
            theirs.close()  # so that a process that fails is an error here, not a wait
            assert ours.recv() == "ready"
            pipes[name].append(ours)
    turns: dict[str, list[list[Turn]]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, ends in pipes.items():
            for end in ends:
                end.send(True)
            turns[name].append([end.recv() for end in ends])
            time.sleep(0.5)  # until its buffers are full and it rests
    for ends in pipes.values():
        for end in ends:
            end.send(False)
    return {name: found[1:] for name, found in turns.items()}  # the first turn warms up


def table(turns: dict[str, list[list[Turn]]]) -> str:
    """Medians over the rounds."""
    lines = [
        f"{'':<20}{'images/s':>10}{'ratio':>8}{'ms of processor/image':>24}{'ratio':>8}{'MB':>7}"
    ]
    speed = {
        name: [sum(t.images for t in r) / max(t.wall for t in r) for r in rounds]
        for name, rounds in turns.items()
    }
    cost = {
        name: [1e3 * sum(t.processor for t in r) / sum(t.images for t in r) for r in rounds]
        for name, rounds in turns.items()
    }
    base = "bare codec"
    for name, rounds in turns.items():
        faster = [a / b for a, b in zip(speed[name], speed[base], strict=True)]
        cheaper = [b / a for a, b in zip(cost[name], cost[base], strict=True)]
        memory = max(t.memory for r in rounds for t in r)
        lines.append(
            f"{name:<20}{statistics.median(speed[name]):>10.0f}{statistics.median(faster):>8.2f}"
            f"{statistics.median(cost[name]):>24.2f}{statistics.median(cheaper):>8.2f}"
            + (f"{memory:>7.0f}" if name != base else f"{'':>7}")
        )
    return "\n".join(lines)


def processor_name() -> str:
    """As the kernel calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--portraits", type=Path, help="photographs to use; default: drawn ones")
    parser.add_argument("--faces", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--images", type=int, default=1600, help="a turn; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = pictures_of(options.portraits, options.faces)
        write_faces(folder, pictures)
        size = statistics.mean(path.stat().st_size for path in folder.glob("*.jpg"))
        turns = measure(folder, options.images, options.rounds)
    print(
        f"{processor_name()}, {command.cores()} cores, {datetime.date.today()}; {len(pictures)} "
        f"faces of {SIDE} px, {size / 1e3:.0f} kB each; medians of {options.rounds} turns"
    )
    print(table(turns))


if __name__ == "__main__":
    main()
