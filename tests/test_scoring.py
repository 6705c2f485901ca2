"""Scoring: logits of a network over the evaluation pipeline become aligned scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from conftest import WriteRecords

from tfforensics import pipeline
from tfforensics.scoring import inference, score


def mean_of_red() -> keras.Model:
    """A network whose logit is known: the mean of the red channel, and noise while training."""
    images = keras.Input((64, 64, 3), dtype=tf.uint8)
    values = keras.layers.Lambda(lambda x: tf.cast(x, tf.float32)[..., 0])(images)
    values = keras.layers.GaussianNoise(100.0)(values)
    return keras.Model(
        images, {"logit": keras.layers.Lambda(lambda x: tf.reduce_mean(x, (1, 2)))(values)}
    )


def batch_of(logits: list[float], **columns: list[object]) -> dict[str, tf.Tensor]:
    texts = {name: ["x"] * len(logits) for name in ("clip", "manipulation", "level", "target")}
    values = {"image": logits, "label": [0] * len(logits), "source": [""] * len(logits)}
    return {name: tf.constant(column) for name, column in (values | texts | columns).items()}


def test_inference_takes_any_batch_and_is_not_training() -> None:
    logits = inference(mean_of_red())
    images = np.zeros((5, 64, 64, 3), np.uint8)
    images[..., 0] = np.arange(5)[:, None, None] * 10
    for count in (5, 2, 1):
        found = logits(tf.constant(images[:count]))
        assert found.dtype == tf.float32
        assert found.numpy().tolist() == [0.0, 10.0, 20.0, 30.0, 40.0][:count]


def test_every_face_is_scored_beside_its_own_facts(write_records: WriteRecords) -> None:
    folder = write_records({("real", "val"): 7, ("A", "val"): 4, ("B", "val"): 5})
    faces = {
        (manipulation.decode(), clip.decode(), int(frame)): image
        for batch in pipeline.evaluation_batches(folder, "val", "c85", size=64, batch=3)
        for manipulation, clip, frame, image in zip(
            *(batch[k].numpy() for k in ("manipulation", "clip", "frame", "image")), strict=True
        )
    }
    done: list[int] = []
    batches = pipeline.evaluation_batches(folder, "val", "c85", size=64, batch=3)
    # Small logits, so that the probabilities differ.
    logits = inference(mean_of_red())
    found = score(lambda images: logits(images) / 100 - 1, batches, "val", after_batch=done.append)
    assert done == [3, 3, 3, 3, 3, 1]
    assert len(found) == 16
    assert found.split == "val"
    assert found.levels == ["c85"]
    keys = sorted(faces, key=lambda key: (key[0] != "real", key))
    assert found.manipulation.tolist() == [m for m, _, _ in keys]
    assert found.clip.tolist() == found.target.tolist() == [clip for _, clip, _ in keys]
    assert found.label.tolist() == [int(m != "real") for m, _, _ in keys]
    expected = [1 / (1 + math.exp(1 - faces[key][..., 0].mean() / 100)) for key in keys]
    np.testing.assert_allclose(found.probability, expected, rtol=1e-5)
    assert len(set(expected)) == 16


def test_large_logits_do_not_become_ties() -> None:
    found = score(lambda logits: logits, [batch_of([20.0, 21.0, -90.0, 30.0, 0.0])], "test")
    assert found.probability.dtype == np.float64
    assert found.probability[0] < found.probability[1] < found.probability[3] < 1
    assert found.probability[2] == pytest.approx(8.19e-40, rel=1e-3)
    assert found.probability[4] == 0.5


def test_names_in_any_script_and_of_any_length_are_kept() -> None:
    names = ["ä", "真理", "a" * 300, ""]
    first = batch_of([0.0] * 2, clip=names[:2])
    second = batch_of([0.0] * 2, clip=names[2:])
    assert score(lambda logits: logits, [first, second], "test").clip.tolist() == names
