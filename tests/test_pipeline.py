"""The pipeline: the same batches from any step, exact balance, levels bit for bit, damage named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import WriteRecords

from tfforensics import configfile, example, jpeg, manifest, pipeline, places, source, stored
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


@pytest.mark.parametrize("made", ["here", "by a service"])
def test_shares_of_a_batch_are_the_batch(records: Path, made: str) -> None:
    """Two processes of two devices each make of every step what one device makes of it."""
    eights = config(records, data={"batch": 8})

    def first_faces(share: pipeline.Share) -> list[Any]:
        if made == "here":
            batches = pipeline.training_batches(eights, 3, share)
        else:  # whose batches come whole
            batches = source._shared(pipeline.training_batches(eights, 3), share, 8)
        return [[t.numpy() for t in tf.nest.flatten(batch)] for batch in batches.take(6)]

    whole = first_faces(pipeline.WHOLE)
    shares = [first_faces(pipeline.Share(part, parts=2, pieces=2)) for part in (0, 1)]
    for step in range(3):
        pieces = [share[2 * step + piece] for share in shares for piece in (0, 1)]
        assert [len(piece[0]) for piece in pieces] == [2, 2, 2, 2]
        for found, expected in zip(zip(*pieces, strict=True), whole[step], strict=True):
            np.testing.assert_array_equal(np.concatenate(found), expected)


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
    assert stored.damage(records) == f"{path}: SHA-256 differs from the manifest's"


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
        places.pools(manifest.load(records), records, "val", "c0")


def test_a_face_does_not_depend_on_the_batch_it_is_in(records: Path) -> None:
    small = [x["image"] for x, _ in pipeline.training_batches(config(records)).take(6)]
    large = config(records, data={"batch": 12})
    together = [x["image"] for x, _ in pipeline.training_batches(large).take(2)]
    assert np.array_equal(np.concatenate(small), np.concatenate(together))


@pytest.mark.parametrize("encoder", jpeg.ENCODERS)
def test_every_level_is_judged_as_its_encoder_writes_it(
    write_records: WriteRecords, encoder: str
) -> None:
    folder = write_records(
        {("real", "test"): 3, ("A", "test"): 2}, levels=jpeg.LEVELS, encoder=encoder
    )
    for level in jpeg.LEVELS:
        options = {"size": 64, "batch": 2, "encoder": encoder}
        batches = list(pipeline.evaluation_batches(folder, "test", level, **options))
        canonical = list(pipeline.evaluation_batches(folder, "test", "c0", size=64, batch=2))
        assert [len(batch["image"]) for batch in batches] == [2, 2, 1]
        for found, start in zip(batches, canonical, strict=True):
            for image, face in zip(found["image"].numpy(), start["image"].numpy(), strict=True):
                quality = jpeg.quality_of(level)
                expected = (
                    face if level == "c0" else jpeg.decode(jpeg.encode(face, quality, encoder))
                )
                assert np.array_equal(image, expected)


def test_a_mozjpeg_level_that_is_not_stored_is_not_made_up(records: Path) -> None:
    with pytest.raises(UsageError, match=r"c85 by mozjpeg is not in .*, which holds c0, c40 b"):
        evaluate(records, "c85", encoder="mozjpeg")
    with pytest.raises(UsageError, match="expected one of c0, c23, c40, c85, c90, c95, got 'c1'"):
        evaluate(records, "c1")


def test_evaluation_does_not_start_on_a_shard_that_is_cut_off(records: Path) -> None:
    path = records / next(manifest.load(records).select("val", "c0")).path
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=f"{path.name}: expected .* bytes, found"):
        evaluate(records, "c85")


UNDER_DETERMINISM = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tfforensics import configfile, pipeline
import tensorflow as tf
import test_pipeline
tf.config.experimental.enable_op_determinism()
config = configfile.from_dict(json.loads(sys.argv[2]))
print(json.dumps(test_pipeline.digests(pipeline.training_batches(config), 20)))
list(test_pipeline.evaluate(Path(config.data.records), "c85"))
print("and now one that is rewritten", file=sys.stderr, flush=True)
tf.random.set_seed(0)
random = tf.data.Dataset.range(9).map(lambda n: tf.random.uniform(()), num_parallel_calls=2)
list(random.prefetch(2))
"""


def test_op_determinism_takes_neither_parallelism_nor_prefetching_away(records: Path) -> None:
    """TensorFlow rewrites a pipeline with one unsafe op in it to run in turn with the training."""
    settings = config(records)
    done = subprocess.run(
        [
            sys.executable,
            *("-c", UNDER_DETERMINISM, str(Path(__file__).parent)),
            json.dumps(configfile.to_dict(settings)),
        ],
        env=os.environ | {"TF_CPP_VMODULE": "make_deterministic=3", "TF_CPP_MIN_LOG_LEVEL": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert json.loads(done.stdout) == digests(pipeline.training_batches(settings), 20)
    ours, _, unsafe = done.stderr.partition("and now one that is rewritten")
    assert "Rewriting node" in unsafe, "TensorFlow no longer says so: look for another sign"
    assert "Rewriting node" not in ours, ours[ours.index("Rewriting node") - 300 :][:600]


def test_neighbours_in_the_records_are_none_in_training(write_records: WriteRecords) -> None:
    """The frames of one clip lie side by side: with 4 rounds of the cipher they stay so."""
    count = 192
    records = write_records({("real", "train"): count, ("A", "train"): 1}, size=32, per_shard=200)
    seen = identities(records, count // 2, data={"size": 32})
    order = np.array([number for name, number in seen if name == "real"])
    assert sorted(order) == list(range(count))
    # Of a random order: a third, and nothing.
    assert np.abs(np.diff(order)).mean() / count == pytest.approx(1 / 3, abs=0.05)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.2


MEMORY = """
import sys
from pathlib import Path
import tensorflow as tf
from tfforensics import configfile, pipeline
def peak():  # getrusage's is the parent's where that was higher
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
peaks = []
for records in sys.argv[1:]:
    config = configfile.from_dict({"data": {"records": records, "size": 64}})
    iter(pipeline.training_batches(config))
    peaks.append(peak())
print(peaks[1] - peaks[0])
"""


def test_memory_is_flat_in_the_number_of_faces(records: Path, tmp_path: Path) -> None:
    """A million that are never read, in files of nothing. Where each lies takes eight bytes; some
    forty more, while the manifest is read, are free again before the first face is."""
    many = tmp_path / "many"
    many.mkdir()
    shards = []
    for number in range(20):
        name = "real" if number % 2 else "A"
        lengths = [1_000 + n % 100 for n in range(50_000)]
        shard = manifest.Shard(f"{number}.tfrecord", name, "c0", "train", lengths, "")
        with (many / shard.path).open("wb") as file:
            file.truncate(shard.bytes)
        shards.append(shard)
    manifest.save(dataclasses.replace(manifest.load(records), shards=tuple(shards)), many)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(records), str(many)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 80 * 1_000_000  # 250 with the table in the graph
