"""What the command line names -> the files to judge: files, folders, patterns."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from tfforensics.clips import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from tfforensics.command import UsageError
from tfforensics.media import MediaError, kind_of, read_head


def expand(names: Sequence[str]) -> tuple[list[Path], int]:
    """The files that are meant, each once, in the order in which they are named.

    Of a folder, every file below it that is an image or a video by its name or its first
    bytes; what is neither is passed over. A file that is named itself is always taken: if it
    is nothing that can be judged, that is its judgement.

    Returns:
        The files, and how many were passed over.

    Raises:
        UsageError: a name of nothing, or a folder without an image or video.
    """
    found: dict[Path, None] = {}
    over = 0
    for name in names:
        path = Path(name)
        if path.exists() or path.is_symlink():
            matched = [path]
        else:
            matched = [Path(match) for match in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207
        if not matched:
            raise UsageError(
                f"MEDIA: expected a file, a folder or a pattern that matches, got {name!r}"
            )
        for match in matched:
            if not match.is_dir():
                found[match] = None
                continue
            below = sorted(p for p in match.rglob("*") if p.is_file())
            media = [p for p in below if _is_media(p)]
            if not media and len(matched) == 1:
                raise UsageError(f"MEDIA: expected an image or a video in the folder {name!r}")
            found |= dict.fromkeys(media)
            over += len(below) - len(media)
    return list(found), over


def shown(path: Path | str) -> str:
    """A file's name as text that is safe to print: names can hold any bytes."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _is_media(path: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES:
        return True
    try:
        return kind_of(read_head(path)) in ("image", "video")
    except MediaError:
        return False
