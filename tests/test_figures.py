"""Figures: what stands in them, and that they are pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfforensics import figures

FACES = np.full((3, 8, 8, 3), 100, np.uint8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn, as matplotlib has them."""
    kept: list[Any] = []
    render = figures._render
    monkeypatch.setattr(figures, "_render", lambda figure: (kept.append(figure), render(figure))[1])
    return kept


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_face_grid(drawn: list[Any]) -> None:
    image = figures.face_grid(FACES, ["c0", "c40", "c85"], columns=2)
    assert (image.dtype, image.shape) == (np.uint8, (440, 400, 3))
    assert titles(drawn[0]) == ["c0", "c40", "c85"]


def test_attention_grid_says_what_it_is(drawn: list[Any]) -> None:
    maps = np.zeros((3, 2, 2, 4), np.float32)
    image = figures.attention_grid(FACES, maps, ["real", "Deepfakes", "FaceSwap"])
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert drawn[0].get_suptitle() == "Where the network looked (no evidence of manipulation)"
    assert titles(drawn[0])[:6] == ["real", "map 1", "map 2", "map 3", "map 4", "Deepfakes"]


def test_attention_lies_where_the_map_is_high(drawn: list[Any]) -> None:
    maps = np.zeros((1, 2, 2, 1), np.float32)
    maps[0, 0, 1, 0] = 1.0  # top right
    figures.attention_grid(FACES[:1], maps, [""])
    face, overlay = drawn[0].axes[1].get_images()
    assert overlay.get_extent() == face.get_extent() == [-0.5, 7.5, 7.5, -0.5]
    assert overlay.get_array()[0, 1] == 1.0


def test_roc_and_pr(drawn: list[Any]) -> None:
    labels = np.array([0, 0, 1, 1])
    figures.roc_and_pr(
        {"c0": (labels, np.array([0.1, 0.4, 0.35, 0.8])), "c40": (labels, np.array([0, 1, 2, 3]))}
    )
    roc, pr = drawn[0].axes
    assert [line.get_label() for line in roc.lines[:2]] == ["c0", "c40"]
    assert roc.lines[0].get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    np.testing.assert_allclose(
        pr.lines[0].get_xydata(), [[1, 0.5], [1, 2 / 3], [0.5, 0.5], [0.5, 1], [0, 1]]
    )
