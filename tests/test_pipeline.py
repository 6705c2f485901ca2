"""The pipeline: the same batches from any step, exact balance, levels bit for bit, damage named."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import WriteRecords

from tfforensics import configfile, example, jpeg, manifest, pipeline
from tfforensics.command import DataError, UsageError
from tfforensics.config import Config

COUNTS = {"real": 12, "A": 9, "B": 5}


@pytest.fixture
def records(write_records: WriteRecords) -> Path:
    return write_records(
        {(name, "train"): count for name, count in COUNTS.items()}
        | {(name, "val"): 4 for name in COUNTS},
        levels=("c0", "c40"),
    )


def config(records: Path, **sections: dict[str, Any]) -> Config:
    base: dict[str, Any] = {
        "data": {"records": str(records), "size": 64, "batch": 4},
        "degrade": {"levels": {"c0": 1, "c23": 1, "c85": 1}, "twice": 0.3, "resize": 0.3},
        "augment": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2, "hue": 0.05},
    }
    return configfile.from_dict(base | {k: base.get(k, {}) | v for k, v in sections.items()})


def digests(dataset: tf.data.Dataset, count: int) -> list[str]:
    return [
        hashlib.sha256(b"".join(t.numpy().tobytes() for t in tf.nest.flatten(batch))).hexdigest()
        for batch in dataset.take(count)
    ]


def identities(records: Path, steps: int, **sections: dict[str, Any]) -> list[tuple[str, int]]:
    """Which face stands at each position: (manipulation, number within its pool)."""
    plain: dict[str, dict[str, Any]] = {
        "degrade": {"levels": {"c0": 1}, "twice": 0.0, "resize": 0.0},
        "augment": {
            "flip": False, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0
        },
    }  # fmt: skip
    known = {}
    for shard in manifest.load(records).select("train", "c0"):
        for record in tf.data.TFRecordDataset(str(records / shard.path)):
            face = example.deserialise(record.numpy())
            key = jpeg.decode(face.encoded).tobytes()
            known[key] = (face.manipulation, face.frame)
    batches = pipeline.training_batches(config(records, **plain, **sections))
    return [known[image.tobytes()] for x, _ in batches.take(steps) for image in x["image"].numpy()]


def test_the_first_200_batches_are_the_same_twice_and_from_any_step(records: Path) -> None:
    first = digests(pipeline.training_batches(config(records)), 200)
    assert digests(pipeline.training_batches(config(records)), 200) == first
    assert digests(pipeline.training_batches(config(records), 100), 100) == first[100:]
    assert len(set(first)) == 200
    other = config(records, train={"seed": 1})
    assert not set(digests(pipeline.training_batches(other), 20)) & set(first)


def test_classes_and_manipulations_are_balanced_exactly(records: Path) -> None:
    seen = identities(records, 45)
    assert Counter(name for name, _ in seen) == {"real": 90, "A": 45, "B": 45}
    for start in range(0, 180, 4):
        assert Counter(n == "real" for n, _ in seen[start : start + 4]) == {True: 2, False: 2}


def test_a_quarter_of_real_faces(records: Path) -> None:
    seen = identities(records, 20, data={"real_share": 0.25})
    assert Counter(name == "real" for name, _ in seen) == {True: 20, False: 60}


def test_every_face_once_a_round_in_a_new_order_each(records: Path) -> None:
    seen = identities(records, 90)
    for name, count in COUNTS.items():
        pool = [number for which, number in seen if which == name]
        rounds = [pool[i : i + count] for i in range(0, len(pool) - count + 1, count)]
        assert len(rounds) > 5
        assert all(sorted(faces) == list(range(count)) for faces in rounds)
        assert len({tuple(faces) for faces in rounds}) > len(rounds) / 2


def test_labels_and_seeds(records: Path) -> None:
    seen = set()
    for x, y in pipeline.training_batches(config(records)).take(30):
        assert x["image"].dtype == tf.uint8 and x["image"].shape == (4, 64, 64, 3)
        assert x["seed"].dtype == tf.int32 and y.dtype == tf.float32
        assert float(tf.reduce_sum(y)) == 2
        seen |= {tuple(seed) for seed in x["seed"].numpy().tolist()}
    assert len(seen) == 120


def test_a_stored_level_is_the_one_made_on_the_fly(records: Path) -> None:
    """c40 is stored, so it is read; taken away from the manifest it is made from c0."""
    stored = list(evaluate(records, "c40"))
    import dataclasses

    whole = manifest.load(records)
    only_c0 = dataclasses.replace(
        whole,
        settings=dataclasses.replace(whole.settings, levels=("c0",)),
        shards=tuple(s for s in whole.shards if s.level == "c0"),
    )
    manifest.save(only_c0, records)
    made = list(evaluate(records, "c40"))
    assert len(stored) == len(made) == 3
    for a, b in zip(stored, made, strict=True):
        assert np.array_equal(a["image"], b["image"]) and np.array_equal(a["clip"], b["clip"])
        assert b["level"].numpy().tolist() == [b"c40"] * len(b["image"])


def evaluate(records: Path, level: str, **options: Any) -> tf.data.Dataset:
    return pipeline.evaluation_batches(records, "val", level, size=64, batch=5, **options)


def test_evaluation_sees_every_face_once(records: Path) -> None:
    seen = Counter(
        (name.decode(), int(frame), int(label))
        for batch in evaluate(records, "c0")
        for name, frame, label in zip(
            batch["manipulation"].numpy(), batch["frame"].numpy(), batch["label"].numpy(),
            strict=True,
        )
    )  # fmt: skip
    assert seen == {(m, f, int(m != "real")): 1 for m in COUNTS for f in range(4)}
    chosen = {
        n for b in evaluate(records, "c0", manipulations=("B",)) for n in b["manipulation"].numpy()
    }
    assert chosen == {b"real", b"B"}


def test_another_size_is_resized_after_degradation(records: Path) -> None:
    batch = next(iter(pipeline.training_batches(config(records, data={"size": 48}))))
    assert batch[0]["image"].shape == (4, 48, 48, 3)


def test_a_flipped_bit_is_found_and_named(records: Path) -> None:
    shard = next(manifest.load(records).select("train", "c0"))
    path = records / shard.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(tf.errors.DataLossError):
        digests(pipeline.training_batches(config(records)), 30)
    assert pipeline.damage(records) == f"{path}: SHA-256 differs from the manifest's"


def test_a_shard_cut_off_or_gone_is_named_before_training(records: Path) -> None:
    shard = next(manifest.load(records).select("train", "c0"))
    path = records / shard.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path.name}: expected {shard.bytes} bytes, found"):
        pipeline.training_batches(config(records))
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: expected .* found missing"):
        pipeline.training_batches(config(records))


def test_what_is_not_there_is_named_with_what_is(records: Path) -> None:
    with pytest.raises(UsageError, match=r"manipulations: expected some of A, B, got 'C'"):
        pipeline.training_batches(config(records, data={"manipulations": ["C"]}))
    with pytest.raises(UsageError, match=r"data.level: expected one of c0, c40, which"):
        pipeline.training_batches(config(records, data={"level": "c85"}))


def test_a_split_of_one_class(write_records: WriteRecords) -> None:
    records = write_records({("A", "train"): 3, ("real", "val"): 3})
    with pytest.raises(DataError, match="no real face in the train split at level c0"):
        pipeline.training_batches(config(records))
    with pytest.raises(DataError, match="no manipulated face in the val split"):
        pipeline.pools(records, "val", "c0")
