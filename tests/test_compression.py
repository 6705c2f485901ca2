"""Compression for evaluation: the bytes of the encoders, in threads too, and which faces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face

from tfforensics import compression, degradation, jpeg, pipeline
from tfforensics.command import DataError, UsageError
from tfforensics.compression import Compression


@pytest.mark.parametrize("encoder", jpeg.ENCODERS)
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("quality", [100, 60, 5])
def test_a_compression_in_the_graph_is_the_encoder_bit_for_bit(encoder, subsampling, quality):
    face = smooth_face(1, 67)
    made = compression.in_graph(Compression(encoder, quality, subsampling))
    expected = jpeg.decode(jpeg.encode(face, quality, encoder, subsampling))
    np.testing.assert_array_equal(made(tf.constant(face)), expected)


def test_subsampling_is_what_the_file_has():
    from io import BytesIO

    from PIL import Image

    for encoder in jpeg.ENCODERS:
        for subsampling, factors in (("4:2:0", (2, 2)), ("4:4:4", (1, 1))):
            data = jpeg.encode(smooth_face(2, 64), 50, encoder, subsampling)
            with Image.open(BytesIO(data)) as image:
                assert image.layer[0][1:3] == factors


def test_twice_and_halved_are_made_of_the_same_steps():
    face = tf.constant(smooth_face(3, 64))
    once = {quality: compression.in_graph(Compression("turbo", quality)) for quality in (75, 20)}
    twice = compression.in_graph(Compression("turbo", 20, twice=True))
    np.testing.assert_array_equal(twice(face), once[20](once[75](face)))
    assert not np.array_equal(twice(face), once[20](face))

    halved = compression.in_graph(Compression("turbo", 20, halved=True))
    small = tf.ensure_shape(degradation.resize(face, 32), (32, 32, 3))
    expected = degradation.resize(once[20](small), 64)
    np.testing.assert_array_equal(halved(face), expected)


def test_names_are_distinct():
    made = [
        Compression(encoder, quality, subsampling, twice, halved)
        for encoder in jpeg.ENCODERS
        for quality in (5, 50)
        for subsampling in ("4:2:0", "4:4:4")
        for twice in (False, True)
        for halved in (False, True)
    ]
    assert len({one.name for one in made}) == len(made) == 32
    assert Compression("mozjpeg", 40).name == "mozjpeg-q40-420"
    assert Compression("mozjpeg", 40).level == "c60"


def test_threads_share_mozjpeg():
    import jpeglib

    before = jpeglib.version.get()
    faces = [smooth_face(seed, 48) for seed in range(24)]
    expected = [jpeg.encode(face, 30, "mozjpeg") for face in faces]
    with compression.threads_share_mozjpeg(), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda face: jpeg.encode(face, 30, "mozjpeg"), faces))
        assert jpeglib.version.get() == "mozjpeg403"
    assert found == expected
    assert jpeglib.version.get() == before


@pytest.fixture
def records(write_records):
    return write_records({("real", "test"): 9, ("A", "test"): 8, ("B", "test"): 3})


def test_a_level_made_for_evaluation_is_the_stored_one(write_records):
    counts = {("real", "test"): 5, ("A", "test"): 4}
    stored = write_records(counts, levels=("c0", "c85"), encoder="mozjpeg", name="stored")
    bare = write_records(counts, name="bare")
    read = pipeline.evaluation_batches(stored, "test", "c85", size=64, batch=4, encoder="mozjpeg")
    with compression.threads_share_mozjpeg():
        made = compression.batches(bare, "test", Compression("mozjpeg", 15), size=64, batch=4)
        for one, other in zip(read, made, strict=True):
            assert one.keys() == other.keys()
            for name in one.keys() - {"encoder"}:  # c0's is "turbo"
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_faces_are_those_of_the_pipeline_in_its_order(records):
    made = compression.batches(records, "test", Compression("turbo", 60), size=32, batch=5)
    read = pipeline.evaluation_batches(records, "test", "c40", size=32, batch=5)
    for one, other in zip(made, read, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["level"], other["level"])
        np.testing.assert_array_equal(one["clip"], other["clip"])


def test_rows_and_manipulations_choose_faces(records):
    def frames(**how):
        batches = compression.batches(
            records, "test", Compression("turbo", 60), size=32, batch=4, **how
        )
        return [
            (m.decode(), int(f))
            for b in batches
            for m, f in zip(b["manipulation"].numpy(), b["frame"].numpy(), strict=True)
        ]

    everything = frames()
    assert len(everything) == 20
    assert frames(rows=np.array([0, 8, 9, 19])) == [everything[i] for i in (0, 8, 9, 19)]
    assert frames(manipulations=("B",)) == [f for f in everything if f[0] != "A"]


def test_spread_takes_evenly_spaced_frames_of_each_video(write_records):
    records = write_records({("real", "test"): 10, ("A", "test"): 7}, per_clip=5, per_shard=3)
    rows = compression.spread(records, "test", 3)
    # Real clips 000 and 001 with frames 0 to 4, then those of A with 5 and 2 frames.
    assert rows.tolist() == [0, 2, 4, 5, 7, 9, 10, 12, 14, 15, 16]
    assert compression.spread(records, "test", 1).tolist() == [0, 5, 10, 15]
    assert len(compression.spread(records, "test", 99)) == 17


def test_bad_input(records):
    made = Compression("turbo", 60)
    with pytest.raises(UsageError, match=r"manipulations: expected some of A, B, got 'C'"):
        compression.batches(records, "test", made, size=32, batch=4, manipulations=("C",))
    with pytest.raises(DataError, match="no face in the val split"):
        compression.batches(records, "val", made, size=32, batch=4)
    with pytest.raises(DataError, match="no face in the val split"):
        compression.spread(records, "val", 4)
