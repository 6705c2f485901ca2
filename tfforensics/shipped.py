"""The detector that comes with the package: a packed run, and a model that is ready to be asked.

It was trained on real faces blended with themselves (selfblend.py) and has seen no manipulation;
its card says on which faces, and what it is worth: `python -m tfforensics.export shipped OUT`.
Made by benchmarks/ship.py.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tfforensics.run import Run

if TYPE_CHECKING:
    from tfforensics.serving.exported import Exported

NAME = "shipped"  # in place of a run's folder
FOLDER = Path(__file__).parent / "weights" / "selfblend-lite0"


def resolve(path: Path) -> Path:
    """The folder of the shipped detector's run for its name; any other path as it is.

    A folder of that name in the working directory is written ./shipped.
    """
    return FOLDER if str(path) == NAME else path


def load() -> Exported:
    """The model that `load_export` would give of an export of it.

    Raises:
        DataError: a file of it is damaged.
    """
    from dataclasses import replace

    import tensorflow as tf

    from tfforensics.serving import saved_model, source
    from tfforensics.serving.exported import Exported

    found = source.load(FOLDER)
    graph, _ = saved_model.build(found.network, found.card.calibration).folded()
    card = replace(found.card, outputs=tuple(graph.outputs[saved_model.BY_BYTES]))
    with tempfile.TemporaryDirectory() as folder:
        saved_model.write(graph, Path(folder))
        return Exported(FOLDER, card, tf.saved_model.load(folder))


def run() -> Run:
    """Its packed run, to be read only."""
    return Run(FOLDER)
