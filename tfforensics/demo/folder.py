"""The demo's folder: which clips it has, who writes them, and what it says about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from tqdm import tqdm

from tfforensics import __version__, command, lock
from tfforensics import workers as worker_processes
from tfforensics.clips import SPLITS
from tfforensics.command import UsageError
from tfforensics.demo import photograph
from tfforensics.demo.film import Role, Take, clip_paths, film
from tfforensics.demo.portrait import Portrait, draw
from tfforensics.ffpp import official_clips

if TYPE_CHECKING:
    from tfforensics.detection import FaceDetector

MARKER = "demo.json"
NOTICE = (
    "These clips are NOT FaceForensics++. The faces are drawn by a program, or animated from "
    "photographs, and every 'manipulated' clip is an IMITATION by a few lines of image "
    "processing that bears the name of the manipulation it imitates. What a detector scores "
    "here says nothing about the real manipulations."
)
# A portrait has more pixels than a frame, so that moving it does not blur it much.
PORTRAIT_SCALE = 1.25


@dataclass(frozen=True)
class Face:
    """Who has a clip's number: the person in a photograph, or a drawn one."""

    number: str
    photograph: Path | None


def build(
    root: Path,
    *,
    identities: Mapping[str, int],
    seconds: float = 2.0,
    fps: int = 12,
    size: int = 352,
    seed: int = 0,
    portraits: Path | None = None,
    workers: int = 2,
) -> None:
    """Writes a small folder in the shape of FaceForensics++, or what is missing of it.

    Each identity takes the number of an official clip, with its partner from the official
    split, and gives one original and four imitated manipulations. The same arguments give
    the same bytes, whatever `workers` is and however often the work was interrupted.

    Args:
        root: the folder; new, empty, or from an earlier call with the same arguments.
        identities: how many for each split of train, val and test; even, since FaceForensics++
            has its clips in pairs.
        seconds: length of a clip.
        fps: frames a second.
        size: width and height in pixels, even.
        seed: everything random follows from it.
        portraits: folder of photographs of one person each, which are then animated instead of
            drawn portraits: as many as there are identities, spread evenly over the sorted
            paths, in the order of the clips' numbers.
        workers: processes.

    Raises:
        UsageError: a value that cannot be used, fewer photographs than identities, or a folder
            that holds something else.
        DataError: a photograph cannot be read or shows no face.
        OSError: the disk is full, or a worker was killed; run again to go on.
    """
    _check(identities)
    if workers < 1:
        raise UsageError(f"workers: expected at least 1, got {workers}")
    take = Take(seconds=float(seconds), fps=fps, size=size, seed=seed)
    pairs = faces(identities, portraits)
    with lock.hold(root):
        _mark(root, _describe(take, pairs))
        missing = [len(_missing(root, a, b)) + len(_missing(root, b, a)) for a, b in pairs]
        jobs = [pair for pair, count in zip(pairs, missing, strict=True) if count]
        with tqdm(total=sum(missing), unit="clip", desc="demo", mininterval=1) as bar:
            film_pair = partial(_film_pair, root, take=take)
            for _, written in worker_processes.run(
                film_pair, jobs, workers=min(workers, max(1, len(jobs))), start=_one_core
            ):
                bar.update(written)


def _check(identities: Mapping[str, int]) -> None:
    unknown = sorted(identities.keys() - set(SPLITS))
    if unknown:
        raise UsageError(f"identities: expected splits of {', '.join(SPLITS)}, got {unknown[0]!r}")
    for split, count in identities.items():
        most = sum(clip.split == split for clip in official_clips().values())
        if count not in range(0, most + 1, 2):
            raise UsageError(f"{split}: expected an even number from 0 to {most}, got {count}")
    if not any(identities.values()):
        raise UsageError("identities: expected at least one pair, got none")


def faces(identities: Mapping[str, int], portraits: Path | None) -> list[tuple[Face, Face]]:
    """The first pairs of each official split, and the photograph of each of their clips.

    Raises:
        UsageError: fewer photographs than identities.
    """
    pairs = [
        pair for split in SPLITS for pair in _official_pairs(split)[: identities.get(split, 0) // 2]
    ]
    numbers = sorted(number for pair in pairs for number in pair)
    photographs: dict[str, Path] = {}
    if portraits is not None:
        if not portraits.is_dir():
            raise UsageError(f"portraits: expected a folder of photographs, got {portraits}")
        found = photograph.find(portraits)
        if len(found) < len(numbers):
            raise UsageError(
                f"portraits: expected {len(numbers)} photographs "
                f"({', '.join(photograph.SUFFIXES)}), one an identity, "
                f"got {len(found)} in {portraits}"
            )
        for i, number in enumerate(numbers):
            photographs[number] = found[i * len(found) // len(numbers)]
    return [(Face(a, photographs.get(a)), Face(b, photographs.get(b))) for a, b in pairs]


def _official_pairs(split: str) -> list[tuple[str, str]]:
    return [
        (clip.number, clip.partner)
        for clip in official_clips().values()
        if clip.split == split and clip.number < clip.partner
    ]


def _describe(take: Take, pairs: list[tuple[Face, Face]]) -> str:
    """What the marker says: enough to tell whether a later call would write the same."""
    clips: dict[str, Any] = {}
    for pair in pairs:
        for face in pair:
            clip = official_clips()[face.number]
            about = {"split": clip.split, "partner": clip.partner, "face": "drawn"}
            if face.photograph is not None:
                about["face"] = face.photograph.name
                about["sha256"] = hashlib.sha256(face.photograph.read_bytes()).hexdigest()
            clips[face.number] = about
    body = {
        "notice": NOTICE,
        "tfforensics": __version__,
        "settings": asdict(take),
        "clips": dict(sorted(clips.items())),
    }
    return json.dumps(body, indent=2) + "\n"


def _mark(root: Path, text: str) -> None:
    """Says in the folder what it holds; refuses a folder that holds something else."""
    marker = root / MARKER
    if marker.is_file():
        if marker.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{root}: expected a new folder, got a demo of other settings or another version "
                f"(see {marker}); remove it or name another folder"
            )
        return
    others = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    if others:
        raise UsageError(f"{root}: expected a new or empty folder, got one with {others[0]}")
    partial = root / f".{MARKER}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(marker)


def _missing(root: Path, target: Face, source: Face) -> dict[str, Path]:
    """The clips of a target that are not there."""
    paths = clip_paths(root, target.number, source.number)
    return {name: path for name, path in paths.items() if not path.is_file()}


def _film_pair(root: Path, pair: tuple[Face, Face], take: Take) -> int:
    """Writes what is missing of a pair; returns how many clips that was."""
    roles = [Role(face.number, _portrait(face, take), take) for face in pair]
    written = 0
    for i in (0, 1):
        paths = _missing(root, pair[i], pair[1 - i])
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        film(paths, roles[i], roles[1 - i], take)
        written += len(paths)
    return written


def _portrait(face: Face, take: Take) -> Portrait:
    size = round(PORTRAIT_SCALE * take.size)
    if face.photograph is None:
        return draw(take.random(face.number, "portrait"), size)
    return photograph.load(face.photograph, _detector(), size)


@cache
def _detector() -> FaceDetector:
    """One a process: TensorFlow is imported for photographs only."""
    command.start_tensorflow()
    from tfforensics.detection import FaceDetector

    return FaceDetector()


def _one_core() -> None:
    cv2.setNumThreads(1)
