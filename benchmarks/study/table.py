"""What each method of the study gains: tables in Markdown from the results of `run.py`.

    python benchmarks/study/table.py [--encoder turbo] [--results DIR]

Video AUC in percent by JPEG level, the mean over the seeds and their range; then the difference
to the method that each one changes in one point, with a 95% interval and what follows from it.
Both are judged on the same videos, so people are redrawn with all their videos, for all methods
and seeds alike; how a method varies with the seed is in the range, not in the interval. Last, how
well a manipulation is found that was not trained on.
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
# What each method is compared with: it differs from that in one point.
BASES = {
    "degraded": "plain",
    "multi_attention": "degraded",
    "more_neural_textures": "degraded",
    "meso4": "degraded",
    "mesoinception4": "degraded",
}
# Trains on no manipulation; compared with what trained on the other three.
SELF_BLENDED = "selfblend"
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
    runs: list[dict[str, Any]],
    base: list[dict[str, Any]],
    levels: list[str],
    against: tuple[str, ...] = MANIPULATIONS,
    draws: int = DRAWS,
) -> list[str]:
    """Difference over the seeds that both have, by level and over all of them, and the verdict.

    Each with its 95% interval; the verdict is of the mean over all levels.
    """
    seeds = {run["seed"] for run in runs} & {run["seed"] for run in base}
    ours, theirs = ([run for run in each if run["seed"] in seeds] for each in (runs, base))
    if not seeds:
        return [""] * (len(levels) + 2)
    names = people(ours[0])
    generator = np.random.default_rng(0)
    found = np.zeros((draws + 1, len(levels)))
    for draw in range(draws + 1):
        chosen = names if not draw else list(generator.choice(names, len(names)))
        weights = {name: chosen.count(name) for name in names}
        for column, level in enumerate(levels):
            own, other = (mean_auc(each, level, against, weights) for each in (ours, theirs))
            found[draw, column] = 100 * (own - other)
    found = np.column_stack([found, found.mean(axis=1)])
    low, high = np.percentile(found[1:], [2.5, 97.5], axis=0)
    cells = [
        f"{value:+.1f} [{a:+.1f}, {b:+.1f}]"
        for value, a, b in zip(found[0], low, high, strict=True)
    ]
    verdict = "helps" if low[-1] > 0 else "harms" if high[-1] < 0 else "cannot tell"
    return [*cells, verdict]


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
    gained = [*header, "all levels", "verdict"]
    rows = [
        [f"{m} over {base}", str(len(whole[m])), *gain(whole[m], whole[base], levels)]
        for m, base in BASES.items()
        if m in whole and base in whole
    ]
    if rows:
        print("\n" + table(gained, rows))
    rows = [
        [f"{method}, never saw {left_out}", str(len(found)), *row(found, levels, (left_out,))]
        for (method, left_out), found in runs.items()
        if left_out is not None
    ]
    own = whole.get(SELF_BLENDED, [])
    if own:
        rows += [
            [f"{SELF_BLENDED}, saw none, on {name}", str(len(own)), *row(own, levels, (name,))]
            for name in MANIPULATIONS
        ]
    if rows:
        print("\n" + table(header, rows))
    rows = [
        [
            f"{SELF_BLENDED} over {method} without {left_out}, on {left_out}",
            str(len(found)),
            *gain(own, found, levels, (left_out,)),
        ]
        for (method, left_out), found in runs.items()
        if left_out is not None and own
    ]
    if rows:
        print("\n" + table(gained, rows))


if __name__ == "__main__":
    main()
