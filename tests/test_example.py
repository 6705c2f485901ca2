"""The record schema: what goes in comes out, under the keys that it promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfforensics import example, jpeg
from tfforensics.example import Face


def face(**changes):
    made = Face(
        encoded=jpeg.encode_canonical(smooth_face(0, 48)),
        level="c0",
        encoder="turbo",
        label=1,
        manipulation="NeuralTextures",
        split="test",
        clip="000_003",
        target="000",
        source="003",
        source_compression="c23",
        frame=17,
        track=1,
        box=(-5, 20, 300, 300),
        confidence=0.984375,
        margin=1.25,
        padded=0.0625,
        landmarks=np.arange(10, dtype=np.float32).reshape(5, 2) - 0.5,
    )
    return dataclasses.replace(made, **changes)


def assert_equal(found, expected):
    for field in dataclasses.fields(Face):
        value = getattr(found, field.name)
        if field.name == "landmarks":
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, expected.landmarks)
        else:
            assert value == getattr(expected, field.name), field.name
            assert type(value) is type(getattr(expected, field.name)), field.name


def test_a_face_survives_the_record():
    assert_equal(example.deserialise(example.serialise(face())), face())


texts = st.text(max_size=12).filter(lambda text: text.isprintable())
single = st.floats(0, 1, width=32)
faces = st.builds(
    face,
    encoded=st.binary(max_size=30),
    label=st.integers(0, 1),
    **dict.fromkeys(("level", "manipulation", "clip", "target", "source"), texts),
    frame=st.integers(0, 2**40),
    box=st.tuples(*[st.integers(-(2**31), 2**31)] * 4),
    confidence=single,
    padded=single,
    landmarks=hnp.arrays(np.float32, (5, 2), elements=st.floats(-1e4, 1e4, width=32)),
)


@given(faces)
@settings(max_examples=60, deadline=None)
def test_any_face_survives_the_record_and_gives_the_same_bytes(made):
    record = example.serialise(made)
    assert_equal(example.deserialise(record), made)
    assert example.serialise(made) == record


def test_an_image_in_a_record_is_the_pixels_it_was():
    pixels = smooth_face(1, 64)
    record = example.serialise(face(encoded=jpeg.encode(pixels, 60)))
    encoded = example.parse(tf.constant(record))["encoded"]
    expected = jpeg.decode(jpeg.encode(pixels, 60))
    np.testing.assert_array_equal(jpeg.decode_in_graph(encoded).numpy(), expected)
    np.testing.assert_array_equal(jpeg.decode(example.deserialise(record).encoded), expected)


def test_the_keys_and_kinds_of_a_record():
    features = tf.train.Example.FromString(example.serialise(face())).features.feature
    kinds = {key: value.WhichOneof("kind") for key, value in features.items()}
    texts = ("image/encoded", "image/level", "image/encoder", "manipulation", "split", "clip")
    more_texts = ("target", "source", "source_compression")
    assert kinds == (
        dict.fromkeys((*texts, *more_texts), "bytes_list")
        | dict.fromkeys(("label", "frame", "track", "box"), "int64_list")
        | dict.fromkeys(("confidence", "margin", "padded", "landmarks"), "float_list")
    )
    assert features["clip"].bytes_list.value == [b"000_003"]
    assert features["label"].int64_list.value == [1]
    assert features["box"].int64_list.value == [-5, 20, 300, 300]
    assert features["landmarks"].float_list.value[:3] == [-0.5, 0.5, 1.5]


def test_a_batch_of_records_is_parsed_at_once():
    made = [face(frame=n, clip=f"{n:03d}") for n in range(3)]
    fields = example.parse(tf.constant([example.serialise(f) for f in made]))
    assert fields["frame"].numpy().tolist() == [0, 1, 2]
    assert fields["clip"].numpy().tolist() == [b"000", b"001", b"002"]
    assert fields["landmarks"].shape == (3, 5, 2)
    assert fields["box"].shape == (3, 4)
    assert set(fields) == {field.name for field in dataclasses.fields(Face)}


@pytest.mark.parametrize("key", ["image/encoded", "label", "landmarks"])
def test_a_record_without_a_field_is_an_error_that_names_it(key):
    record = tf.train.Example.FromString(example.serialise(face()))
    del record.features.feature[key]
    with pytest.raises(tf.errors.InvalidArgumentError, match=key):
        example.parse(tf.constant(record.SerializeToString()))
