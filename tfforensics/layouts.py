"""The folder shapes that datasets come in, by name -> their clips."""

from __future__ import annotations

from pathlib import Path

from tfforensics.celebdf import find_celebdf
from tfforensics.clips import Listing, find_folders
from tfforensics.command import UsageError
from tfforensics.dfdc import find_dfdc
from tfforensics.ffpp import find_clips

LAYOUTS = ("ffpp", "folders", "celebdf", "dfdc")


def find(
    layout: str,
    root: Path,
    *,
    split_by: str = "identity",
    official_test: bool = False,
    compression: str | None = None,
) -> Listing:
    """Lists the clips of a dataset.

    Args:
        layout: one of LAYOUTS.
        split_by: see `clips.with_splits`; FaceForensics++ has its own split.
        official_test: of celebdf and dfdc.
        compression: see `ffpp.find_clips`.

    Raises:
        UsageError, DataError: as the layouts' own functions; an option of another layout.
    """
    if layout in ("celebdf", "dfdc"):
        found = find_celebdf if layout == "celebdf" else find_dfdc
        return found(root, split_by, official_test=official_test)
    if official_test:
        raise UsageError(f"--official-test: expected --layout celebdf or dfdc, got {layout}")
    return find_folders(root, split_by) if layout == "folders" else find_clips(root, compression)
