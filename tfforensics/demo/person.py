"""What a drawn person looks like: the numbers that a portrait is drawn from.

Lengths are in units of the distance from the eye line to the chin (about 115 mm on an adult);
the origin lies between the eyes, x points to the picture's right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Hair = Literal["bald", "short", "curly", "long", "bob"]
Collar = Literal["round", "v", "shirt"]
Rgb = tuple[float, float, float]  # sRGB, 0..1

# From very light to very dark; a person's tone lies between two neighbours.
SKIN: tuple[Rgb, ...] = (
    (0.95, 0.80, 0.72),
    (0.88, 0.69, 0.57),
    (0.76, 0.55, 0.42),
    (0.58, 0.39, 0.28),
    (0.41, 0.26, 0.18),
    (0.28, 0.17, 0.12),
)
BLACK, DARK_BROWN, BROWN, AUBURN, BLOND, GREY, WHITE = (
    (0.07, 0.06, 0.06),
    (0.16, 0.10, 0.07),
    (0.30, 0.19, 0.11),
    (0.42, 0.20, 0.10),
    (0.68, 0.52, 0.31),
    (0.55, 0.54, 0.53),
    (0.82, 0.81, 0.79),
)
BROWN_IRISES: tuple[Rgb, ...] = ((0.20, 0.11, 0.06), (0.33, 0.20, 0.10))
IRISES: tuple[Rgb, ...] = (
    *BROWN_IRISES,
    (0.38, 0.33, 0.18),
    (0.33, 0.44, 0.52),
    (0.42, 0.47, 0.46),
)


@dataclass(frozen=True)
class Person:
    """A head, its features, hair and colours; lengths in units, colours in sRGB.

    Attributes:
        head_width: half of the head's widest part.
        chin: y of the chin.
        taper: how much narrower the jaw is than the cheekbones, as a share.
        jaw: exponent of the outline below the eyes, 2 round .. 3 square.
        eye_apart: from the middle of the face to a pupil.
        eye_width: half of an eye's width.
        eye_open: half of an eye's opening.
        eye_tilt: radians, outer corners up.
        brow_height: from the eyes up to the brows.
        brow_thick: half of a brow's thickness.
        brow_arch: how far a brow bends up.
        brow_dark: 0 none .. 1 dense.
        nose_length: y of the nose's base.
        nose_width: half of its width at the wings.
        nose_height: how far the tip stands out.
        mouth: y of the line between the lips.
        mouth_width: half of the mouth's width.
        lip_full: factor on the lips' height and relief.
        smile: how far the corners of the mouth are above its middle.
        cheek: factor on the relief of the cheekbones.
        age: 0 young .. 1 old: folds, spots, grey hair.
        skin: its tone.
        redness: factor on the blush.
        freckles: 0 none .. 1 many.
        makeup: 0 none .. 1 strong.
        iris: its colour.
        hair: its cut.
        hair_color: its colour, also of brows and beard.
        hairline: y of the hairline in the middle.
        hair_thick: how far the hair stands out from the skull.
        beard: 0 none, 0.1 stubble .. 1 full.
        cloth: colour of the clothes.
        collar: their neckline.
    """

    head_width: float
    chin: float
    taper: float
    jaw: float
    eye_apart: float
    eye_width: float
    eye_open: float
    eye_tilt: float
    brow_height: float
    brow_thick: float
    brow_arch: float
    brow_dark: float
    nose_length: float
    nose_width: float
    nose_height: float
    mouth: float
    mouth_width: float
    lip_full: float
    smile: float
    cheek: float
    age: float
    skin: Rgb
    redness: float
    freckles: float
    makeup: float
    iris: Rgb
    hair: Hair
    hair_color: Rgb
    hairline: float
    hair_thick: float
    beard: float
    cloth: Rgb
    collar: Collar


def sample(rng: np.random.Generator) -> Person:
    """Draws a person, each number for itself but for hair, skin, age and beard."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    age = between(0, 1) ** 1.3
    masculine = bool(rng.random() < 0.5)
    tone = between(0, len(SKIN) - 1)
    irises = IRISES if tone < 1.8 else BROWN_IRISES
    colors: tuple[Rgb, ...] = (BLACK, DARK_BROWN, BROWN, AUBURN, BLOND)
    if age > 0.6 and rng.random() < 0.7:
        colors = (GREY, GREY, WHITE)
    elif tone > 2.5:
        colors = (BLACK, BLACK, DARK_BROWN)
    cuts: tuple[Hair, ...] = ("long", "long", "bob", "curly")
    if masculine:
        cuts = ("short", "short", "short", "curly", "bald")
    collars: tuple[Collar, ...] = ("round", "v", "shirt")
    return Person(
        head_width=between(0.66, 0.75),
        chin=between(0.95, 1.06),
        taper=between(0.16, 0.32) - 0.05 * masculine,
        jaw=between(2.1, 2.6) + 0.4 * masculine,
        eye_apart=between(0.265, 0.31),
        eye_width=between(0.125, 0.15),
        eye_open=between(0.042, 0.062),
        eye_tilt=between(-0.06, 0.14),
        brow_height=between(0.17, 0.24),
        brow_thick=between(0.018, 0.032) + 0.01 * masculine,
        brow_arch=between(0.0, 0.05),
        brow_dark=between(0.75, 1.0),
        nose_length=between(0.38, 0.46),
        nose_width=between(0.11, 0.16),
        nose_height=between(0.20, 0.30),
        mouth=between(0.62, 0.69),
        mouth_width=between(0.21, 0.28),
        lip_full=between(0.7, 1.25),
        smile=between(0.0, 0.06),
        cheek=between(0.5, 1.4),
        age=age,
        skin=_tone(tone, rng),
        redness=between(0.3, 1.2),
        freckles=between(0, 1) ** 4,
        makeup=0.0 if masculine else between(0, 1),
        iris=irises[int(rng.integers(len(irises)))],
        hair=cuts[int(rng.integers(len(cuts)))],
        hair_color=colors[int(rng.integers(len(colors)))],
        hairline=-between(0.52, 0.68) - (0.1 * age if masculine else -0.1 * age),
        hair_thick=between(0.07, 0.2),
        beard=between(0.1, 1) ** 2 if masculine and rng.random() < 0.6 else 0.0,
        cloth=_cloth(between(0.12, 0.75), between(0, 2 * np.pi)),
        collar=collars[int(rng.integers(len(collars)))],
    )


def _tone(tone: float, rng: np.random.Generator) -> Rgb:
    """The colour at a place between the tones of SKIN, and a little beside it."""
    low = min(int(tone), len(SKIN) - 2)
    light, dark = np.array(SKIN[low]), np.array(SKIN[low + 1])
    r, g, b = light + (tone - low) * (dark - light) + rng.normal(0, 0.008, 3)
    return float(r), float(g), float(b)


def _cloth(brightness: float, hue: float) -> Rgb:
    """A colour of medium saturation; hue in radians."""
    wheel = brightness + 0.18 * np.cos(hue + np.array([0, 2, 4]) * np.pi / 3)
    r, g, b = np.clip(wheel, 0.04, 0.9)
    return float(r), float(g), float(b)
