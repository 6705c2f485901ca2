"""A run -> its tables: manipulations x levels, frame and video AUC.

python -m tfforensics.evaluate RUN
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfforensics import command, manifest
from tfforensics.clips import SPLITS
from tfforensics.jpeg import ENCODERS, LEVELS
from tfforensics.run import Run

if TYPE_CHECKING:
    import tf_keras as keras

    from tfforensics.config import Config
    from tfforensics.scores import Scores


def evaluate(
    run: Run,
    *,
    records: Path | None = None,
    split: str = "test",
    levels: Sequence[str] | None = None,
    encoder: str | None = None,
) -> dict[str, Any]:
    """Judges a split at each level and writes the figures to `RUN/evaluation/`.

    Args:
        run: a finished run; its weights that were best on validation are used.
        records: the record folder; the run's own by default.
        split: "train", "val" or "test".
        levels: JPEG levels; those of the run's configuration by default.
        encoder: "turbo" or "mozjpeg"; that of the run's configuration by default.

    Returns:
        What `RUN/evaluation/SPLIT.json` then holds; see `tables.Figures`.

    Raises:
        UsageError: no finished run there, or a level that the records do not give.
        DataError: damaged records.
    """
    from tfforensics import tables

    config = run.config()
    folder = records or Path(config.data.records)
    encoder = encoder or config.evaluation.encoder
    scores = score_split(
        run.load_network(),
        config,
        folder,
        split=split,
        levels=levels or config.evaluation.levels,
        encoder=encoder,
    )
    result = {
        "run": run.name,
        "records": str(folder),
        "split": split,
        "encoder": encoder,
        "faces": len(scores.at_level(scores.levels[0])),
        "videos": len(scores.at_level(scores.levels[0]).videos()),
        "figures": tables.figures(scores),
    }
    run.evaluation.mkdir(parents=True, exist_ok=True)
    manifest.write_json(run.evaluation / f"{split}.json", result)
    (run.evaluation / f"{split}.md").write_text(report(result))
    return result


def score_split(
    network: keras.Model,
    config: Config,
    records: Path,
    *,
    split: str,
    levels: Sequence[str],
    encoder: str,
) -> Scores:
    """What a network says of every face of a split at each level; shows progress."""
    from tqdm import tqdm

    from tfforensics.pipeline import evaluation_batches
    from tfforensics.scores import concatenate
    from tfforensics.scoring import inference, score

    logits = inference(network)
    faces = sum(shard.count for shard in manifest.load(records).select(split, "c0"))
    parts = []
    with tqdm(total=faces * len(levels), unit="face", desc=f"{split}", mininterval=1) as bar:
        for level in levels:
            batches = evaluation_batches(
                records,
                split,
                level,
                size=config.data.size,
                batch=config.data.batch,
                encoder=encoder,
            )
            parts.append(score(logits, batches, split, after_batch=bar.update))
    return concatenate(parts)


def report(result: dict[str, Any]) -> str:
    """The tables as Markdown."""
    from tfforensics import tables

    lines = [
        f"## {result['run']}: {result['split']} split of {result['records']}",
        "",
        f"{result['faces']:,} faces of {result['videos']:,} videos at each level, "
        f"JPEG by {result['encoder']}; AUC in percent; a video's score is the mean over its faces.",
        "",
        tables.auc_table(result["figures"], "frame"),
        "",
        tables.auc_table(result["figures"], "video"),
    ]
    return "\n".join(lines) + "\n"


def _parser() -> command.Parser:
    parser = command.Parser(
        prog="python -m tfforensics.evaluate",
        description="Judge the faces of a split with a trained detector and print its tables.",
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run directory of tfforensics.train")
    add("--records", type=Path, metavar="DIR", help="record folder (default: the run's own)")
    add("--split", choices=SPLITS, default="test", help="default: %(default)s")
    add("--levels", nargs="+", choices=LEVELS, metavar="LEVEL", help="default: the run's own")
    add("--encoder", choices=ENCODERS, help="default: the run's own")
    return parser


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(None if arguments is None else list(arguments))
    command.start_tensorflow()
    run = Run(options.run)
    result = evaluate(
        run,
        records=options.records,
        split=options.split,
        levels=options.levels,
        encoder=options.encoder,
    )
    print(report(result))
    print(f"written to {run.evaluation}", file=sys.stderr)


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.evaluate")
