"""A run -> how it holds as JPEG compression grows, by both encoders and in four ways.

    python -m tfforensics.robustness RUN

Quality from 100 down to 5; compressed once, once without chroma subsampling, twice, and at
half the size. Stopped and run again, it goes on. In `RUN/evaluation/`, for the split "test":
`robustness-test.html` (the report), `.csv`, `.md`, `.png`.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics import command, files, lock, staging, storage
from tfforensics.clips import SPLITS
from tfforensics.jpeg import ENCODERS, Encoder
from tfforensics.run import Run

if TYPE_CHECKING:
    from tfforensics.sweep import Sweep

QUALITIES = (100, 95, 90, 80, 70, 60, 50, 40, 30, 20, 15, 10, 5)


def robustness(
    run: Run,
    *,
    records: Path | None = None,
    split: str = "test",
    qualities: Sequence[int] = QUALITIES,
    encoders: Sequence[Encoder] = ENCODERS,
    frames: int = 4,
) -> str:
    """Judges faces after every compression and writes what came of it to `RUN/evaluation/`.

    Args:
        run: a finished run; its weights that were best on validation are used.
        records: the record folder; the run's own by default.
        split: "train", "val" or "test".
        qualities: 1 to 100 each.
        encoders: of every compression.
        frames: at most so many evenly spaced faces of each video.

    Returns:
        The tables as Markdown.

    Raises:
        UsageError: no finished run there.
        DataError: damaged records, or a split without faces of both classes.
    """
    folder = records or staging.local(run.config().data.records)
    from tfforensics import plots, report, sweep
    from tfforensics.judge import Judge

    with lock.hold(run.evaluation):
        swept = sweep.sweep(
            Judge(run),
            folder,
            split=split,
            qualities=sorted(set(qualities), reverse=True),
            encoders=encoders,
            frames=frames,
        )
        drawn = plots.robustness(swept.points)
        text = _markdown(swept, split)
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(sweep.csv_rows(swept.points))
        name = run.evaluation / f"robustness-{split}"
        files.write(name.with_suffix(".md"), text)
        files.write(name.with_suffix(".csv"), out.getvalue())
        files.write(name.with_suffix(".png"), drawn.light)
        files.write(name.with_suffix(".html"), report.robustness(swept, drawn))
    return text


def _markdown(swept: Sweep, split: str) -> str:
    from tfforensics import sweep

    lines = [
        f"## {swept.run.name}: robustness on the {split} split of {swept.records}",
        *([f"**Imitations.** {swept.notice}"] if swept.notice else []),
        "Single faces, all manipulations together, in percent. False alarms are real faces "
        f"called manipulated; calibration {swept.calibrator.source}.",
        *(sweep.markdown(swept.points, figure) for figure in sweep.FIGURES),
    ]
    return "\n\n".join(lines) + "\n"


# fmt: off
def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.robustness",
        description="Judge faces after compression at many qualities: by both encoders, once, "
        "twice, at half the size, and without chroma subsampling. Run again, it goes on.",
    )
    add = parser.add_argument
    add("run", type=storage.here, metavar="RUN", help="run directory of tfforensics.train")
    add("--records", metavar="DIR", help="record folder (default: the run's own)")
    add("--split", choices=SPLITS, default="test", help="default: %(default)s")
    add("--qualities", nargs="+", type=_quality, default=QUALITIES, metavar="Q",
        help=f"JPEG qualities (default: {' '.join(map(str, QUALITIES))})")
    add("--encoder", nargs="+", choices=ENCODERS, default=ENCODERS, metavar="ENCODER",
        help=f"of {', '.join(ENCODERS)} (default: both)")
    add("--frames", type=_frames, default=4, metavar="N",
        help="at most N evenly spaced faces of each video (default: %(default)s)")
    return parser
# fmt: on


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise command.ArgumentTypeError(f"expected a JPEG quality of 1 to 100, got {text!r}")
    return int(text)


def _frames(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise command.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    run = Run(options.run)
    run.config()  # before TensorFlow takes its time to start
    command.start_tensorflow()
    text = robustness(
        run,
        records=staging.local(options.records, "--records") if options.records else None,
        split=options.split,
        qualities=options.qualities,
        encoders=options.encoder,
        frames=options.frames,
    )
    print(text)
    print(f"written to {run.evaluation}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.robustness")
