"""Hair: what hangs behind the head, and what lies on it."""

from __future__ import annotations

import numpy as np

from tfforensics.demo.field import Canvas, Field, line, noise, ramp, strands
from tfforensics.demo.head import DEPTH, radius
from tfforensics.demo.light import Layer, linear
from tfforensics.demo.person import Person

Random = np.random.Generator
# How far down the hair reaches at the sides, by its cut.
ENDS = {"short": 0.18, "curly": 0.15, "bob": 0.75, "long": 1.5}


def behind(person: Person, canvas: Canvas, rng: Random) -> Layer:
    """Long hair behind the neck and beside the face."""
    x, y = canvas.x, canvas.y
    end = ENDS[person.hair]
    width = person.head_width + person.hair_thick * (0.75 + 0.5 * ramp(y, -0.6, 0.6))
    width += 0.02 * np.sin(5 * y + x) + 0.006 * noise(rng, canvas.shape, 60)
    width -= 0.12 * ramp(y, 0.8, 1.6)
    r = np.hypot(x / width, np.minimum(y, 0) / (1 + 0.7 * person.hair_thick))
    ends = ramp(y + 0.05 * noise(rng, canvas.shape, 50), end + 0.1, end - 0.06)
    lock = strands(rng, x / width, 0.4 * y, 46, wave=0.02)
    height = 0.45 * np.sqrt(np.clip(1 - r**2, 0, None)) - 0.3 + 0.005 * lock
    cover = canvas.cover((1 - r) * np.float32(person.head_width)) * ends
    return Layer(_color(person, lock, rng), height, cover, 0.12)


def above(person: Person, canvas: Canvas, rng: Random) -> Layer:
    """The hair over the skull, down to the hairline."""
    p, x, y = person, canvas.x, canvas.y
    curly = p.hair == "curly"
    part = float(rng.uniform(-0.3, 0.3))
    ragged = noise(rng, canvas.shape, 45 if curly else 130, 2)
    # Outline: the skull's, thicker at the top; curls stand out more and end ragged.
    thick = p.hair_thick * (1.25 if curly else 1.0)
    wide = p.head_width + thick * (0.55 * ramp(y, 0.0, -0.6) + 0.02 if p.hair == "short" else 0.75)
    tall = 1.0 + thick * (1.0 + 0.25 * np.cos(2.5 * (x - part)))
    r = np.sqrt((x / wide) ** 2 + np.abs(np.minimum(y, 0) / tall) ** 2.2)
    outline = canvas.cover((1 - r - (0.018 if curly else 0.005) * ragged) * p.head_width)
    where = np.maximum(_front(p, x, y, part, ragged), _sides(p, x, y, ragged))

    if curly:
        lock = 1.2 * noise(rng, canvas.shape, 75) + 0.5 * noise(rng, canvas.shape, 150)
    elif p.hair == "short":
        lock = strands(rng, np.arctan2(x - part, 0.25 - y), np.hypot(x - part, y), 30, wave=0.03)
    else:
        fall = (x - part) / (0.25 + np.clip(r, 0, 1.2)) * (1 + 0.15 * y)
        lock = strands(rng, fall, 0.4 * y, 34, wave=0.02)
    skull = DEPTH * np.sqrt(np.clip(1 - np.minimum(r, radius(p, x, y)) ** 2.5, 0, None))
    height = skull + 0.6 * thick * np.sqrt(np.clip(1 - r**4, 0, None)) * where
    height += (0.022 if curly else 0.006) * lock
    gloss = 0.04 if curly else 0.04 + 0.22 * line(y + 0.72, 0.12)
    return Layer(_color(p, lock, rng), height, outline * where, gloss)


def _front(p: Person, x: Field, y: Field, part: float, ragged: Field) -> Field:
    """Where hair is above the forehead: over a curve that comes down at the temples."""
    edge = p.hairline + 0.4 * x**2 * (1 - 0.5 * p.age)
    if p.hair in ("long", "bob"):
        fall = np.clip((np.abs(x - 0.4 * part) - 0.02) / 0.75, 0, None)
        edge = p.hairline + 0.9 * fall**1.5
    return ramp(edge + 0.02 * ragged - y, -0.03, 0.05)


def _sides(p: Person, x: Field, y: Field, ragged: Field) -> Field:
    """Where hair is beside the face: from the temples down to the sideburns or the ends."""
    inner = p.head_width * (0.80 if p.hair == "short" else 0.86) - 0.10 * ramp(y, 0.2, -0.45)
    end = ENDS[p.hair]
    beside = ramp(np.abs(x) + 0.015 * ragged, inner, inner + 0.06)
    return beside * ramp(y + 0.04 * ragged, end, end - 0.14)


def _color(p: Person, lock: Field, rng: Random) -> Field:
    red, green, blue = linear(p.hair_color)
    # Dark hair varies more between strands than light hair.
    amount = 0.36 - 0.2 * float(red + green + blue) / 3
    vary = np.clip(1 + amount * lock + 0.12 * noise(rng, lock.shape[:2], 8), 0.25, 2.2)
    warm = 1 + 0.06 * np.clip(lock, -1, 1)
    return np.dstack([red * vary * warm, green * vary, blue * vary / warm])
