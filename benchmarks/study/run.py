"""Trains one method of the study with one seed and writes what it said of each test video.

    python benchmarks/study/run.py degraded --seed 0 --records records --work runs/study
    python benchmarks/study/run.py degraded --seed 0 --records records --work runs/study \\
        --without FaceSwap

Killed and run again, it goes on where it stopped. The weights that were best on validation are
judged on all manipulations of the test split, at each level by both encoders; what they say goes
to `results/` beside this script, one JSON a run, from which `table.py` makes the tables. The
records are made from portraits, a folder of photographs of one person each:

    python -m tfforensics.demo --out media --portraits PORTRAITS --train 60 --val 16 --test 24
    python -m tfforensics.records --root media --out records/portraits --frames 8 --size 128
    python -m tfforensics.records --root media --out records/portraits-nt16 --frames 8 \\
        --frames-for NeuralTextures=16 --size 128
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

from tfforensics import command, configfile, manifest, metrics
from tfforensics.config import Config
from tfforensics.ffpp import MANIPULATIONS
from tfforensics.jpeg import ENCODERS, LEVELS
from tfforensics.run import Run

HERE = Path(__file__).parent
# Everything is judged on these, whatever it was trained on.
JUDGED_ON = "portraits"


def settings(method: str, seed: int, records: Path, without: str | None) -> Config:
    """The configuration of a method with one seed, all manipulations but one, or all."""
    config = configfile.from_dict(configfile.read(HERE / "configs" / f"{method}.yaml"))
    taken = tuple(name for name in MANIPULATIONS if name != without) if without else ()
    folder = records / Path(config.data.records).name
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, records=str(folder), manipulations=taken),
        train=dataclasses.replace(config.train, seed=seed),
    )


def judge(run: Run, records: Path) -> dict[str, Any]:
    """What the run's detector says of each test video, and its frame AUC, by encoder and level."""
    from tfforensics.judge import Judge

    judged = Judge(run)
    videos: dict[str, Any] = {}
    frames: dict[str, Any] = {}
    for encoder in ENCODERS:
        # c0 is the same for both.
        levels = [level for level in LEVELS if encoder == ENCODERS[0] or level != "c0"]
        for scores in judged.at_levels(records, "test", levels, encoder):
            level = f"{encoder} {scores.level[0]}"
            by_video = scores.videos()
            videos[level] = {
                f"{manipulation}/{clip}": round(float(probability), 5)
                for manipulation, clip, probability in zip(
                    by_video.manipulation, by_video.clip, by_video.probability, strict=True
                )
            }
            frames[level] = {
                name: frame_auc(scores if name == "all" else scores.against(name))
                for name in (*scores.manipulations, "all")
            }
    return {"videos": videos, "frame_auc": frames}


def frame_auc(scores: Any) -> float:
    """The AUC of single faces, to five digits."""
    return round(float(metrics.auc(metrics.count(scores.label, scores.probability))), 5)


def main() -> None:
    """The command."""
    parser = command.Parser(prog="python benchmarks/study/run.py", description=__doc__)
    methods = sorted(path.stem for path in (HERE / "configs").glob("*.yaml"))
    parser.add_argument("method", choices=methods)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--without", choices=MANIPULATIONS, help="train on the other three")
    parser.add_argument("--records", type=Path, required=True, help="folder of the record folders")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run directories")
    parser.add_argument("--results", type=Path, default=HERE / "results", help=argparse.SUPPRESS)
    options = parser.parse_args()

    name = f"{options.method}-{options.seed}"
    if options.without:
        name += f"-without-{options.without}"
    written = options.results / f"{name}.json"
    if written.is_file():
        return
    command.start_tensorflow()
    from tfforensics.train import train

    config = settings(options.method, options.seed, options.records, options.without)
    began = time.monotonic(), time.process_time()
    trained = train(config, options.work / name)
    seconds = time.monotonic() - began[0], time.process_time() - began[1]
    result = {
        "method": options.method,
        "seed": options.seed,
        "without": options.without,
        "steps": config.train.steps,
        "batch": config.data.batch,
        "size": config.data.size,
        "validation": trained["history"],
        "seconds": round(seconds[0]),
        "processor_seconds": round(seconds[1]),
        **judge(Run(options.work / name), options.records / JUDGED_ON),
    }
    options.results.mkdir(exist_ok=True)
    manifest.write_json(written, result)


if __name__ == "__main__":
    command.run(main, "python benchmarks/study/run.py")
