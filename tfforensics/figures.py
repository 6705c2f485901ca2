"""Figures as RGB arrays: faces in a grid, attention over faces, ROC and PR curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

Image = npt.NDArray[np.uint8]

ATTENTION_TITLE = "Where the network looked (no evidence of manipulation)"


def face_grid(images: Image, captions: Sequence[str], *, columns: int = 4) -> Image:
    """Faces in rows, each under its caption.

    Args:
        images: uint8 (N, H, W, 3).
        captions: N, say the JPEG level of each.
        columns: faces in a row.

    Returns:
        uint8 (h, w, 3).
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * rows), layout="tight")
    for index, (image, caption) in enumerate(zip(images, captions, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, index)
        axes.imshow(image)
        axes.set_title(caption, fontsize=8)
        axes.set_axis_off()
    return _render(figure)


def attention_grid(images: Image, maps: npt.NDArray[np.float32], captions: Sequence[str]) -> Image:
    """A row for each face: the face, then each of its attention maps over it.

    Args:
        images: uint8 (N, H, W, 3).
        maps: float32 (N, h, w, M), not negative; each is shown relative to its own maximum.
        captions: N.

    Returns:
        uint8 (h, w, 3).
    """
    height, width = images.shape[1:3]
    count = maps.shape[-1]
    figure = Figure(figsize=(1.8 * (count + 1), 1.9 * len(images) + 0.4), layout="tight")
    figure.suptitle(ATTENTION_TITLE, fontsize=10)
    for row, (image, face_maps, caption) in enumerate(zip(images, maps, captions, strict=True)):
        for column in range(count + 1):
            axes = figure.add_subplot(len(images), count + 1, row * (count + 1) + column + 1)
            axes.imshow(image)
            axes.set_axis_off()
            if column == 0:
                axes.set_title(caption, fontsize=8)
                continue
            axes.imshow(
                face_maps[..., column - 1], alpha=0.5, cmap="magma", vmin=0,
                interpolation="bilinear", extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )  # fmt: skip
            axes.set_title(f"map {column}", fontsize=8)
    return _render(figure)


def roc_and_pr(
    curves: Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
) -> Image:
    """ROC and precision-recall curves side by side, one line for each entry.

    Args:
        curves: by name, labels (N,) with 1 = manipulated and scores (N,).

    Returns:
        uint8 (h, w, 3).
    """
    figure = Figure(figsize=(10, 4.5), layout="tight")
    roc, pr = figure.subplots(1, 2)
    for name, (labels, scores) in curves.items():
        false_rate, true_rate, _ = roc_curve(labels, scores)
        roc.plot(false_rate, true_rate, label=name)
        precision, recall, _ = precision_recall_curve(labels, scores)
        pr.step(recall, precision, where="post", label=name)
    roc.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    pr.set(xlabel="recall", ylabel="precision", title="Precision and recall")
    for axes in (roc, pr):
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(fontsize=8, loc="lower center")
    return _render(figure)


def _render(figure: Figure) -> Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
