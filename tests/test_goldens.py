"""Every multi-attention module still gives the numbers that `goldens/make_goldens.py` wrote."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).with_name("goldens")


def test_modules_give_the_stored_numbers() -> None:
    with np.load(GOLDENS / "multi_attention.npz") as arrays:
        stored = dict(arrays)
    expected = {
        name.removeprefix("output/"): value
        for name, value in stored.items()
        if name.startswith("output/")
    }
    outputs = runpy.run_path(str(GOLDENS / "make_goldens.py"))["outputs"](stored)
    assert set(outputs) == set(expected)
    for name, value in outputs.items():
        # Images are in 0..255, everything else is of the order of 1.
        tolerance = 1e-2 if name == "augmented" else 1e-4
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=tolerance, err_msg=name)
