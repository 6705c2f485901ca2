"""The demo's folder: which clips it has, who writes them, and what it says about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
from tfforensics.demo import guest, photograph
from tfforensics.demo.film import ORIGINAL, Role, Take, clip_paths, film
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


@dataclass(frozen=True)
class Face:
    """Who has a clip's number: the person in a photograph (or a guest's clip), or a drawn one."""

    number: str
    photograph: Path | None


Cast = tuple[Face, Face] | tuple[Face]  # a pair, or a guest


def build(
    root: Path,
    *,
    identities: Mapping[str, int],
    seconds: float = 2.0,
    fps: int = 12,
    size: int = 352,
    seed: int = 0,
    portraits: Path | None = None,
    guests: Path | None = None,
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
        guests: folder of photographs and clips of one real person each, who join the training
            split as themselves alone, with the next of its numbers.
        workers: processes.

    Raises:
        UsageError: a value that cannot be used, fewer photographs than identities, or a folder
            that holds something else.
        DataError: a photograph or clip cannot be read, or a photograph shows no face.
        OSError: the disk is full, or a worker was killed; run again to go on.
    """
    _check(identities)
    if workers < 1:
        raise UsageError(f"workers: expected at least 1, got {workers}")
    take = Take(seconds=float(seconds), fps=fps, size=size, seed=seed)
    casts: list[Cast] = [*faces(identities, portraits), *_guests(identities, guests)]
    with lock.hold(root):
        _mark(root, _describe(take, casts))
        missing = [sum(map(len, _missing(root, cast).values())) for cast in casts]
        jobs = [cast for cast, count in zip(casts, missing, strict=True) if count]
        with tqdm(total=sum(missing), unit="clip", desc="demo", mininterval=1) as bar:
            film_cast = partial(_film, root, take=take)
            for _, written in worker_processes.run(
                film_cast, jobs, workers=min(workers, max(1, len(jobs))), start=_one_core
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


def _guests(identities: Mapping[str, int], folder: Path | None) -> list[tuple[Face]]:
    """The guests, with the numbers of the training split that follow those of its pairs."""
    if folder is None:
        return []
    found = guest.find(folder)
    pairs = _official_pairs("train")[identities.get("train", 0) // 2 :]
    numbers = [number for pair in pairs for number in pair]
    if len(found) > len(numbers):
        raise UsageError(f"guests: expected at most {len(numbers)}, got {len(found)} in {folder}")
    return [(Face(number, path),) for number, path in zip(numbers, found, strict=False)]


def _official_pairs(split: str) -> list[tuple[str, str]]:
    return [
        (clip.number, clip.partner)
        for clip in official_clips().values()
        if clip.split == split and clip.number < clip.partner
    ]


def _describe(take: Take, casts: Sequence[Cast]) -> str:
    """What the marker says: enough to tell whether a later call would write the same."""
    clips: dict[str, Any] = {}
    for cast in casts:
        for face in cast:
            clip = official_clips()[face.number]
            about = {"split": clip.split, "partner": clip.partner, "face": "drawn"}
            if len(cast) == 1:
                del about["partner"]
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


def _missing(root: Path, cast: Cast) -> dict[Face, dict[str, Path]]:
    """The clips of each face of a cast that are not there; a guest has the original alone."""
    missing = {}
    for target, source in zip(cast, reversed(cast), strict=True):
        paths = clip_paths(root, target.number, source.number)
        wanted = paths if len(cast) > 1 else {ORIGINAL: paths[ORIGINAL]}
        missing[target] = {name: path for name, path in wanted.items() if not path.is_file()}
    return missing


def _film(root: Path, cast: Cast, take: Take) -> int:
    """Writes what is missing of a cast; returns how many clips that was."""
    missing = _missing(root, cast)
    for paths in missing.values():
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
    if len(cast) > 1:
        roles = {face: Role(face.number, _portrait(face, take), take) for face in cast}
        for target, source in zip(cast, reversed(cast), strict=True):
            film(missing[target], roles[target], roles[source], take)
    else:
        [face] = cast
        assert face.photograph is not None
        guest.appear(missing[face][ORIGINAL], face.number, face.photograph, take, _detector)
    return sum(map(len, missing.values()))


def _portrait(face: Face, take: Take) -> Portrait:
    size = round(photograph.SCALE * take.size)
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
