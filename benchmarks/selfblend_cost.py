"""What self-blending costs: processor time of a training face, over that of a plain one.

    python benchmarks/selfblend_cost.py [--config configs/portraits_selfblend.yaml] [--records DIR]

The pipelines of one configuration with every manipulated face self-blended, half of them, and
none, in turns; the records must hold manipulated faces.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

from tfforensics import command, configfile

SHARES = (0.0, 0.5, 1.0)
ROUNDS, BATCHES = 7, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--config", type=Path, default=Path("configs/portraits_selfblend.yaml"))
    parser.add_argument("--records", help="record folder (default: the configuration's)")
    parser.add_argument("--plain", action="store_true", help="without resizes and colour changes")
    options = parser.parse_args()
    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics import pipeline
    from tfforensics.config import Augment

    tf.config.experimental.enable_op_determinism()
    config = configfile.from_dict(configfile.read(options.config))
    replace = dataclasses.replace
    if options.plain:
        degrade = replace(config.degrade, resize=0.0, twice=0.0)
        config = replace(config, degrade=degrade, augment=Augment())
    records = options.records or config.data.records
    sources = {
        share: iter(
            pipeline.training_batches(
                replace(config, data=replace(config.data, records=records, selfblend=share))
            )
        )
        for share in SHARES
    }
    taken: dict[float, list[float]] = {share: [] for share in SHARES}
    for turn in range(ROUNDS + 1):
        for share, batches in sources.items():
            time.sleep(0.5)  # what is made ahead is made
            began = time.process_time()
            for _ in range(BATCHES):
                next(batches)
            time.sleep(0.5)
            if turn:  # the first one warms up
                spent = time.process_time() - began
                taken[share].append(1000 * spent / BATCHES / config.data.batch)
    plain = statistics.median(taken[0.0])
    print("| self-blended share | ms a face | lowest to highest | over plain |")
    print("|---:|---:|---:|---:|")
    for share, found in taken.items():
        middle = statistics.median(found)
        spread = f"{min(found):.2f} to {max(found):.2f}"
        print(f"| {share} | {middle:.2f} | {spread} | {middle / plain:.2f} |")


if __name__ == "__main__":
    main()
