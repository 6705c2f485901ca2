"""The one record schema: a face and what is known of it <-> a serialised tf.train.Example."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Face:
    """One face of one frame at one JPEG level.

    Attributes:
        encoded: the crop as a JPEG file.
        level: "c0", "c23", ...; see jpeg.py.
        encoder: "turbo" or "mozjpeg"; the canonical c0 is always "turbo".
        label: 1 = manipulated, 0 = real.
        manipulation: "real" or the manipulation's name.
        split: "train", "val" or "test".
        clip: e.g. "000_003", unique within its manipulation.
        target: identity whose scene is shown.
        source: identity whose face or expression was put in; empty for real faces.
        source_compression: of the media, as its dataset names it; empty where unknown.
        frame: index in the video; 0 for an image.
        track: which person of the clip; 0 is the largest persistent face.
        box: x, y, width, height of the square crop in source pixels.
        confidence: of the face detector, 0 to 1.
        margin: side of the crop over the larger side of the face box.
        padded: share of the crop that lies outside of the frame and was replicated, 0 to 1.
        landmarks: float32 (5, 2), x and y in crop pixels: eyes, nose, mouth corners.
    """

    encoded: bytes
    level: str
    encoder: str
    label: int
    manipulation: str
    split: str
    clip: str
    target: str
    source: str
    source_compression: str
    frame: int
    track: int
    box: tuple[int, int, int, int]
    confidence: float
    margin: float
    padded: float
    landmarks: np.ndarray


_BYTES = {
    "encoded": "image/encoded",
    "level": "image/level",
    "encoder": "image/encoder",
    "manipulation": "manipulation",
    "split": "split",
    "clip": "clip",
    "target": "target",
    "source": "source",
    "source_compression": "source_compression",
}
_INTS = {"label": (), "frame": (), "track": (), "box": (4,)}
_FLOATS = {"confidence": (), "margin": (), "padded": (), "landmarks": (5, 2)}


def serialise(face: Face) -> bytes:
    """A face as the bytes of a record; the same face gives the same bytes."""
    feature = {}
    for field, key in _BYTES.items():
        value = getattr(face, field)
        value = value if isinstance(value, bytes) else value.encode()
        feature[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    for field in _INTS:
        values = np.ravel(getattr(face, field)).tolist()
        feature[field] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    for field in _FLOATS:
        values = np.ravel(getattr(face, field)).tolist()
        feature[field] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


def parse(record: tf.Tensor, fields: Collection[str] | None = None) -> dict[str, tf.Tensor]:
    """The fields of `Face` as tensors, by name; the image is still encoded.

    Args:
        record: string scalar, or string (B,), which is parsed at once.
        fields: those wanted; all by default.
    """
    spec = {key: tf.io.FixedLenFeature((), tf.string) for key in _BYTES.values()}
    spec |= {key: tf.io.FixedLenFeature(shape, tf.int64) for key, shape in _INTS.items()}
    spec |= {key: tf.io.FixedLenFeature(shape, tf.float32) for key, shape in _FLOATS.items()}
    keys = _BYTES | {field: field for field in (*_INTS, *_FLOATS)}
    keys = {field: key for field, key in keys.items() if fields is None or field in fields}
    batched = record.shape.rank == 1
    parsed = (tf.io.parse_example if batched else tf.io.parse_single_example)(
        record, {key: spec[key] for key in keys.values()}
    )
    return {field: parsed[key] for field, key in keys.items()}


def deserialise(record: bytes) -> Face:
    """The face that `serialise` wrote."""
    values = {name: tensor.numpy() for name, tensor in parse(tf.constant(record)).items()}
    texts = {field: values[field].decode() for field in _BYTES if field != "encoded"}
    return Face(
        encoded=values["encoded"],
        **texts,
        label=int(values["label"]),
        frame=int(values["frame"]),
        track=int(values["track"]),
        box=tuple(values["box"].tolist()),
        confidence=float(values["confidence"]),
        margin=float(values["margin"]),
        padded=float(values["padded"]),
        landmarks=values["landmarks"],
    )
