"""One file, a folder, a video -> a judgement: python -m tfforensics.predict.

With --serve a page on this machine, where a file is dropped and its judgement appears.

Exit statuses: 0 every file was judged (that nobody's face was found is a judgement, too), 1
some could not be read, 2 a mistake in the arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics import command, files, storage
from tfforensics.command import ArgumentTypeError, UsageError

if TYPE_CHECKING:
    from tfforensics.judging.answers import Model
    from tfforensics.judging.judge import Settings
    from tfforensics.serving.exported import Exported


def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.predict",
        description="Judge faces in images and videos: manipulated, not manipulated, cannot tell.",
        epilog="Exit status: 0 all files were judged, 1 some could not be read, 2 wrong arguments. "
        "An answer is a measurement, not a proof.",
    )
    add = parser.add_argument
    add("media", nargs="*", metavar="MEDIA", help="images, videos, folders, patterns")
    add(
        "--model", metavar="OUT",
        help="an export of tfforensics.export (default: the detector that comes with the package); "
        "with the extra io also s3://bucket/models/b4",
    )  # fmt: skip
    add(
        "--runtime", choices=("tensorflow", "openvino"), default="tensorflow",
        help="what runs the network: openvino needs the extra of that name and is faster on a CPU "
        "(default: %(default)s)",
    )  # fmt: skip
    add(
        "--precision", choices=("float32", "bfloat16"),
        help="that openvino computes in; bfloat16 moves probabilities by hundredths, and needs a "
        "CPU that has it (default: float32)",
    )  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write all that is known")
    add("--csv", type=Path, metavar="FILE", help="write a row a file")
    add("--report", type=Path, metavar="FILE.html", help="write a page to look at, in one file")
    add(
        "--faces-per-second", type=_positive, default=2.0, metavar="N",
        help="of each person in a video (default: %(default)s)",
    )  # fmt: skip
    add(
        "--frames-at-most", type=_count, default=600, metavar="N",
        help="of one video; a longer one is sampled more sparsely (default: %(default)s)",
    )  # fmt: skip
    add("--batch", type=_count, default=32, metavar="N", help="faces at once (default: 32)")
    add("--crops", action="store_true", help="the files are faces, cut out as the card says")
    add("--no-stability", action="store_true", help="do not judge again at lower JPEG qualities")
    add("--serve", action="store_true", help="open a page on this machine where files are dropped")
    add(
        "--host", default="127.0.0.1", type=_address, metavar="IP",
        help="of the page (default: %(default)s, which no other machine can reach)",
    )  # fmt: skip
    add(
        "--port", default=8400, type=_port, metavar="N",
        help="of the page, 0 for any that is free (default: %(default)s)",
    )  # fmt: skip
    add(
        "--upload-limit", default=500, type=_count, metavar="MB",
        help="largest file of the page (default: %(default)s)",
    )  # fmt: skip
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1000:
        raise ArgumentTypeError(f"expected a number above 0 and below 1000, got {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise ArgumentTypeError(f"expected a whole number from 1 to 1000000, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise ArgumentTypeError(f"expected a whole number from 0 to 65535, got {text!r}")
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ArgumentTypeError(f"expected an IP address of this machine, got {text!r}") from None


def _settings(options: argparse.Namespace) -> Settings:
    from tfforensics.judging.judge import Settings
    from tfforensics.judging.subject import Sampling

    return Settings(
        sampling=Sampling(options.faces_per_second, options.frames_at_most),
        batch=options.batch,
        crops=options.crops,
        pictures=options.serve or options.report is not None,
        stability=not options.no_stability,
    )


def _check(options: argparse.Namespace) -> None:
    if options.serve and (options.media or options.json or options.csv or options.report):
        raise UsageError("--serve: expected neither MEDIA nor a file to write")
    if not options.serve and not options.media:
        raise UsageError("MEDIA: expected at least one file, folder or pattern; see --help")
    if options.precision and options.runtime != "openvino":
        raise UsageError("--precision: expected --runtime openvino with it")
    for name in ("json", "csv", "report"):
        path = getattr(options, name)
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"--{name}: expected a file in a folder that is there, got {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    _check(options)
    return _serve(options) if options.serve else _judge(options)


def _model(options: argparse.Namespace) -> Model:
    """What judges: the export, on the runtime that was asked for."""
    if options.runtime == "tensorflow":
        return _exported(options.model)
    from tfforensics.serving import openvino_runtime

    openvino_runtime.load()  # where it is missing, nothing else is said
    return openvino_runtime.OnOpenVino(_exported(options.model), options.precision or "float32")


def _runtime(options: argparse.Namespace) -> str:
    """To name in a file; answers in bfloat16 are not those in float32."""
    if options.runtime == "tensorflow":
        return "tensorflow"
    return f"{options.runtime}, {options.precision or 'float32'}"


def _exported(place: str | None) -> Exported:
    """The export that was named, or the shipped detector, which says what it is."""
    from tfforensics import shipped
    from tfforensics.serving.exported import load_export

    if place is not None and place != shipped.NAME:
        return load_export(storage.folder(place, "--model"))
    print(
        "Judged by the detector that comes with the package. It has learned from real faces "
        "blended with themselves and is a first opinion; README, 'The shipped detector'.",
        file=sys.stderr,
    )
    return shipped.load()


def _serve(options: argparse.Namespace) -> int:
    """The page, until Ctrl-C."""
    command.start_tensorflow()
    from tfforensics.judging import web
    from tfforensics.judging.judge import Judge

    judge = Judge(_model(options), _settings(options))
    try:
        server = web.listen(judge, options.host, options.port, options.upload_limit)
    except OSError as error:
        where = f"{options.host} port {options.port}"
        raise UsageError(f"--port: cannot listen on {where}: {error.strerror}") from error
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{host}:{server.port}/ (Ctrl-C ends it)", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


def _judge(options: argparse.Namespace) -> int:
    from tfforensics.judging import inputs

    paths, over = inputs.expand(options.media)
    command.start_tensorflow()
    from tqdm import tqdm

    from tfforensics.judging import tables
    from tfforensics.judging.judge import Judge

    model = _model(options)
    judge = Judge(model, _settings(options))
    bar = tqdm(judge.judge(paths), total=len(paths), unit="file", desc="judging", disable=None)
    found = list(bar)
    print(tables.terminal(found))
    if over:
        print(f"{over} files in folders are neither images nor videos and were passed over")
    if model.card.calibration is None:
        print(
            "Not calibrated: P is the sigmoid of the logit, called at one half; do not rely on it"
        )
    if options.json:
        files.write(options.json, tables.to_json(found, model.card, _runtime(options)))
    if options.csv:
        files.write(options.csv, tables.to_csv(found))
    if options.report:
        from tfforensics.judging import page

        files.write(options.report, page.report(found, model.card))
    unread = sum(one.call == "could not be read" for one in found)
    if unread:
        print(f"{unread} of {len(found)} files could not be read", file=sys.stderr)
    return 1 if unread else 0


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.predict")
