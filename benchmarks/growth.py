"""How do time and memory grow with clips, shards and examples?

    python benchmarks/growth.py [--clips 1 10 100 1000] [--examples 1000 10000 100000 1000000]
        [--results FILE.json] [--picture docs/growth.png]

Records: `python -m tfforensics.records` with one worker, 2 frames of each clip, crops of 64 px. A
clip is a copy of one drawn video of a second, 160 px high; half of them stand as manipulated.
Pipeline: every example of a record folder once, in training batches of 100, at 32 px, degraded
and mirrored; examples in 2 x 10 shards, and 100,000 of them in 2 x 1, 2 x 10 and 2 x 100.

Each case is a process of its own: its processor time with all that it starts, which other load
does not change, and the highest memory of any one process. Both contain the start of TensorFlow.
With --results a case that is in the file is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tfforensics import command, jpeg, manifest

SIDE, BATCH = 32, 100
PLAIN_SHARDS = 10  # of each class
SHARDS, SHARDS_EXAMPLES = (1, 10, 100), 100_000


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement: what was done how many times, and what it took."""

    name: str
    count: int
    shards: int
    seconds: float
    megabytes: float


# The kernel counts what a process had before it became another program, a copy of its parent: so
# the parent is a small one.
LAUNCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)
sys.exit(status)
"""


def cost(arguments: list[str]) -> tuple[float, float]:
    """Processor seconds and peak MB of a program and of what it starts."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr[-800:]
        raise SystemExit(f"{' '.join(arguments)}: status {done.returncode}\n{said}")
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def records_case(folder: Path, count: int) -> Case:
    """Writes the records of so many clips."""
    from tfforensics.demo.folder import build

    source = folder / "source"
    if not source.exists():
        build(source, identities={"test": 2}, seconds=1.0, fps=8, size=160, workers=1)
    video = min((source / "original_sequences").rglob("*.mp4"))
    root, out = folder / "clips", folder / "records"
    for name in ("real", "A"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        shutil.copyfile(video, root / ("A" if number % 2 else "real") / f"{number:04d}.mp4")
    options = ["--layout", "folders", "--split-by", "clip"]
    options += ["--frames", "2", "--size", "64", "--workers", "1"]
    took = cost(["-m", "tfforensics.records", "--root", str(root), "--out", str(out), *options])
    done = manifest.load(out)
    assert sum(clip.found for clip in done.clips) == 2 * count
    shutil.rmtree(root)
    shutil.rmtree(out)
    return Case("records", count, len(done.shards), *took)


def pipeline_case(folder: Path, count: int, shards: int) -> Case:
    """Reads so many examples once."""
    records = folder / f"examples-{count}-{shards}"
    write_examples(records, count, shards=shards)
    took = cost([__file__, "--read", str(records)])
    shutil.rmtree(records)
    return Case("pipeline", count, 2 * shards, *took)


def write_examples(
    folder: Path, count: int, *, shards: int, split: str = "train", side: int = SIDE
) -> None:
    """Half of them real, half manipulated, 50 different faces of each over and over."""
    import tensorflow as tf

    from tfforensics.demo.portrait import draw
    from tfforensics.example import Face, serialise

    listed = []
    for label, name in enumerate(("real", "A")):
        faces = [
            serialise(
                Face(
                    encoded=jpeg.encode_canonical(draw(np.random.default_rng(n), side).image),
                    level="c0",
                    encoder="turbo",
                    label=label,
                    manipulation=name,
                    split=split,
                    clip=f"{n:03d}",
                    target=f"{n:03d}",
                    source="",
                    source_compression="",
                    frame=0,
                    track=0,
                    box=(0, 0, side, side),
                    confidence=1.0,
                    margin=1.3,
                    padded=0.0,
                    landmarks=np.zeros((5, 2), np.float32),
                )
            )
            for n in range(50)
        ]
        for shard in range(shards):
            path = folder / name / "c0" / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"
            path.parent.mkdir(parents=True, exist_ok=True)
            here = [faces[n % len(faces)] for n in range(count // 2 // shards)]
            with tf.io.TFRecordWriter(str(path)) as writer:
                for face in here:
                    writer.write(face)
            lengths = tuple(map(len, here))
            listed.append(
                manifest.Shard(
                    str(path.relative_to(folder)), name, "c0", split, lengths,
                    manifest.sha256_of(path),
                )
            )  # fmt: skip
    settings = manifest.Settings(size=side)
    manifest.save(manifest.Manifest("benchmark", settings, tuple(listed), (), (), {}), folder)


def read(records: Path) -> None:
    """Every example once; in a process of its own."""
    command.start_tensorflow()
    from tfforensics.config import Config, Data, Degrade
    from tfforensics.pipeline import training_batches

    count = sum(len(shard.lengths) for shard in manifest.load(records).shards)
    config = Config(
        data=Data(records=str(records), size=SIDE, batch=BATCH),
        degrade=Degrade(levels={"c0": 1.0, "c40": 1.0}),
    )
    for _ in training_batches(config).take(count // BATCH):
        pass


def table(cases: list[Case]) -> str:
    """A row a case, and what each further one costs."""
    lines = ["| | count | shards | processor, s | each, beyond the least, ms | peak, MB |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for case in cases:
        least = min((c for c in cases if c.name == case.name), key=lambda c: c.count)
        more = case.count - least.count
        each = f"{1e3 * (case.seconds - least.seconds) / more:.2f}" if more else ""
        lines.append(
            f"| {case.name} | {case.count:,} | {case.shards:,} | {case.seconds:.1f} | {each} "
            f"| {case.megabytes:,.0f} |"
        )
    return "\n".join(lines)


def draw_picture(cases: list[Case], path: Path) -> None:
    """Time over count, so that a straight line is seen as one, and memory over its logarithm."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2)
    for column, (name, unit) in enumerate((("records", "clips"), ("pipeline", "examples"))):
        mine = [c for c in cases if c.name == name]
        if name == "pipeline":
            mine = [c for c in mine if c.shards == 2 * PLAIN_SHARDS]
        counts = [c.count for c in mine]
        base = mine[0].seconds
        time, memory = grid[0][column], grid[1][column]
        time.plot(counts, [c.seconds for c in mine], "o", label="measured")
        each = (mine[-1].seconds - base) / (counts[-1] - counts[0])
        ends = np.array([counts[0], counts[-1]])
        line = f"{base:.1f} s + {1e3 * each:.2f} ms each"
        time.plot(ends, base + each * (ends - counts[0]), ":", label=line)
        time.set_ylim(0)
        time.locator_params(axis="x", nbins=5)
        time.set_title(f"{name}: processor time")
        time.set_ylabel("s")
        time.legend()
        memory.semilogx(counts, [c.megabytes for c in mine], "o-")
        memory.set_ylim(0, 1.25 * max(c.megabytes for c in mine))
        memory.set_title(f"{name}: highest memory of a process")
        memory.set_ylabel("MB")
        for axes in (time, memory):
            axes.set_xlabel(unit)
            axes.grid(alpha=0.3)
    figure.savefig(path)


def main() -> None:
    """Measures what is not there yet, prints the table and draws the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--examples", type=int, nargs="*", default=[10**n for n in (3, 4, 5, 6)])
    parser.add_argument("--results", type=Path, help="JSON to go on from and to write")
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return
    cases: list[Case] = []
    if options.results and options.results.exists():
        cases = [Case(**case) for case in json.loads(options.results.read_text())]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def measure(there: bool, make: Callable[[], Case]) -> None:
            if there:
                return
            cases.append(make())
            print(cases[-1], flush=True)
            if options.results:
                kept = [dataclasses.asdict(case) for case in cases]
                options.results.write_text(json.dumps(kept, indent=1) + "\n")

        for count in options.clips:
            there = any(c.name == "records" and c.count == count for c in cases)
            measure(there, partial(records_case, folder, count))
        plain = [(count, PLAIN_SHARDS) for count in options.examples]
        for count, shards in [*plain, *((SHARDS_EXAMPLES, n) for n in SHARDS)]:
            there = any((c.count, c.shards) == (count, 2 * shards) for c in cases)
            measure(there, partial(pipeline_case, folder, count, shards))
    cases.sort(key=lambda c: (c.name != "records", c.count, c.shards))
    print(f"{datetime.date.today()}, {platform.machine()}, {command.cores()} cores")
    print(table(cases))
    if options.picture:
        draw_picture(cases, options.picture)


if __name__ == "__main__":
    main()
