"""Self-blending: a function of the seed, confined to its mask, in exact shares, from real faces."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import WriteRecords, smooth_face

from tfforensics import (
    configfile,
    degradation,
    jpeg,
    manifest,
    outline,
    pipeline,
    quality,
    selfblend,
    selfblended,
)
from tfforensics.audit import giveaway
from tfforensics.audit.read import Seen, blockiness
from tfforensics.command import UsageError
from tfforensics.config import Config, Degrade

SIDE = 96
UPRIGHT = (SIDE * (0.17 + 0.66 * outline.LANDMARKS)).astype(np.float32)


def config(records: Path, **data: Any) -> Config:
    base = {"records": str(records), "size": 64, "batch": 8}
    return configfile.from_dict({"data": base | data, "degrade": {"quality": [30, 90]}})


def labels(settings: Config, batches: int) -> np.ndarray:
    return np.stack([y.numpy() for _, y in pipeline.training_batches(settings).take(batches)])


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_the_outline_follows_the_landmarks(angle: float) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    landmarks = (UPRIGHT - SIDE / 2) @ turn + SIDE / 2
    matrix, origin = outline.fit(tf.constant(landmarks), SIDE)
    np.testing.assert_allclose(outline.LANDMARKS @ matrix + origin, landmarks, atol=1e-3)
    for name in outline.REGIONS:
        inside = outline.depth(tf.constant(landmarks), outline.REGIONS.index(name), SIDE).numpy()
        at = [inside[round(y), round(x)] > 0 for x, y in landmarks]
        # Both eyes, the nose, the corners of the mouth.
        expected = {
            "face": [1, 1, 1, 1, 1],
            "lower face": [0, 0, 1, 1, 1],
            "eyes": [1, 1, 0, 0, 0],
            "mouth": [0, 0, 0, 1, 1],
        }
        assert at == [bool(i) for i in expected[name]], name
        assert inside[0, 0] < 0 and inside[-1, -1] < 0


def test_depth_is_measured_in_pixels() -> None:
    inside = outline.depth(tf.constant(UPRIGHT), outline.REGIONS.index("face"), SIDE).numpy()
    row = inside[SIDE // 2, : SIDE // 4]  # across the cheek's edge, which is nearly upright
    slope = np.diff(row)
    assert np.median(slope) == pytest.approx(1, abs=0.15)


def test_landmarks_that_span_no_face_are_an_upright_one() -> None:
    matrix, origin = outline.fit(tf.zeros((5, 2)), 100)
    np.testing.assert_allclose(matrix, [[66, 0], [0, 66]], atol=1e-3)
    np.testing.assert_allclose(origin, [17, 15], atol=1e-3)


def test_outside_of_its_mask_a_blend_is_the_face_around_it() -> None:
    image = tf.constant(smooth_face(3, SIDE))
    weights, changed = [], 0
    for number in range(40):
        seed = tf.constant([7, number])
        face = selfblend.around(image, seed)
        mixed, mask = selfblend.with_mask(face, image, tf.constant(UPRIGHT), seed)
        outside = mask.numpy() == 0
        assert np.array_equal(mixed.numpy()[outside], face.numpy()[outside])
        changed += not np.array_equal(mixed, face)
        weights.append(float(tf.reduce_max(mask)))
    assert changed == 40
    assert min(weights) < 0.6 and max(weights) == 1 and all(0.1 < w <= 1 for w in weights)


def test_the_face_around_is_drawn_alike_for_real_and_blended() -> None:
    image = tf.constant(smooth_face(4, SIDE))
    kept = 0
    for number in range(40):
        seed = tf.constant([number, 1])
        real, blended = (
            selfblend.present(image, tf.constant(UPRIGHT), seed, tf.constant(flag))
            for flag in (False, True)
        )
        assert np.array_equal(real, selfblend.around(image, seed))
        assert np.array_equal(real[0, :8], blended[0, :8])
        kept += np.array_equal(real, image)
    assert 10 <= kept <= 30


@pytest.fixture
def records(write_records: WriteRecords) -> Path:
    counts = {"real": 12, "A": 9, "B": 5}
    return write_records({(n, s): c for n, c in counts.items() for s in ("train", "val")})


def test_shares_are_exact(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def marked(image: tf.Tensor, _: Any, __: Any, blended: tf.Tensor) -> tf.Tensor:
        return tf.where(blended, tf.fill(image.shape, tf.constant(255, tf.uint8)), image // 2)

    monkeypatch.setattr(selfblend, "present", marked)
    settings = config(records, selfblend=0.25)
    blends = real = 0
    for x, y in pipeline.training_batches(settings).take(8):
        blended = x["image"].numpy().min(axis=(1, 2, 3)) == 255
        assert blended.sum() == 1 and y.numpy()[blended] == 1
        blends, real = blends + blended.sum(), real + (y.numpy() == 0).sum()
    assert (blends, real) == (8, 32)


def test_batches_are_the_same_from_any_step(records: Path) -> None:
    settings = config(records, selfblend=1.0)
    first = [x["image"].numpy() for x, _ in pipeline.training_batches(settings).take(6)]
    later = [x["image"].numpy() for x, _ in pipeline.training_batches(settings, 3).take(3)]
    assert all(map(np.array_equal, first[3:], later))
    assert (labels(settings, 4).sum(axis=1) == 4).all()


def test_without_it_nothing_changes(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = next(iter(pipeline.training_batches(config(records))))
    monkeypatch.setattr(selfblend, "present", None)  # is not even called
    assert np.array_equal(
        plain[0]["image"], next(iter(pipeline.training_batches(config(records))))[0]["image"]
    )


def test_records_of_real_faces_are_enough(write_records: WriteRecords) -> None:
    records = write_records({("real", "train"): 6, ("real", "val"): 4})
    assert labels(config(records, selfblend=1.0), 2).mean() == 0.5


def test_validation_faces_come_in_pairs_that_never_change(records: Path) -> None:
    settings = config(records, selfblend=1.0)
    for level in ("c0", "c85"):
        first, again = (
            list(selfblended.batches(settings, records, "val", level).unbatch()) for _ in range(2)
        )
        assert [int(f["label"]) for f in first] == [0, 1] * 12
        assert {f["manipulation"].numpy() for f in first} == {b"real", b"selfblend"}
        assert all(
            np.array_equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True)
        )
    other = configfile.from_dict(
        {"data": {"records": str(records), "size": 64}, "train": {"seed": 1}}
    )
    moved = list(selfblended.batches(other, records, "val", "c85").unbatch())
    assert any(
        not np.array_equal(a["image"], b["image"]) for a, b in zip(first, moved, strict=True)
    )


def test_batches_pass_the_audit_of_their_compression(write_records: WriteRecords) -> None:
    """Nothing tells blended faces by how they are compressed: the audit's own classifier."""
    records = write_records({("real", "train"): 40})
    settings = config(records, selfblend=1.0)
    checks = giveaway.check(manifest.load(records), compressed(settings, batches=50))
    assert [check.status for check in checks] == ["passed", "passed"], checks


