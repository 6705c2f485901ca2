"""A run -> its tables, curves and intervals; several runs -> what they gain over the first.

    python -m tfforensics.evaluate RUN [RUN ...]

Stopped and run again, it asks the detector only what is missing. In `RUN/evaluation/`, for
the split "test" and the encoder "turbo":

    test.html                 the report, of all encoders that were asked for
    test.png                  AUC by level, of all encoders
    test-turbo.json, .csv     every figure with its interval
    test-turbo.md             the tables
    test-turbo-*.png          the other pictures
    comparison-turbo.*        of several runs; in the folder of the first
    scores/                   what the detector said of each face; judge.py
"""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfforensics import command, files, lock, manifest, staging, storage
from tfforensics.clips import SPLITS
from tfforensics.jpeg import ENCODERS, LEVELS, Encoder, Level
from tfforensics.run import Run

if TYPE_CHECKING:
    from tfforensics.findings import Findings
    from tfforensics.groups import People
    from tfforensics.judge import Judge


def evaluate(
    run: Run,
    *,
    records: Path | None = None,
    split: str = "test",
    levels: Sequence[Level] | None = None,
    encoders: Sequence[Encoder] | None = None,
    manipulations: Sequence[str] = (),
    people: People | None = None,
) -> dict[str, Any]:
    """Judges a split at each level and writes what came of it to `RUN/evaluation/`.

    Args:
        run: a finished run; its weights that were best on validation are used.
        records: the record folder; the run's own by default.
        split: "train", "val" or "test".
        levels: JPEG levels; those of the run's configuration by default.
        encoders: of the levels; that of the run's configuration by default.
        manipulations: those to judge beside the real faces; empty takes all.
        people: who belongs to which group, for figures of each.

    Returns:
        What `RUN/evaluation/SPLIT-ENCODER.json` of the first encoder then holds; see
        `findings.Findings.result`.

    Raises:
        UsageError: no finished run there, a manipulation that is not in the records, or
            someone of no group.
        DataError: damaged records, or a split without a face.
    """
    from tfforensics.judge import Judge

    config = run.config()
    folder = records or staging.local(config.data.records)
    _check(folder, manipulations)
    with lock.hold(run.evaluation):
        findings = _examine(
            Judge(run),
            folder,
            split=split,
            levels=levels or config.evaluation.levels,
            encoders=encoders or [config.evaluation.encoder],
            manipulations=manipulations,
            people=people,
        )
        return write(findings)


def _check(records: Path, manipulations: Sequence[str]) -> None:
    """Tells a mistake before a network is loaded."""
    from tfforensics.stored import selected

    selected(manifest.load(records), tuple(manipulations))


def _examine(
    judge: Judge,
    records: Path,
    *,
    split: str,
    levels: Sequence[Level],
    encoders: Sequence[Encoder],
    manipulations: Sequence[str],
    people: People | None,
) -> list[Findings]:
    """What is found by each encoder."""
    from tfforensics.findings import examine

    return [
        examine(
            judge,
            records,
            split=split,
            levels=levels,
            encoder=encoder,
            manipulations=tuple(manipulations),
            people=people,
        )
        for encoder in encoders
    ]


def write(findings: Sequence[Findings]) -> dict[str, Any]:
    """Writes tables, pictures and the report of a run.

    Args:
        findings: of one run and split, one an encoder.

    Returns:
        The result of the first encoder.
    """
    from tfforensics import mistakes, plots, report

    first = findings[0]
    folder, split = first.run.evaluation, first.scores.split
    pages = []
    for found in findings:
        page = report.Page(found.result(), plots.of(found), mistakes.worst(found))
        name = f"{split}-{found.encoder}"
        manifest.write_json(folder / f"{name}.json", page.result)
        files.write(folder / f"{name}.csv", csv_text(page.result))
        files.write(folder / f"{name}.md", report_with_details(page.result))
        for what, picture in page.pictures.items():
            files.write(folder / f"{name}-{what}.png", picture.light)
        if page.mistakes:
            files.write(folder / f"{name}-mistakes.png", mistakes.sheet(page.mistakes))
        pages.append(page)
    curves = plots.auc_by_quality(findings) if first.has_figures else None
    if curves:
        files.write(folder / f"{split}.png", curves.light)
    files.write(folder / f"{split}.html", report.evaluation(pages, curves))
    return pages[0].result


