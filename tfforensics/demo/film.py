"""The clips of one target: the original, and four imitations with the face of a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tfforensics.command import UsageError
from tfforensics.demo.animate import Actor
from tfforensics.demo.imitate import IMITATIONS, Shot, sample_style
from tfforensics.demo.performance import perform
from tfforensics.demo.portrait import Portrait
from tfforensics.demo.video import COMPRESSION, Writer

ORIGINAL = ""
COMMENT = "tfforensics demo: a portrait or an IMITATION of a manipulation, not FaceForensics++"


@dataclass(frozen=True)
class Take:
    """What is the same for all clips.

    Attributes:
        seconds: length.
        fps: frames a second.
        size: width and height in pixels, even.
        seed: everything random follows from it.

    Raises:
        UsageError: a value that no clip can have.
    """

    seconds: float
    fps: int
    size: int
    seed: int

    def __post_init__(self) -> None:
        for name, value, allowed, expected in (
            ("seconds", self.seconds, 0 < self.seconds <= 600, "above 0 and at most 600"),
            ("fps", self.fps, 1 <= self.fps <= 120, "1 to 120"),
            ("size", self.size, self.size in range(128, 1081, 2), "even, from 128 to 1080"),
            ("seed", self.seed, self.seed >= 0, "at least 0"),
        ):
            if not allowed:
                raise UsageError(f"{name}: expected {expected}, got {value!r}")

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return max(1, round(self.seconds * self.fps))

    def random(self, number: str, purpose: str) -> np.random.Generator:
        """The random numbers that an identity has for a purpose, whoever else is filmed."""
        return np.random.default_rng([self.seed, int(number), *purpose.encode()])


class Role:
    """An identity in front of the camera: a portrait that can be posed, and its motion."""

    def __init__(self, number: str, portrait: Portrait, take: Take) -> None:
        self.number = number
        self.actor = Actor(portrait, take.size)
        self.moments = perform(take.random(number, "motion"), take.frames, take.fps)


def shots(target: Role, source: Role) -> Iterator[Shot]:
    """What is to be seen, and to be put in, at each moment of a target's clips."""
    for mine, theirs in zip(target.moments, source.moments, strict=True):
        yield Shot(
            scene=target.actor.frame(mine.pose, mine.expression),
            source=source.actor.frame(theirs.pose, theirs.expression),
            acted=target.actor.frame(mine.pose, theirs.expression),
        )


def clip_paths(root: Path, target: str, source: str) -> dict[str, Path]:
    """Where FaceForensics++ has a target's clips: ORIGINAL, and by manipulation."""
    below = Path(COMPRESSION) / "videos"
    paths = {ORIGINAL: root / "original_sequences" / "youtube" / below / f"{target}.mp4"}
    for manipulation in IMITATIONS:
        folder = root / "manipulated_sequences" / manipulation / below
        paths[manipulation] = folder / f"{target}_{source}.mp4"
    return paths


def film(paths: dict[str, Path], target: Role, source: Role, take: Take) -> None:
    """Writes a target's clips.

    What tells them apart is the imitation alone: light and sensor noise come after it and
    are the same numbers in all of them, and each is encoded once, in the same way.

    Args:
        paths: those to write of what `clip_paths` gives.
        target: whose scene it is.
        source: whose face or expression is put in.
        take: length, size and seed.
    """
    camera = take.random(target.number, "camera")
    grain = _grain(camera, take.size)
    rngs = {name: take.random(target.number, name) for name in IMITATIONS}
    styles = {name: sample_style(rng) for name, rng in rngs.items()}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(Writer(path, size=take.size, fps=take.fps, comment=COMMENT))
            for name, path in paths.items()
        }
        for moment, shot in zip(target.moments, shots(target, source), strict=True):
            left, top = camera.integers(0, grain.shape[0] - take.size, 2)
            noise = np.ascontiguousarray(grain[top : top + take.size, left : left + take.size])
            for name, writer in writers.items():
                image = shot.scene.image
                if name != ORIGINAL:
                    image = IMITATIONS[name](shot, styles[name], rngs[name])
                lit = cv2.convertScaleAbs(image, alpha=moment.light)
                writer.add(cv2.add(lit, noise, dtype=cv2.CV_8U))


def _grain(rng: np.random.Generator, size: int) -> np.ndarray:
    """Sensor noise in grey levels, int16; each frame takes another part of it."""
    side = size + 64
    strength = rng.uniform(1.0, 3.0)
    return (strength * rng.standard_normal((side, side, 3), np.float32)).round().astype(np.int16)