def test_that_audit_sees_blended_faces_of_another_quality(
    write_records: WriteRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    blend = selfblend.present

    def compressed_once_more(image: tf.Tensor, *others: Any) -> tf.Tensor:
        shown = blend(image, *others)
        again = tf.ensure_shape(jpeg.degrade_in_graph(shown, 40), shown.shape)
        return tf.where(others[-1], again, shown)

    monkeypatch.setattr(selfblend, "present", compressed_once_more)
    records = write_records({("real", "train"): 40})
    # What comes after hides the difference, as it is to: here nothing does.
    settings = config(records, selfblend=1.0)
    settings = dataclasses.replace(settings, degrade=Degrade(quality=(95, 100)))
    found = giveaway.check(manifest.load(records), compressed(settings, batches=50))[1]
    assert found.status == "failed" and "blockiness alone" in " ".join(found.findings)


def compressed(settings: Config, batches: int) -> list[Seen]:
    """The facts of training faces, each an identity of its own."""
    seen = []
    for x, y in pipeline.training_batches(settings).take(batches):
        levels = degradation.level_names(settings.degrade, x["seed"])
        for image, label, level in zip(x["image"].numpy(), y.numpy(), levels, strict=True):
            trace, name = quality.from_pixels(image), str(len(seen))
            facts = {
                "bytes": 0.0,  # they are no file, and how long one is says what it shows, too
                "quantisation tables": float(level[1:]),
                "estimated quality": 100.0 if trace is None else float(trace.quality),
                "blockiness": blockiness(image),
                "size of the face box": 0.0,
            }
            kind = selfblend.NAME if label else "real"
            seen.append(Seen("c0", int(label), kind, "train", name, name, "", "", 0, facts, None))
    return seen


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(UsageError, match=r"data.selfblend: expected 0 to 1"):
        configfile.from_dict({"data": {"selfblend": share}})