def report(result: dict[str, Any]) -> str:
    """The tables of AUC as Markdown."""
    from tfforensics import tables

    lines = [f"## {result['run']}: {result['split']} split of {result['records']}", ""]
    if result["notice"]:
        lines += [f"**Imitations.** {result['notice']}", ""]
    lines += [
        f"{result['faces']:,} faces of {result['videos']:,} videos at each level, "
        f"JPEG by {result['encoder']}; AUC in percent; a video's score is the mean over its faces.",
        "",
        tables.overview(result["figures"], "frame"),
        "",
        tables.overview(result["figures"], "video"),
    ]
    lines += [f"\nNote: {note}." for note in result["notes"]]
    return "\n".join(lines) + "\n"


def report_with_details(result: dict[str, Any]) -> str:
    """All tables as Markdown: AUC, every figure with its interval, groups, what is published."""
    from tfforensics import groups, tables

    figures, intervals = result["figures"], result["intervals"]
    lines = [
        report(result),
        "Every figure in percent, with its 95% interval over identities. ACC and F1 at one half "
        f"of the corrected probability; calibration {result['calibration']}.",
    ]
    for column in figures:
        for unit in tables.UNITS:
            lines += ["", tables.details(figures, intervals, column, unit)]
    if result["groups"]:
        lines += [
            "",
            groups.NOTE,
            "",
            tables.markdown(groups.HEAD, [*groups.rows(result["groups"])]),
        ]
    if result["published"]:
        lines += ["", "Published figures of the same setting, frame AUC; in no average of ours."]
        lines += ["", tables.beside(result["published"])]
    return "\n".join(lines) + "\n"


def csv_text(result: dict[str, Any]) -> str:
    """Every figure as a row of CSV, shares from 0 to 1."""
    from tfforensics import tables

    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["run", "split", "encoder", *tables.CSV_COLUMNS])
    for row in tables.csv_rows(result["figures"], result["intervals"]):
        rows.writerow([result["run"], result["split"], result["encoder"], *row])
    return out.getvalue()


def _compare(findings: Sequence[Findings]) -> str:
    """Writes the comparison of runs by one encoder to the first one's folder; its tables."""
    from tfforensics import plots, report
    from tfforensics.comparison import compare, markdown

    found = compare(findings)
    first = findings[0]
    name = first.run.evaluation / f"comparison-{first.encoder}"
    text = markdown(found)
    drawn = plots.gains(found)
    manifest.write_json(name.with_suffix(".json"), found.result())
    files.write(name.with_suffix(".md"), text)
    files.write(name.with_suffix(".png"), drawn.light)
    files.write(name.with_suffix(".html"), report.comparison(found, drawn))
    return text


def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.evaluate",
        description="Judge the faces of a split with trained detectors: tables, curves and a "
        "report in RUN/evaluation/. Stopped and run again, it goes on.",
    )
    add = parser.add_argument
    add(
        "run",
        type=storage.here,
        nargs="+",
        metavar="RUN",
        help="run directory of tfforensics.train; several are compared with the first",
    )
    add("--records", metavar="DIR", help="record folder (default: the first run's own)")
    add("--split", choices=SPLITS, default="test", help="default: %(default)s")
    add(
        "--levels",
        nargs="+",
        choices=LEVELS,
        metavar="LEVEL",
        help=f"of {', '.join(LEVELS)} (default: those of the first run's configuration)",
    )
    add(
        "--encoder",
        nargs="+",
        choices=ENCODERS,
        metavar="ENCODER",
        help=f"of {', '.join(ENCODERS)} (default: that of the first run's configuration)",
    )
    add(
        "--manipulations",
        nargs="+",
        default=[],
        metavar="NAME",
        help="those to judge beside the real faces (default: all)",
    )
    parser.add_argument(
        "--people",
        type=Path,
        metavar="FILE.csv",
        help="who belongs to which group: a column `person` (the number or name of an original) "
        "and one an attribute; the report then has the figures of each group",
    )
    return parser


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    runs = [Run(folder) for folder in options.run]
    settings, *_ = [run.config() for run in runs]
    command.start_tensorflow()
    from tfforensics.groups import People
    from tfforensics.judge import Judge

    people = People.read(options.people) if options.people else None
    records = (
        staging.local(options.records, "--records")
        if options.records
        else staging.local(settings.data.records)
    )
    _check(records, options.manipulations)
    found = []
    with contextlib.ExitStack() as held:
        for run in runs:
            held.enter_context(lock.hold(run.evaluation))
        for judge in [Judge(run) for run in runs]:
            one = _examine(
                judge,
                records,
                split=options.split,
                levels=options.levels or settings.evaluation.levels,
                encoders=options.encoder or [settings.evaluation.encoder],
                manipulations=options.manipulations,
                people=people,
            )
            print(report(write(one)))
            found.append(one)
        if len(runs) > 1:
            for by_encoder in zip(*found, strict=True):
                print(_compare(by_encoder))
    for run in runs:
        print(f"written to {run.evaluation}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.evaluate")
