"""Frames -> an H.264 file, the same way for every clip of the demo."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

COMPRESSION = "c23"  # FaceForensics++'s name for H.264 at this rate factor
# The bytes must depend on the frames alone: one thread, whatever the machine has, and no
# macroblock tree, with which x264 (core 165) writes other bytes at every run once there are
# B-frames.
OPTIONS = {
    "preset": "veryfast", "crf": "23", "g": "30", "bf": "2", "threads": "1", "mbtree": "0",
}  # fmt: skip


class Writer:
    """Writes one MP4, frame by frame, under a temporary name; leaving the `with` renames it.

    Where the block is left by an exception, nothing stays.
    """

    def __init__(self, path: Path, *, size: int, fps: int, comment: str) -> None:
        """
        Args:
            path: where to; an existing file is replaced.
            size: width and height in pixels, even.
            fps: frames a second.
            comment: goes into the file's metadata.

        Raises:
            OSError: the file cannot be written; so do the methods.
        """
        self._path = path
        self._part = path.with_name(f".{path.name}.partial")
        with self._plain_errors():
            self._container = av.open(
                str(self._part), "w", format="mp4", options={"fflags": "+bitexact"}
            )
        self._container.metadata["comment"] = comment
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps), options=OPTIONS)
        self._stream.width = self._stream.height = size
        self._stream.pix_fmt = "yuv420p"

    def add(self, image: np.ndarray) -> None:
        """Appends a frame, (size, size, 3) uint8 RGB."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        with self._plain_errors():
            self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._plain_errors():
                if error is None:
                    self._container.mux(self._stream.encode(None))
                self._container.close()
            if error is None:
                with self._part.open("rb") as file:
                    os.fsync(file.fileno())
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """PyAV's errors cannot be sent between processes: they become plain ones."""
        try:
            yield
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
