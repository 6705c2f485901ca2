"""A portrait: a still face with its depth and landmarks, drawn from random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfforensics.demo import hair, head, scene
from tfforensics.demo.field import Canvas, mix
from tfforensics.demo.light import Layer, sample_light, shade
from tfforensics.demo.person import Person, sample

SKIN_WANDER = 0.03  # how far red light goes below the skin, in units: about 3 mm


@dataclass(frozen=True)
class Portrait:
    """A still face.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        depth: (S, S) float32, 0 for the background to about 1 for the tip of the nose.
        landmarks: (5, 2) float32, x and y in pixels: left eye, right eye, nose, left and right
            corner of the mouth, left and right as the viewer sees them (MTCNN's order).
    """

    image: np.ndarray
    depth: np.ndarray
    landmarks: np.ndarray


def draw(rng: np.random.Generator, size: int) -> Portrait:
    """Draws a person who does not exist.

    Args:
        rng: everything about the portrait follows from its state.
        size: width and height in pixels.
    """
    person, light = sample(rng), sample_light(rng)
    unit = size * float(rng.uniform(0.285, 0.315))
    middle = (size * (np.array([0.5, 0.45]) + rng.uniform(-0.02, 0.02, 2))).astype(np.float32)
    index = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(
        (index - middle[0]) / np.float32(unit), (index - middle[1]) / np.float32(unit)
    )
    canvas = Canvas(x, y, unit)

    picture = scene.background(canvas.shape, rng)
    depth = np.zeros(canvas.shape, np.float32)
    for layer, near, wander in _layers(person, canvas, rng):
        picture = mix(picture, shade(layer, light, unit, wander=wander), layer.cover)
        depth = mix(depth, near + 0.5 * np.clip(layer.height, 0, 1), layer.cover)
    landmarks = head.landmarks(person) * np.float32(unit) + middle
    return Portrait(scene.camera(picture, rng), depth.astype(np.float32), landmarks)


def _layers(
    person: Person, canvas: Canvas, rng: np.random.Generator
) -> list[tuple[Layer, float, float]]:
    """From back to front: a layer, the depth it begins at, and how far light goes into it."""
    layers = [
        (scene.neck(person, canvas, rng), 0.3, SKIN_WANDER),
        (scene.clothes(person, canvas, rng), 0.25, 0.0),
        (head.ears(person, canvas), 0.35, SKIN_WANDER),
        (head.head(person, canvas, rng), 0.4, SKIN_WANDER),
    ]
    if person.hair in ("long", "bob"):
        layers.insert(0, (hair.behind(person, canvas, rng), 0.3, 0.0))
    if person.hair != "bald":
        layers.append((hair.above(person, canvas, rng), 0.4, 0.0))
    return layers
