"""What a face does in a clip: head, camera and light movement, blinking, speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Expression:
    """What a face does at one moment.

    Attributes:
        blink: eyelids, 0 as in the portrait .. 1 closed.
        mouth: 0 as in the portrait .. 1 wide open.
        smile: -1 .. 1, corners of the mouth in and down .. out and up.
    """

    blink: float
    mouth: float
    smile: float


@dataclass(frozen=True)
class Pose:
    """Where the head is at one moment, against the portrait.

    Attributes:
        pan: shift of the whole picture, x and y, as shares of the frame's width.
        turn: shift of the nearest point against the background, likewise.
        zoom: enlargement, 1 for none.
        roll: radians, clockwise on the screen.
    """

    pan: tuple[float, float]
    turn: tuple[float, float]
    zoom: float
    roll: float


@dataclass(frozen=True)
class Moment:
    """One frame of a performance; `light` is a factor on the brightness."""

    pose: Pose
    expression: Expression
    light: float


def perform(rng: np.random.Generator, frames: int, fps: float) -> list[Moment]:
    """Draws a clip's motion: smooth functions of time, so it is as fast at any frame rate."""
    time = np.arange(frames) / fps
    pan = _curve(rng, time, 0.018), _curve(rng, time, 0.014)
    turn = _curve(rng, time, 0.030), _curve(rng, time, 0.018)
    zoom = rng.uniform(1.0, 1.12) + _curve(rng, time, 0.025)
    roll = _curve(rng, time, 0.04)
    light = 1 + _curve(rng, time, 0.03)
    smile = np.clip(rng.normal(0, 0.3) + _curve(rng, time, 0.4), -1, 1)
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(2.5, 4) * time + rng.uniform()))
    talk = np.clip(_curve(rng, time, 0.5) + 0.6, 0, 1) * syllables
    blink = _blinks(rng, time)
    light += rng.normal(0, 0.006, frames)  # flickers from frame to frame
    return [
        Moment(
            Pose((pan[0][i], pan[1][i]), (turn[0][i], turn[1][i]), zoom[i], roll[i]),
            Expression(blink[i], talk[i], smile[i]),
            light[i],
        )
        for i in range(frames)
    ]


def _curve(rng: np.random.Generator, time: np.ndarray, scale: float) -> np.ndarray:
    """Three slow waves of random strength and phase; `scale` is the standard deviation."""
    total = np.zeros_like(time)
    for frequency in rng.uniform([0.15, 0.35, 0.7], [0.35, 0.7, 1.2]):
        total += rng.normal() * np.sin(2 * np.pi * (frequency * time + rng.uniform()))
    return scale * np.sqrt(2 / 3) * total


def _blinks(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Lids that close for about 150 ms, every second or two."""
    closed = np.zeros_like(time)
    moment = rng.uniform(0.1, 1.0)
    while moment < time[-1] + 0.3:
        closed = np.maximum(closed, np.exp(-(((time - moment) / 0.09) ** 4)))
        moment += rng.uniform(0.9, 2.5)
    return closed
