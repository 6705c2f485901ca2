"""A run -> a SavedModel for TF Serving, with all that belongs to it.

python -m tfforensics.export RUN OUT

OUT/<version>/                                 a version, complete or not there
    saved_model.pb, fingerprint.pb             the graph; see serving/saved_model.py
    assets/model_card.md, model_card.json      what it is, was trained on, is worth, is not for
    assets/goldens/                            faces with the answers that it must give
    assets/hashes.json                         SHA-256 of every other file
    assets.extra/tf_serving_warmup_requests    replayed by TF Serving when it loads the version
OUT/models.config, batching_parameters.txt, monitoring.config, compose.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfforensics import command, files, storage
from tfforensics.command import DataError, UsageError
from tfforensics.storage import Folder

if TYPE_CHECKING:
    import numpy as np

    from tfforensics.serving.exported import Exported
    from tfforensics.serving.measure import Comparison
    from tfforensics.serving.saved_model import ServingGraph


@dataclass(frozen=True)
class Export:
    """A finished export.

    Attributes:
        folder: of the new version.
        folded: batch normalisations that were folded into convolutions.
        comparison: of the served graph with the network.
    """

    folder: Folder
    folded: int
    comparison: Comparison


def export(
    source: Folder, base: Folder, *, weights: Literal["best", "ema"] | None = None
) -> Export:
    """Exports a run, or MesoNet's released weights, as the next version below `base`.

    The same weights and card give the same bytes.

    Args:
        source: a run directory, or a file of released weights.
        base: made if need be; versions that it holds stay as they are.
        weights: of a run, see `serving.source.load`.

    Raises:
        UsageError: no such source, or another process exports to `base`.
        DataError: the source is damaged, or the export could not be written.
    """
    import tensorflow as tf

    from tfforensics.scoring import inference
    from tfforensics.serving import goldens, measure, publish, saved_model, server, warmup
    from tfforensics.serving import source as sources
    from tfforensics.serving.decode import pixels_of
    from tfforensics.serving.exported import CARD, Exported

    found = sources.load(source, weights)
    graph = saved_model.build(found.network, found.card.calibration)
    card = replace(found.card, outputs=tuple(graph.outputs[saved_model.BY_BYTES]))
    faces = goldens.faces(card.crop.size)
    contents = list(faces.values())
    pixels = pixels_of(contents, card.crop.size)
    as_trained = inference(found.network)

    def trained(faces: np.ndarray) -> np.ndarray:
        return as_trained(tf.constant(faces)).numpy()

    def serve(graph: ServingGraph, folder: Path) -> Exported:
        saved_model.write(graph, folder)
        return Exported(folder, card, tf.saved_model.load(str(folder)))

    with publish.new_version(base) as (folder, version):
        folded, count = graph.folded()
        served = serve(folded, folder)
        if measure.difference(trained, served.logits, pixels) > measure.EXACT:
            served, count = serve(graph, folder), 0
        comparison = measure.compare(trained, served.logits, pixels)
        goldens.write(folder, faces, served.by_bytes(contents))
        warmup.write(folder, card.name, contents, pixels[:1])
        (folder / CARD).write_text(card.to_json(), encoding="utf-8")
        (folder / CARD).with_suffix(".md").write_text(card.to_markdown(), encoding="utf-8")
    for name, text in server.files(card.name).items():
        if not (base / name).is_file():  # it may have been edited since
            files.write(base / name, text)
    return Export(version, count, comparison)


def verify(path: Folder) -> list[str]:
    """What of an export is not as it was written, or answers otherwise; one line each.

    Args:
        path: the base path (its newest version is taken) or the folder of a version.

    Raises:
        UsageError: there is no export.
        DataError: it is damaged beyond comparing.
        OSError: object storage refuses.
    """
    from tfforensics.serving import publish

    version = publish.resolve(path)
    with publish.here(version) as folder:
        damaged = publish.damage(folder)
        if damaged:  # what is damaged is not run
            return [f"{version}/{line}" for line in damaged]
        return [f"{version}: {line}" for line in _replay(folder)]


def _replay(folder: Path) -> list[str]:
    """What the golden faces are answered otherwise."""
    from tfforensics.serving import goldens
    from tfforensics.serving.decode import pixels_of
    from tfforensics.serving.exported import load_export
    from tfforensics.serving.saved_model import NETWORK

    served = load_export(folder)
    faces, expected = goldens.read(folder)
    names, contents = list(faces), list(faces.values())
    lines = goldens.differences(expected, served.by_bytes(contents), names)
    # Pixels have been resized: their quality, and what follows from it, may be another.
    found = served.by_pixels(pixels_of(contents, served.size))
    same = {key: value for key, value in expected.items() if key in NETWORK}
    lines += goldens.differences(same, {key: found[key] for key in same}, names)
    return lines


def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.export",
        usage="%(prog)s [-h] [--weights {best,ema}] [RUN OUT] [--verify OUT]",
        description="Export a trained detector as a SavedModel for TF Serving.",
    )
    add = parser.add_argument
    add(
        "run", nargs="?", metavar="RUN",
        help="run directory of tfforensics.train, `shipped` for the package's own detector, or a "
        "file of MesoNet's released weights",
    )  # fmt: skip
    add(
        "out", nargs="?", metavar="OUT",
        help="gets the next version, OUT/<version>/; with the extra io, RUN and OUT may be "
        "addresses like s3://bucket/models/b4",
    )  # fmt: skip
    add(
        "--weights", choices=("best", "ema"),
        help="best on validation, as trained or their moving average (default: the average where "
        "the run has one)",
    )  # fmt: skip
    add(
        "--verify", metavar="OUT",
        help="check an export against its hashes and replay its golden faces",
    )  # fmt: skip
    return parser


def _place(given: str | None, argument: str) -> Folder | None:
    return None if given is None else storage.folder(given, argument)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    if (options.run is None) != (options.out is None) or not (options.run or options.verify):
        raise UsageError("expected RUN and OUT, or --verify OUT; see --help")
    run, out = _place(options.run, "RUN"), _place(options.out, "OUT")
    written = _place(options.verify, "--verify")
    command.start_tensorflow()
    if run and out:
        made = export(run, out, weights=options.weights)
        print(f"{made.folded} batch normalisations folded into convolutions; {made.comparison}")
        print(f"written to {made.folder}")
    if written:
        lines = verify(written)
        if lines:
            print("\n".join(lines), file=sys.stderr)
            raise DataError(f"{written}: {len(lines)} differences")
        print(f"{written}: as it was exported")
    return 0


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.export")
