"""What each method of the study gains: tables in Markdown from the results of `run.py`.

    python benchmarks/study/table.py [--encoder turbo] [--results DIR]

Video AUC in percent by JPEG level, the mean over the seeds and their range, and below it the
difference to the plain detector with a 95% interval: both are judged on the same videos, so people
are redrawn with all their videos, for all methods and seeds alike. Runs that left a manipulation
out are judged on that one alone.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tfforensics import metrics
from tfforensics.clips import REAL
from tfforensics.ffpp import MANIPULATIONS
from tfforensics.jpeg import ENCODERS, LEVELS

HERE = Path(__file__).parent
PLAIN = "plain"
DRAWS = 1000

Runs = dict[tuple[str, str | None], list[dict[str, Any]]]


def read(folder: Path) -> Runs:
    """The results by method and manipulation left out, in the order of their seeds."""
    runs: Runs = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        runs[result["method"], result["without"]].append(result)
    return {
        key: sorted(found, key=lambda r: r["seed"]) for key, found in sorted(runs.items(), key=str)
    }


def people(result: dict[str, Any]) -> list[str]:
    """Whom the test videos show: real ones are named after one person, the others after two."""
    (first, *_) = result["videos"].values()
    return sorted({name.split("/")[1] for name in first if name.startswith(f"{REAL}/")})


def video_auc(
    result: dict[str, Any], level: str, against: tuple[str, ...], weights: dict[str, int]
) -> float:
    """AUC of real videos against those of some manipulations, each counted as its person is."""
    names = [n for n in result["videos"][level] if n.split("/")[0] in (REAL, *against)]
    times = np.array([weights[name.split("/")[1].split("_")[0]] for name in names])
    score = np.repeat([result["videos"][level][name] for name in names], times)
    label = np.repeat([not name.startswith(f"{REAL}/") for name in names], times)
    return float(metrics.auc(metrics.count(label, score)))


def mean_auc(
    runs: list[dict[str, Any]], level: str, against: tuple[str, ...], weights: dict[str, int]
) -> float:
    """The mean over the seeds."""
    return float(np.mean([video_auc(run, level, against, weights) for run in runs]))


def row(runs: list[dict[str, Any]], levels: list[str], against: tuple[str, ...]) -> list[str]:
    """Mean and range over the seeds, by level."""
    once = dict.fromkeys(people(runs[0]), 1)
    cells = []
    for level in levels:
        found = [100 * video_auc(run, level, against, once) for run in runs]
        spread = f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else ""
        cells.append(f"{np.mean(found):.1f}{spread}")
    return cells


def gain(
    runs: list[dict[str, Any]], plain: list[dict[str, Any]], level: str, draws: int = DRAWS
) -> str:
    """Difference to the plain detector over the seeds that both have, with its 95% interval."""
    seeds = {run["seed"] for run in runs} & {run["seed"] for run in plain}
    ours = [run for run in runs if run["seed"] in seeds]
    theirs = [run for run in plain if run["seed"] in seeds]
    if not seeds:
        return ""
    names = people(ours[0])
    generator = np.random.default_rng(0)
    found = []
    for draw in range(draws + 1):
        chosen = names if not draw else list(generator.choice(names, len(names)))
        weights = {name: chosen.count(name) for name in names}
        found.append(
            100 * mean_auc(ours, level, MANIPULATIONS, weights)
            - 100 * mean_auc(theirs, level, MANIPULATIONS, weights)
        )
    low, high = np.percentile(found[1:], [2.5, 97.5])
    return f"{found[0]:+.1f} [{low:+.1f}, {high:+.1f}]"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", choices=ENCODERS, default=ENCODERS[0])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    runs = read(options.results)
    # c0 is the same for both encoders and stands under the first.
    levels = [f"{ENCODERS[0] if x == 'c0' else options.encoder} {x}" for x in LEVELS]
    header = ["method", "seeds", *LEVELS]

    whole = {method: found for (method, left_out), found in runs.items() if left_out is None}
    rows = [[m, str(len(f)), *row(f, levels, MANIPULATIONS)] for m, f in whole.items()]
    print(table(header, rows))
    if PLAIN in whole and len(whole) > 1:
        rows = [
            [method, str(len(found)), *(gain(found, whole[PLAIN], level) for level in levels)]
            for method, found in whole.items()
            if method != PLAIN
        ]
        print("\nagainst plain:\n\n" + table(header, rows))
    rows = [
        [f"{method}, never saw {left_out}", str(len(found)), *row(found, levels, (left_out,))]
        for (method, left_out), found in runs.items()
        if left_out is not None
    ]
    if rows:
        print("\n" + table(header, rows))


if __name__ == "__main__":
    main()
