"""Files of faces -> pixels, as TensorFlow ops that a stranger's bytes cannot hurt.

The size that a file claims is read before any pixel is decoded, so a file of some bytes
cannot claim gigabytes of memory; formats other than JPEG and PNG are refused by their first
bytes, whatever the decoder would make of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfforensics import degradation, jpeg

MAX_PIXELS = 1 << 24  # 4096 x 4096: 50 MB once decoded
# A progressive JPEG is decoded anew for each of its scans. Encoders write about ten; a file
# can hold thousands of empty ones.
MAX_SCANS = 100
# Faces decoded at the same time: bounds the memory that a request takes.
_AT_ONCE = 4
_HEADER = 24  # bytes; the shortest valid file is longer


def decode_faces(
    image_bytes: tf.Tensor, size: int, quality: Callable[[tf.Tensor], tf.Tensor] | None = None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Decodes a batch and brings it to the network's size, as the pipeline does.

    Args:
        image_bytes: string (B,), files as `decode_file` takes them.
        size: side of the network's input in pixels.
        quality: estimates the JPEG quality of an image; it gets the pixels as they are decoded.

    Returns:
        uint8 (B, size, size, 3) RGB, and int32 (B,) qualities, or None.

    Raises:
        tf.errors.InvalidArgumentError: while it runs, for an empty batch and as `decode_file`.
    """

    def face(numbered: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        image = decode_file(*numbered)
        as_it_is = tf.reduce_all(tf.shape(image)[:2] == size)
        fitted = tf.cond(as_it_is, lambda: image, lambda: degradation.resize(image, size))
        fitted = tf.ensure_shape(fitted, (size, size, 3))
        return (fitted,) if quality is None else (fitted, quality(image))

    count = tf.size(image_bytes)
    # No faces at all would reach kernels that mistake them for something else.
    with tf.control_dependencies(
        [tf.debugging.Assert(count > 0, ["image_bytes: expected at least one file, got none"])]
    ):
        numbered = (image_bytes, tf.range(count))
    specs = (tf.TensorSpec((size, size, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    decoded = tf.map_fn(
        face,
        numbered,
        fn_output_signature=specs[:1] if quality is None else specs,
        parallel_iterations=_AT_ONCE,
    )
    return decoded[0], None if quality is None else decoded[1]


def pixels_of(files: Sequence[bytes], size: int) -> np.ndarray:
    """`decode_faces` of files at hand: uint8 (B, size, size, 3)."""
    decoded, _ = tf.function(decode_faces, autograph=False)(tf.constant(list(files)), size)
    return decoded.numpy()


def decode_file(contents: tf.Tensor, index: tf.Tensor | int = 0) -> tf.Tensor:
    """Decodes a JPEG as the pipeline does, or a PNG.

    Alpha is dropped, 16 bits are cut to 8, grey becomes RGB, and orientation metadata is not
    heeded.

    Args:
        contents: string ().
        index: the file's place in its request, for messages.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        tf.errors.InvalidArgumentError: while it runs, on what is no whole JPEG or PNG, or is
            beyond the limits.
    """
    header = tf.strings.substr(contents, 0, _HEADER)
    is_jpeg = tf.strings.substr(header, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(header, 0, 8) == b"\x89PNG\r\n\x1a\n"
    length = tf.strings.length(contents)
    known = (is_jpeg | is_png) & (length >= _HEADER)
    with tf.control_dependencies(
        [_expect(known, index, "a JPEG or PNG file, got {} bytes of something else", length)]
    ):
        shape = tf.cond(
            is_jpeg,
            lambda: tf.cast(tf.io.extract_jpeg_shape(contents)[:2], tf.int64),
            lambda: _png_shape(header),
        )
    fits = (tf.reduce_min(shape) > 0) & (tf.reduce_prod(shape) <= MAX_PIXELS)
    scans = tf.size(tf.strings.split(contents, b"\xff\xda")) - 1
    few = ~is_jpeg | (scans <= MAX_SCANS)
    with tf.control_dependencies(
        [
            _expect(fits, index, f"1 to {MAX_PIXELS} pixels, got {{}} (height, width)", shape),
            _expect(few, index, f"at most {MAX_SCANS} scans, got {{}}", scans),
        ]
    ):
        return tf.cond(
            is_jpeg,
            lambda: jpeg.decode_in_graph(contents),
            lambda: tf.io.decode_png(contents, channels=3),
        )


def _png_shape(header: tf.Tensor) -> tf.Tensor:
    """int64 (2,) height and width, from bytes 16 to 23 of a PNG file."""
    width_height = tf.io.decode_raw(
        tf.strings.substr(header, 16, 8), tf.int32, little_endian=False, fixed_length=8
    )
    return tf.cast(width_height[::-1], tf.int64)


def _expect(
    condition: tf.Tensor, index: tf.Tensor | int, expected: str, got: tf.Tensor
) -> tf.Operation:
    message = tf.strings.format(f"image_bytes[{{}}]: expected {expected}", (index, got))
    return tf.debugging.Assert(condition, [message])
