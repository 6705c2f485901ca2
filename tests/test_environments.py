"""The two environments are one: what is trained in either is exported and served from the other."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import smooth_face
from test_train import settings

from tfforensics import configfile, jpeg

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENTS = (".venv", ".venv-io")

needs_both = pytest.mark.skipif(
    not all((REPOSITORY / name / "ready").is_file() for name in ENVIRONMENTS),
    reason="needs both environments (make venv venv-io)",
)

# What differs by TensorFlow 2.16, NumPy 1 and protobuf 4.
PINNED_APART = {
    "tensorflow", "tf-keras", "tensorboard", "tensorflow-serving-api", "numpy",
    "opencv-python-headless", "tensorflow-addons",
}  # fmt: skip


def requirements(text: str) -> dict[str, str]:
    """Bounds by package."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    parts = (re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?([^;]*).*", line) for line in lines if line)
    return {part[1].lower(): part[2].strip() for part in parts if part}


def test_the_io_environment_has_what_the_package_asks_for() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    asked = requirements(setup["options"]["install_requires"])
    asked |= requirements(setup["options.extras_require"]["test"])
    there = requirements((REPOSITORY / "requirements-io.in").read_text())
    assert asked.keys() <= there.keys()
    for name in asked.keys() - PINNED_APART:
        assert there[name] == asked[name], name
    lock = (REPOSITORY / "requirements-io.lock").read_text()
    assert there.keys() <= set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    assert "://" not in lock


# Prints P(manipulated) of every file by every export.
SERVE = """
import json, sys
from pathlib import Path
import tfforensics
import tensorflow as tf
files = tf.constant([path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())])
for export in sys.argv[2:]:
    serve = tf.saved_model.load(export).signatures["serving_default"]
    print("answer", json.dumps(serve(image_bytes=files)["probability"].numpy().tolist()))
"""


def run(name: str, *program: str) -> str:
    """What a Python program says in one of the environments."""
    done = subprocess.run(
        [str(REPOSITORY / name / "bin" / "python"), *program],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.io
@needs_both
@pytest.mark.parametrize("home", ENVIRONMENTS)
def test_trained_in_one_and_served_from_both(home: str, write_records: Any, tmp_path: Path) -> None:
    counts = {"train": 12, "val": 6, "test": 6}
    records = write_records({(m, s): n for m in ("real", "A") for s, n in counts.items()})
    file, trained = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump(configfile.to_dict(settings(records))))
    run(home, "-m", "tfforensics.train", "--config", str(file), "--workdir", str(trained))
    for name in ENVIRONMENTS:
        run(name, "-m", "tfforensics.export", str(trained), str(tmp_path / name))
    faces = tmp_path / "faces"
    faces.mkdir()
    for seed in range(16):
        file = faces / f"{seed:02d}.jpg"
        file.write_bytes(jpeg.encode(smooth_face(seed, 64), 95 - 5 * seed, "turbo"))
    exports = [str(tmp_path / name / "1") for name in ENVIRONMENTS]
    answers = []
    for name in ENVIRONMENTS:
        said = run(name, "-c", SERVE, str(faces), *exports).splitlines()
        answers += [json.loads(line[7:]) for line in said if line.startswith("answer ")]
    assert np.shape(answers) == (4, 16)
    assert np.ptp(answers[0]) > 1e-3  # they tell the faces apart
    assert np.ptp(answers, axis=0).max() < 1e-4
