"""The JPEG quality in a graph is the one that numpy finds."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import numpy as np
import pytest
import tensorflow as tf
from conftest import smooth_face

from tfforensics import jpeg, quality, quality_in_graph


@pytest.fixture(scope="module")
def estimate():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)], autograph=False)
    def run(image):
        return quality_in_graph.estimator()(image)

    return lambda image: int(run(tf.constant(image)))


def by_numpy(image):
    found = quality.from_pixels(image)
    return quality_in_graph.NO_TRACE if found is None else found.quality


@pytest.mark.parametrize(("size", "encoder"), [(64, "turbo"), (121, "mozjpeg"), (200, "turbo")])
def test_it_is_the_quality_that_numpy_finds(estimate, size, encoder):
    for seed, wanted in enumerate((5, 15, 60, 95)):
        image = jpeg.decode(jpeg.encode(smooth_face(seed, size), wanted, encoder))
        assert estimate(image) == by_numpy(image)
        cut = image[seed % 8 :, (3 * seed) % 8 :]  # the blocks do not start at its first pixel
        assert estimate(cut) == by_numpy(cut)
    flat = np.full((size, size, 3), 127, np.uint8)
    assert estimate(flat) == by_numpy(flat)


@pytest.mark.parametrize("wanted", [10, 15, 60, 77])
def test_a_face_of_a_level_has_the_level_s_quality(estimate, wanted):
    image = jpeg.decode(jpeg.encode(smooth_face(3, 256), wanted))
    assert estimate(image) == wanted


@pytest.mark.parametrize(
    "image",
    [
        smooth_face(0, 128),
        np.zeros((40, 50, 3), np.uint8),
        np.full((15, 200, 3), 99, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["never compressed", "black", "low", "one pixel"],
)
def test_no_trace_counts_as_uncompressed(estimate, image):
    assert estimate(image) == 100


def test_of_a_large_image_the_middle_is_looked_at(estimate):
    image = np.tile(smooth_face(1, 100), (9, 9, 1))
    middle = jpeg.decode(jpeg.encode(np.tile(smooth_face(2, 100), (6, 6, 1)), 15))
    image[192:704, 192:704] = middle[:512, :512]
    assert estimate(image) == 15


def test_a_loop_holds_its_tables_once():
    @tf.function(input_signature=[tf.TensorSpec((None, 64, 64, 3), tf.uint8)], autograph=False)
    def run(images):
        spec = tf.TensorSpec((), tf.int32)
        return tf.map_fn(quality_in_graph.estimator(), images, fn_output_signature=spec)

    size = run.get_concrete_function().graph.as_graph_def().ByteSize()
    assert 3.4e6 < size < 4e6
