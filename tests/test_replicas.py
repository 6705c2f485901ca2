"""One detector on several devices: like on one, up to rounding, and resumed exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_train import records, settings  # noqa: F401

from tfforensics.command import UsageError
from tfforensics.config import Config
from tfforensics.replicas import check

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent)}


def mirrored(*arguments: str | Path) -> dict[str, Any]:
    program = [sys.executable, str(HERE / "mirrored.py"), *map(str, arguments)]
    done = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_devices_train_like_one_and_resume_exactly(tmp_path: Path) -> None:
    found = mirrored("small", tmp_path)
    assert [epoch["step"] for epoch in found["two"]] == [12, 24, 32]
    # Largest relative difference found: 3e-6.
    for one, two in zip(found["one"], found["two"], strict=True):
        assert two == pytest.approx(one, rel=2e-5)
    assert found["differs"] == []


@pytest.mark.slow
@pytest.mark.promise
def test_multi_attention_on_two_devices_trains_like_on_one(tmp_path: Path) -> None:
    found = mirrored("multi_attention")
    one, two = found["one"], found["two"]
    assert set(two["figures"]) == {"loss", "auc"} | {
        f"loss/{part}" for part in ("cross_entropy", "region", "agda", "match")
    }
    # Largest differences found: 2e-7 of a figure, 3e-7 of a weight. On one device whose first
    # weights are moved by a rounding (2^-23 of themselves) they are 4e-7 and 2e-7.
    for name, curve in one["figures"].items():
        np.testing.assert_allclose(two["figures"][name], curve, rtol=4e-6, err_msg=name)
    np.testing.assert_allclose(two["centres"], one["centres"], atol=1e-6)
    assert np.abs(one["centres"]).max() > 0.01
    for name, weight in one["weights"].items():
        np.testing.assert_allclose(two["weights"][name], weight, atol=4e-6, err_msg=name)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"data": {"batch": 5}}, r"data\.batch: expected a multiple of 2 on 2 devices, got 5"),
        (
            {"optimizer": {"name": "lamb"}},
            r"optimizer\.name: expected adam, adamw or sgd on 2 devices, got lamb",
        ),
        ({"train": {"jit_compile": True}}, r"train\.jit_compile: expected false on 2 devices, got"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    records: Path,  # noqa: F811
    sections: dict[str, Any],
    expected: str,
) -> None:
    config: Config = settings(records, **sections)
    check(config, 1)
    with pytest.raises(UsageError, match=f"^{expected}"):
        check(config, 2)
