"""The worst mistakes: the right faces, as the detector saw them."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from judged import make_findings
from PIL import Image

from tfforensics import example, jpeg, manifest
from tfforensics.mistakes import sheet, worst
from tfforensics.scores import Scores

FRAMES = 3  # of each clip


@pytest.fixture
def records(write_records):
    return write_records({("real", "test"): 12, ("B", "test"): 9}, per_clip=FRAMES, per_shard=5)


def findings(records, wrong, levels=("c0",)):
    """Findings of a detector that is right about all but the rows in `wrong`: {row: score}."""
    rows = [("real", n) for n in range(12)] + [("B", n) for n in range(9)]
    label = np.array([int(name != "real") for name, _ in rows])
    probability = np.where(label == 1, 0.99, 0.01)
    for row, score in wrong.items():
        probability[row] = score
    clip = np.array([f"{n // FRAMES:03d}" for _, n in rows])
    name = np.array([name for name, _ in rows])
    many = len(levels)
    scores = Scores(
        "test", np.tile(probability, many), np.tile(label, many), np.tile(clip, many),
        np.tile(name, many), np.repeat(levels, len(rows)), np.tile(clip, many),
        np.tile(np.full(len(rows), ""), many),
    )  # fmt: skip
    return make_findings(scores, records=records, held=manifest.load(records), resamples=2)


def faces(records):
    """Every face of the split as it is stored."""
    held = manifest.load(records)
    found = []
    for name in ("real", "B"):
        for shard in (s for s in held.select("test", "c0") if s.manipulation == name):
            data = (records / shard.path).read_bytes()
            start = 0
            for length in shard.lengths:
                found.append(example.deserialise(data[start + 12 : start + 12 + length]))
                start += length + 16
    return found


def test_the_surest_come_first_and_one_face_a_video(records):
    # Two frames of real clip 001; a face of clip 003 less sure; one fake of the second shard.
    wrong = {4: 0.8, 5: 0.9, 10: 0.7, 18: 0.2}
    found = worst(findings(records, wrong))
    stored = faces(records)
    assert [(m.probability, m.face.frame, m.face.clip, m.face.label) for m in found] == [
        (0.9, 5, "001", 0), (0.7, 10, "003", 0), (0.2, 6, "002", 1),
    ]  # fmt: skip
    for mistake, row in zip(found, (5, 10, 18), strict=True):
        assert mistake.face.encoded == stored[row].encoded
        np.testing.assert_array_equal(mistake.image, jpeg.decode(stored[row].encoded))
    assert [m.caption for m in found] == ["real 001, P 0.90", "real 003, P 0.70", "B 002, P 0.20"]


def test_there_are_no_more_than_asked_and_none_of_a_perfect_detector(records):
    wrong = {0: 0.9, 3: 0.8, 6: 0.7, 9: 0.6}
    assert [m.probability for m in worst(findings(records, wrong), each=2)] == [0.9, 0.8]
    assert worst(findings(records, {})) == []


def test_a_face_is_shown_at_the_level_at_which_it_was_judged(records):
    found = worst(findings(records, {5: 0.9}, levels=("c0", "c85")))
    original = jpeg.decode(faces(records)[5].encoded)
    assert [m.level for m in found] == ["c0", "c85"]
    np.testing.assert_array_equal(found[0].image, original)
    np.testing.assert_array_equal(found[1].image, jpeg.decode(jpeg.encode(original, 15, "turbo")))


def test_exactly_one_half_is_called_manipulated(records):
    found = worst(findings(records, {0: 0.5, 12: 0.5}))
    assert [(m.face.label, m.probability) for m in found] == [(0, 0.5)]


def test_the_sheet_is_a_png(records):
    found = worst(findings(records, {5: 0.9, 18: 0.2}))
    with Image.open(io.BytesIO(sheet(found))) as image:
        assert image.format == "PNG"
        assert min(image.size) > 100


def test_probabilities_are_the_corrected_ones(records):
    from tfforensics.calibrated import Calibrator
    from tfforensics.calibration import Band, Calibration

    base = findings(records, {})
    # A correction that takes every face for manipulated, the reals at .01 most timidly.
    shifted = Calibrator(Calibration(0.05, (Band(1, 0.1, 1.0, 0.4, 0.6, 9),)), "")
    found = worst(dataclasses.replace(base, calibrator=shifted))
    assert {m.face.label for m in found} == {0}
    expected = 1 / (1 + np.exp(-(1.0 + 0.1 * np.log(0.01 / 0.99))))
    assert found[0].probability == pytest.approx(expected)
