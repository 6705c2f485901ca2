"""Faces of a dataset -> TFRecords and a manifest.

    python -m tfforensics.records --root DIR --out records/NAME

Killed and run again, it does only what is missing; the bytes of the shards do not depend on
the number of workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tfforensics import command, layouts, storage
from tfforensics.clips import REAL, SPLITS
from tfforensics.command import UsageError
from tfforensics.ffpp import MANIPULATIONS
from tfforensics.jpeg import ENCODERS, LEVELS
from tfforensics.manifest import NAME, Manifest, Settings
from tfforensics.storage import Folder


def summary(done: Manifest, out: Folder) -> str:
    """A table of clips, faces, skips by reason and bytes, by manipulation, level and split."""
    lines = [f"{'manipulation':<16}{'split':<7}{'clips':>7}{'frames':>9}{'faces':>9}  skipped"]
    for manipulation in (REAL, *done.manipulations):
        for split in SPLITS:
            clips = [c for c in done.clips if (c.manipulation, c.split) == (manipulation, split)]
            if not clips:
                continue
            reasons: Counter[str] = sum((Counter(c.skipped) for c in clips), Counter())
            skipped = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items())) or "0"
            asked, found = sum(c.asked for c in clips), sum(c.found for c in clips)
            lines.append(
                f"{manipulation:<16}{split:<7}{len(clips):>7,}{asked:>9,}{found:>9,}  {skipped}"
            )
    for level in done.levels:
        size = sum(shard.bytes for shard in done.shards if shard.level == level)
        lines.append(f"level {level:<10}{size / 1e6:>12,.1f} MB")
    lines += [done.notice] if done.notice else []
    lines += [f"note: {note}" for note in done.notes[:20]]
    if len(done.notes) > 20:
        lines.append(f"note: and {len(done.notes) - 20} more in {out / NAME}")
    return "\n".join(lines)


# fmt: off
def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.records",
        description="Find the faces of a dataset and write them to TFRecords.",
    )
    add = parser.add_argument
    add("--root", type=storage.here, required=True, help="folder of the dataset")
    add("--out", required=True,
        help="record folder to write, e.g. records/ffpp or, with the extra io, s3://bucket/ffpp")
    add("--layout", choices=layouts.LAYOUTS, default="ffpp",
        help="ffpp: FaceForensics++ and its official split; folders: real/ and one folder a "
             "manipulation; celebdf, dfdc: as downloaded. All but ffpp are split by a stable hash "
             "(default: %(default)s)")
    add("--split-by", choices=("identity", "clip"), default="identity",
        help="what must not lie in two splits, for layouts without a split of their own "
             "(default: %(default)s)")
    add("--official-test", action="store_true",
        help="the test split is the official list's, and nobody of it is elsewhere "
             "(celebdf, dfdc)")
    add("--source-compression", metavar="LEVEL",
        help="H.264 folder of --layout ffpp: raw, c23 or c40 (default: the first there is)")
    add("--levels", nargs="+", choices=LEVELS, default=["c0"], metavar="LEVEL",
        help=f"JPEG levels to store, of {', '.join(LEVELS)} (default: c0; always with it)")
    add("--encoder", choices=ENCODERS, default="mozjpeg",
        help="of the levels but c0 (default: %(default)s)")
    add("--frames", type=_count, default=32, metavar="N",
        help="evenly spaced frames of each video (default: %(default)s)")
    add("--frames-for", nargs="+", type=_frames_for, default=[], metavar="NAME=N",
        help="other numbers of frames by manipulation, e.g. NeuralTextures=64")
    add("--faces", choices=("largest", "all"), default="largest",
        help="the largest persistent face of a clip, or every track (default: %(default)s)")
    add("--margin", type=float, default=1.3,
        help="side of the square crop over the larger side of the face box (default: %(default)s)")
    add("--size", type=int, default=380, metavar="PIXELS",
        help="side of the stored crops (default: %(default)s)")
    add("--workers", type=_count, default=command.cores(), metavar="N",
        help="processes (default: one a core)")
    add("--runner", metavar="NAME",
        help="write with Apache Beam: local, or a runner of Beam's (FlinkRunner, SparkRunner, "
             "DataflowRunner); its options follow after --")
    add("runner_options", nargs="*", metavar="-- OPTION", help="Beam's, e.g. "
        "--direct_num_workers=2 --direct_running_mode=multi_processing")
    return parser
# fmt: on


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise command.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _frames_for(text: str) -> tuple[str, int]:
    name, equals, count = text.partition("=")
    if not name or not equals:
        raise command.ArgumentTypeError(
            f"expected NAME=N, e.g. {MANIPULATIONS[3]}=64, got {text!r}"
        )
    return name, _count(count)


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    out = storage.folder(options.out, "--out")
    if options.runner is None and options.runner_options:
        raise UsageError(
            f"--runner: expected one for the options {' '.join(options.runner_options)}, got none"
        )
    if options.runner is not None:
        from tfforensics import beam

        beam.check(options.runner)
    if not 1.0 <= options.margin <= 3.0:
        raise UsageError(f"--margin: expected 1 to 3, got {options.margin}")
    if not 32 <= options.size <= 1024:
        raise UsageError(f"--size: expected 32 to 1024 pixels, got {options.size}")
    listing = layouts.find(
        options.layout,
        options.root,
        split_by=options.split_by,
        official_test=options.official_test,
        compression=options.source_compression,
    )
    there = {clip.manipulation for clip in listing.clips}
    for name, _ in options.frames_for:
        if name not in there:
            raise UsageError(
                f"--frames-for: expected one of {', '.join(sorted(there))}, got {name!r}"
            )
    settings = Settings(
        levels=tuple(level for level in LEVELS if level == "c0" or level in options.levels),
        encoder=options.encoder,
        frames=(("", options.frames), *sorted(options.frames_for)),
        margin=options.margin,
        size=options.size,
        every_face=options.faces == "all",
    )
    if isinstance(out, storage.Remote):
        command.start_tensorflow()
        out.check_writable("--out")
    from tfforensics.record_folder import build

    done = build(
        listing,
        out,
        settings,
        workers=options.workers,
        runner=options.runner,
        runner_options=options.runner_options,
    )
    print(summary(done, out))


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.records")
