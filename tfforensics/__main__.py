"""Lists the commands: python -m tfforensics."""

from __future__ import annotations

import argparse

from tfforensics import __doc__ as summary
from tfforensics import __version__, command

COMMANDS = {
    "records": "faces of videos and images -> TFRecords",
    "train": "train a detector; without arguments, on the embedded default",
    "dataservice": "dispatcher and workers that make training's input on other machines",
    "evaluate": "trained detectors -> tables by manipulation and JPEG level, and what one gains",
    "audit": "records -> is the set fit to train and to judge on",
    "levels": "an image -> what each JPEG level makes of it, in a picture and a table",
    "robustness": "a trained detector -> how it holds as compression grows",
    "export": "a trained detector -> a SavedModel for TF Serving",
    "client": "images -> the answers of a running TF Serving",
    "predict": "images, videos, folders -> a judgement of the faces in them",
    "pack": "a trained detector -> a few small files, to hand on or to train on from",
    "demo": "the embedded default's videos, drawn or from photographs",
    "models.scaling": "the EfficientNet family: width, depth, resolution, FLOPs, parameters",
}


def main() -> None:
    """The command."""
    names = [f"python -m tfforensics.{name}" for name in COMMANDS]
    width = max(map(len, names))
    lines = [f"  {n:<{width}}  {does}" for n, does in zip(names, COMMANDS.values(), strict=True)]
    parser = command.Parser(
        prog="python -m tfforensics",
        description=f"{summary}\n\ncommands, each with its own --help:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args()
    parser.print_help()


if __name__ == "__main__":
    command.run(main, "python -m tfforensics")
