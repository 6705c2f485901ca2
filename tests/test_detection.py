"""The face detector: the package's boxes, nobody else's weights, and no input that breaks it."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import person, scene

from tfforensics.detection import Face, FaceDetector
from tfforensics.detection_networks import load_networks

PORTRAITS = Path(__file__).parents[2] / "shared" / "portraits"
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def package():
    from mtcnn import MTCNN

    return MTCNN()


def agree(faces: list[Face], expected: list[dict], image: np.ndarray) -> bool:
    """Whether the faces are the package's, which are clipped to the image and rounded."""
    if len(faces) != len(expected):
        return False
    expected = sorted(expected, key=lambda found: -found["confidence"])
    height, width = image.shape[:2]
    for face, other in zip(faces, expected, strict=True):
        x, y, w, h = face.box
        left, right = np.clip([x, x + w], 0, width - 1)
        top, bottom = np.clip([y, y + h], 0, height - 1)
        box = left, top, right - left, bottom - top
        points = [other["keypoints"][name] for name in POINTS]
        if not (
            abs(face.confidence - other["confidence"]) < 2e-4
            and np.allclose(box, other["box"], rtol=0, atol=0.75)
            and np.allclose(face.landmarks, points, rtol=0, atol=0.75)
        ):
            return False
    return True


def test_drawn_people_as_the_package_finds_them(detector, package):
    images = [
        person(1, 300).image,
        scene([person(2, 180), person(3, 240)], [(30.5, 60), (330, 40)]),
        scene([person(4, 200)], [(500, 220)]),  # reaches beyond the border
        scene([], []),
    ]
    found = detector.detect(images)
    assert [len(faces) >= n for faces, n in zip(found, (1, 2, 1, 0), strict=True)] == [True] * 4
    for faces, image in zip(found, images, strict=True):
        assert agree(faces, package.detect_faces(image), image)


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason=f"no portraits at {PORTRAITS}")
def test_photographs_as_the_package_finds_them(detector, package):
    with (PORTRAITS / "portraits.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    equal = []
    for name in names[::10]:
        image = np.asarray(Image.open(PORTRAITS / name).convert("RGB").resize((512, 512)))
        (faces,) = detector.detect([image])
        assert faces
        equal.append(agree(faces, package.detect_faces(image), image))
    # Where several proposals score exactly 1, which one leads is a whim of the package's sort.
    assert sum(equal) >= 9, equal


def test_landmarks_lie_where_they_were_drawn(detector):
    portrait = person(5, 320)
    ((face,),) = detector.detect([portrait.image])
    x, y, width, height = face.box
    apart = np.abs(face.landmarks - portrait.landmarks).max()
    assert apart < 0.12 * width
    assert (face.landmarks[:, 0] > x).all()
    assert (face.landmarks[:, 0] < x + width).all()
    assert (face.landmarks[:, 1] > y).all()
    assert (face.landmarks[:, 1] < y + height).all()
    assert face.side == max(width, height)
    assert 0.8 < face.confidence <= 1


def test_images_searched_together_are_searched_alike(detector):
    images = [scene([person(n, 200)], [(50.0 * n, 30 * n)], seed=n) for n in range(5)]
    images.insert(2, person(9, 333).image)
    together = detector.detect(images)
    for image, faces in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert len(alone) == len(faces) >= 1
        for one, other in zip(alone, faces, strict=True):
            np.testing.assert_allclose(one.box, other.box, atol=0.01)


def test_only_the_sizes_that_were_asked_for(detector):
    image = scene([person(2, 90), person(3, 340)], [(30, 60), (250, 10)])
    ((larger, smaller),) = [
        sorted(found, key=lambda f: -f.side) for found in detector.detect([image])
    ]
    assert larger.side > 3 * smaller.side
    middle = (larger.side * smaller.side) ** 0.5
    for low, high, expected in ((middle, np.inf, larger), (0, middle, smaller)):
        ((face,),) = detector.detect([image], low, high)
        np.testing.assert_allclose(face.box, expected.box, atol=0.1 * expected.side)
    assert detector.detect([image], 400, np.inf) == [[]]


def test_nothing_to_find(detector):
    assert detector.detect([]) == []
    shapes = (1, 1), (1, 400), (400, 1), (12, 12), (19, 19), (20, 20), (21, 300), (64, 64)
    blank = [np.full((*shape, 3), 90, np.uint8) for shape in shapes]
    assert detector.detect(blank) == [[]] * len(shapes)


def test_a_crowd_costs_little_memory(detector):
    """Where most cells of a level answer, not every pair of them is compared at once."""
    crowd = np.tile(person(1, 44).image, (25, 44, 1))[:1080, :1920]
    tracemalloc.start()
    (faces,) = detector.detect([crowd])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 128 << 20
    assert len(faces) > 100


class Planted:
    """What a file of weights can hold: an order to write a file when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_weights_that_lie_around_are_not_opened(tmp_path, monkeypatch):
    from mtcnn.utils.tensorflow import load_weights

    marker = tmp_path / "executed"
    monkeypatch.chdir(tmp_path)
    for name in ("pnet.lz4", "rnet.lz4", "onet.lz4"):
        Path(name).write_bytes(pickle.dumps(Planted(marker)))
    load_networks()
    assert not marker.exists()
    # The trap is real: the package falls into it.
    load_weights("pnet.lz4")
    assert marker.exists()


def test_weights_that_are_not_the_known_ones_are_refused(tmp_path, monkeypatch):
    marker = tmp_path / "executed"
    weights = tmp_path / "mtcnn" / "assets" / "weights"
    weights.mkdir(parents=True)
    (tmp_path / "mtcnn" / "__init__.py").touch()
    (weights / "pnet.lz4").write_bytes(pickle.dumps(Planted(marker)))
    spec = importlib.util.spec_from_file_location("mtcnn", tmp_path / "mtcnn" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ImportError, match=r"pnet\.lz4: expected the weights of mtcnn 1\.0\.0"):
        load_networks()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs the package mtcnn 1\.0"):
        load_networks()
    assert not marker.exists()


def digest(detector: FaceDetector) -> str:
    images = [scene([person(n, 200)], [(50 * n, 30 * n)], seed=n) for n in range(4)]
    found = [face for faces in detector.detect(images) for face in faces]
    assert len(found) >= 4
    numbers = [(*face.box, face.confidence, *face.landmarks.ravel().tolist()) for face in found]
    return hashlib.sha256(np.array(numbers).tobytes()).hexdigest()


def test_one_thread_gives_the_same_faces(detector):
    """In a process of its own, as TensorFlow's threads are set once; here it has all cores."""
    script = """
import tfforensics
import cv2, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
cv2.setNumThreads(1)
from test_detection import FaceDetector, digest
print(digest(FaceDetector()))
"""
    alone = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert alone.stdout.strip() == digest(detector)
