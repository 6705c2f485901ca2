"""A finished run, or the shipped detector -> a few small files: python -m tfforensics.pack."""

from __future__ import annotations

from collections.abc import Sequence

from tfforensics import command, storage


def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.pack",
        description="Write a detector's settings and its weights in half precision to a folder: "
        "a run that can be evaluated, exported and trained on from. Evaluate it anew: the figures "
        "of a run are those of its own weights.",
    )
    parser.add_argument(
        "run", type=storage.here, metavar="RUN",
        help="run directory of tfforensics.train, or `shipped`, the package's own detector",
    )  # fmt: skip
    parser.add_argument("out", type=storage.here, metavar="OUT", help="a new folder")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(arguments)
    command.start_tensorflow()
    from tfforensics import packed, shipped
    from tfforensics.run import Run

    made = packed.pack(Run(shipped.resolve(options.run)), options.out)
    size = made.packed_weights.stat().st_size
    print(f"written to {made.folder}; the weights take {size / 1e6:.1f} MB")


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.pack")
