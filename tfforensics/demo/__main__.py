"""Writes the embedded default data: a small folder in the shape of FaceForensics++.

    python -m tfforensics.demo --out DIR [--portraits DIR] [--guests DIR]

The manipulated clips are imitations; see `tfforensics.demo`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfforensics import command
from tfforensics.config import Demo


def _parser() -> command.Parser:
    default = Demo()
    parser = command.Parser(
        prog="python -m tfforensics.demo",
        description="Write a small folder in the shape of FaceForensics++: portraits in motion "
        "and imitations of the four manipulations.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder to write")
    add("--portraits", type=Path, metavar="DIR", help="photographs to animate, one a person")
    add(
        "--guests",
        type=Path,
        metavar="DIR",
        help="photographs and clips of more people, who join the training split unmanipulated",
    )
    for split in ("train", "val", "test"):
        most = getattr(default, split)
        add(
            f"--{split}",
            type=int,
            default=most,
            metavar="N",
            help="identities (default: %(default)s)",
        )
    add("--seconds", type=float, default=default.seconds, help="a clip (default: %(default)s)")
    add("--fps", type=int, default=default.fps, help="frames a second (default: %(default)s)")
    add("--seed", type=int, default=default.seed, help="draws other people (default: %(default)s)")
    add("--workers", type=int, default=command.cores(), help="processes (default: one a core)")
    return parser


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    from tfforensics.demo.folder import build

    build(
        options.out,
        identities={split: getattr(options, split) for split in ("train", "val", "test")},
        seconds=options.seconds,
        fps=options.fps,
        seed=options.seed,
        portraits=options.portraits,
        guests=options.guests,
        workers=options.workers,
    )


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.demo")
