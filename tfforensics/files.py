"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from tfforensics.storage import Remote


def write(path: Path | Remote, content: bytes | str) -> None:
    """Writes a file beside its final name, fsyncs it and renames it; puts an object whole.

    Args:
        content: a text is written as UTF-8.
    """
    content = content.encode() if isinstance(content, str) else content
    if isinstance(path, Remote):
        path.write_bytes(content)
        return
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def sync(path: Path) -> None:
    """Brings a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
