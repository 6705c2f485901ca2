"""What the served graph costs or gains against the network that was trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from tfforensics.scores import Floats

EXACT = 1e-5  # a graph that moves a probability by more is another model
_BATCHES = (1, 16)
_SECONDS = 2.0  # that speeds at a batch size are measured for

# uint8 faces (B, S, S, 3) -> logits (B,)
Logits = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """A served graph beside the network that was trained.

    Attributes:
        difference: see `difference`.
        before: faces a second of the network, by batch size.
        after: of the served graph, its decoding left out.
    """

    difference: float
    before: Mapping[int, float]
    after: Mapping[int, float]

    def __str__(self) -> str:
        speeds = ", ".join(
            f"{self.before[batch]:.1f} -> {self.after[batch]:.1f} at batch {batch}"
            for batch in self.before
        )
        return f"probabilities differ by at most {self.difference:.1e}; faces/s {speeds}"


def difference(network: Logits, served: Logits, faces: np.ndarray) -> float:
    """How far the served graph moves sigmoid(logit) of any of these faces at most."""

    def probability(graph: Logits) -> Floats:
        return expit(graph(faces).astype(np.float64))

    return float(np.abs(probability(network) - probability(served)).max())


def compare(network: Logits, served: Logits, faces: np.ndarray) -> Comparison:
    """Runs both on uint8 faces (B, S, S, 3)."""
    speeds = {
        batch: _faces_a_second([network, served], np.resize(faces, (batch, *faces.shape[1:])))
        for batch in _BATCHES
    }
    return Comparison(
        difference(network, served, faces),
        before={batch: speed[0] for batch, speed in speeds.items()},
        after={batch: speed[1] for batch, speed in speeds.items()},
    )


def _faces_a_second(graphs: Sequence[Logits], faces: np.ndarray) -> list[float]:
    """By the fastest call of each, in turns and five at least: others share the machine."""
    for graph in graphs:
        graph(faces)  # kernels are chosen and weights laid out at the first call
    took: list[list[float]] = [[] for _ in graphs]
    while len(took[0]) < 5 or sum(map(sum, took)) < _SECONDS:
        for graph, times in zip(graphs, took, strict=True):
            start = time.perf_counter()
            graph(faces)
            times.append(time.perf_counter() - start)
    return [len(faces) / min(times) for times in took]
