"""Published figures, to stand beside ours and marked as published; never part of an average.

Two things are called c23: an H.264 quantiser of FaceForensics++'s own videos, and this
project's JPEG level. A figure is comparable only where the codec is the same too. Ours at H.264
c23 are those of the level c0, of records whose `source_compression` is c23, by a detector
trained on such records; a JPEG level of them is compressed once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfforensics.ffpp import MANIPULATIONS

ALL = "all"


@dataclass(frozen=True)
class Published:
    """One published AUC.

    Attributes:
      source: who published it and in which setting; a key of `SOURCES`.
      method: the detector or its variant.
      codec: what the level is a level of.
      level: "c23", or one of `tfforensics.metrics.AVERAGES`.
      manipulation: one of FaceForensics++'s four, or `ALL` for the four together.
      auc: 0 to 1.
    """

    source: str
    method: str
    codec: Literal["H.264", "JPEG"]
    level: str
    manipulation: str
    auc: float


SOURCES = {
    "DeepfakeBench": (
        "Yan et al., DeepfakeBench: A Comprehensive Benchmark of Deepfake Detection (NeurIPS "
        "2023), results table: frame AUC, trained on FaceForensics++ at H.264 c23, official split"
    ),
    "the report": (
        "the report of this method on FaceForensics++: AUC, each column a pair of JPEG levels or "
        "all; no more is known of the setting"
    ),
}

# (level, manipulation) of each column, then each method's row.
_DEEPFAKEBENCH_COLUMNS = [
    ("c23", ALL),
    ("c40", ALL),
    *(("c23", manipulation) for manipulation in MANIPULATIONS),
]
_DEEPFAKEBENCH = {
    "Meso4": (0.6077, 0.5920, 0.6771, 0.6170, 0.5946, 0.5701),
    "MesoInception4": (0.7583, 0.7278, 0.8542, 0.8087, 0.7421, 0.6517),
    "EfficientNet-B4": (0.9567, 0.8150, 0.9757, 0.9758, 0.9797, 0.9308),
}
# (method, level), then a figure for each of FaceForensics++'s manipulations.
_REPORT = {
    ("as published", "c23 & c40"): (0.987, 0.986, 0.992, 0.953),
    ("before its methods", "c85 & c90"): (0.883, 0.930, 0.916, 0.718),
    ("after its methods", "c85 & c90"): (0.91, 0.938, 0.94, 0.756),
    ("as published", "all datasets"): (0.928, 0.897, 0.937, 0.734),
}

FIGURES: tuple[Published, ...] = (
    *(
        Published("DeepfakeBench", method, "H.264", level, manipulation, auc)
        for method, row in _DEEPFAKEBENCH.items()
        for (level, manipulation), auc in zip(_DEEPFAKEBENCH_COLUMNS, row, strict=True)
    ),
    *(
        Published("the report", method, "JPEG", level, manipulation, auc)
        for (method, level), row in _REPORT.items()
        for manipulation, auc in zip(MANIPULATIONS, row, strict=True)
    ),
)


def beside(codec: str, level: str, manipulation: str) -> list[Published]:
    """The published figures of exactly this setting; often none."""
    return [
        figure
        for figure in FIGURES
        if (figure.codec, figure.level, figure.manipulation) == (codec, level, manipulation)
    ]
