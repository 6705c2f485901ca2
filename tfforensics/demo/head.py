"""A head from the front: its relief, its colours, and where its landmarks are."""

from __future__ import annotations

import numpy as np

from tfforensics.demo.field import Canvas, Field, blob, line, mix, noise, ramp, strands
from tfforensics.demo.light import Layer, linear
from tfforensics.demo.person import Person

DEPTH = 0.8  # of the front half of the head
Random = np.random.Generator


def landmarks(person: Person) -> Field:
    """(5, 2) float32, x and y in units: eyes, tip of the nose, corners of the mouth; left first."""
    p = person
    corner = p.mouth - p.smile
    return np.array(
        [
            [-p.eye_apart, 0],
            [p.eye_apart, 0],
            [0, p.nose_length - 0.09],
            [-p.mouth_width, corner],
            [p.mouth_width, corner],
        ],
        np.float32,
    )


def radius(person: Person, x: Field, y: Field) -> Field:
    """0 in the middle of the head, 1 on its outline, more outside."""
    p = person
    width = p.head_width * (1 - p.taper * ramp(y, 0.05, 1.0))
    upper = np.abs(np.minimum(y, 0)) ** np.float32(2.3)
    lower = (np.maximum(y, 0) / np.float32(p.chin)) ** np.float32(p.jaw)
    return np.sqrt((x / width) ** 2 + upper + lower)


def head(person: Person, canvas: Canvas, rng: Random) -> Layer:
    """The bare head: skull, features, skin, lips, beard, brows and eyes, without hair."""
    x, y = canvas.x, canvas.y
    r = radius(person, x, y)
    pores = noise(rng, canvas.shape, 38 * canvas.shape[1] / canvas.unit, 2)
    height = _relief(person, x, y, r) + np.float32(0.0006) * pores
    color = _skin(person, canvas, rng)
    gloss = 0.09 + 0.10 * blob(x, y, (0, 0.2), (0.12, 0.5)) + 0.015 * noise(rng, canvas.shape, 40)
    gloss *= 1 - 0.95 * blob(np.abs(x), y, (person.eye_apart, 0), (0.11, 0.04))  # eyes have theirs
    lips = _lips(person, x, y)
    color = mix(color, _lip_color(person), 0.8 * lips)
    color = color * _dark_places(person, x, y)[..., None]
    if person.beard:
        color = mix(color, 0.8 * linear(person.hair_color), _beard(person, canvas, rng))
    band, eyes = canvas.rows(-0.25, 0.25)
    color[band] = _eyes(person, eyes, color[band], rng)
    shade = 0.6 * np.minimum(linear(person.hair_color), linear(person.skin))
    color = mix(color, shade, _brows(person, canvas, rng))
    cover = canvas.cover((1 - r) * np.float32(person.head_width))
    return Layer(color, height, cover, np.clip(gloss + 0.15 * lips, 0, 1))


def ears(person: Person, canvas: Canvas) -> Layer:
    """Both ears; the head lies over their inner parts."""
    x, y = canvas.x, canvas.y
    dx = np.abs(x) - np.float32(0.985 * person.head_width + 0.053) + 0.12 * y
    dy = y - np.float32(0.14)
    r = np.sqrt((dx / 0.085) ** 2 + (np.abs(dy) / 0.25) ** 2.4)
    height = 0.12 * np.sqrt(np.clip(1 - r**2, 0, None))
    height -= 0.10 * blob(dx, dy, (-0.01, 0), (0.03, 0.11))
    inner = 1 - 0.45 * blob(dx, dy, (-0.015, 0.02), (0.028, 0.08))
    color = linear(person.skin) * np.array([1.0, 0.86, 0.82], np.float32) * inner[..., None]
    return Layer(color, height, canvas.cover(0.085 * (1 - r)), 0.08)


def _relief(p: Person, x: Field, y: Field, r: Field) -> Field:
    side = np.abs(x)
    z = DEPTH * np.sqrt(np.clip(1 - r**2.5, 0, None))
    # Bones: brow ridge, sockets, cheekbones, the hollow below them, chin and the fold above it.
    z += 0.030 * blob(side, y, (0.24, 0.02 - p.brow_height), (0.17, 0.055))
    z -= 0.075 * blob(side, y, (p.eye_apart - 0.02, -0.005), (0.15, 0.085))
    z -= 0.045 * blob(side, y, (0.10, -0.01), (0.045, 0.07))
    z += p.cheek * 0.045 * blob(side, y, (0.42, 0.19), (0.16, 0.12), -0.4)
    z -= (0.010 + 0.025 * p.age) * p.cheek * blob(side, y, (0.44, 0.52), (0.10, 0.15))
    z += 0.055 * blob(x, y, (0, p.chin - 0.13), (0.14, 0.08))
    z -= 0.030 * blob(x, y, (0, 0.5 * (p.mouth + p.chin) - 0.045), (0.15, 0.035))
    # Eyeballs under their lids, the crease above, the bag below.
    z += 0.055 * blob(side, y, (p.eye_apart, 0.0), (0.095, 0.055))
    z -= 0.016 * blob(side, y, (p.eye_apart, -p.eye_open - 0.045), (0.10, 0.013))
    z -= (0.004 + 0.012 * p.age) * blob(side, y, (p.eye_apart - 0.02, 0.12), (0.09, 0.016), 0.2)
    # Nose: a ridge that rises to the tip, the wings and the groove around them.
    base = p.nose_length
    rise = np.clip((y + 0.14) / (base + 0.06), 0, None)
    ridge = p.nose_height * rise**1.25 * ramp(y, base + 0.035, base - 0.055)
    z += ridge * line(x / (p.nose_width * (0.36 + 0.26 * np.clip(rise, 0, 1) ** 2)), 1)
    z += 0.035 * blob(x, y, (0, base - 0.08), (0.055, 0.05))
    z += 0.085 * blob(side, y, (p.nose_width * 0.82, base - 0.05), (0.038, 0.045))
    z -= 0.030 * blob(side, y, (p.nose_width * 1.28, base - 0.05), (0.022, 0.06))
    # Mouth: the muzzle, two lips, the line between them, the groove above, the corners.
    half, full, below = p.mouth_width, p.lip_full, y - _mouth_line(p, x)
    within = ramp(side, half * 1.05, half * 0.55)
    z += 0.055 * blob(x, y, (0, p.mouth), (0.24, 0.15))
    z += 0.030 * full * within * line(below + 0.035 * full, 0.024)
    z += 0.042 * full * within * line(below - 0.045 * full, 0.030)
    z -= 0.035 * within * line(below, 0.011)
    z -= 0.012 * blob(x, y, (0, base + 0.07), (0.022, 0.05))
    z -= 0.022 * blob(side, y, (half + 0.02, p.mouth - p.smile), (0.025, 0.03))
    # What comes with age: folds from the nose to the mouth, lines across the forehead.
    fold = 0.92 * (side - (0.155 + 0.42 * (y - base + 0.06)))
    reach = ramp(y, base - 0.10, base) * ramp(y, p.mouth + 0.10, p.mouth - 0.05)
    z -= (0.006 + 0.018 * p.age) * reach * line(fold, 0.018)
    furrows = np.sin(75 * y + 1.5 * np.cos(5 * x)) * blob(x, y, (0, -0.42), (0.25, 0.09))
    return z + 0.004 * p.age**2 * furrows


def _mouth_line(p: Person, x: Field) -> Field:
    """y of the line between the lips: a bow in the middle, corners up by the smile."""
    t = np.clip(np.abs(x) / p.mouth_width, 0, 1.2)
    return p.mouth - p.smile * t**2 + 0.010 * line(x, 0.05)


def _skin(p: Person, canvas: Canvas, rng: Random) -> Field:
    x, y, shape = canvas.x, canvas.y, canvas.shape
    side = np.abs(x)
    blush = blob(side, y, (0.36, 0.25), (0.15, 0.12)) + 0.8 * blob(x, y, (0, 0.34), (0.09, 0.09))
    blush += 0.4 * blob(x, y, (0, p.chin - 0.1), (0.12, 0.08)) + 0.25 * noise(rng, shape, 9, 2)
    blush *= np.float32(0.16 * p.redness)
    rings = 0.35 * blob(side, y, (p.eye_apart - 0.03, 0.02), (0.13, 0.075))
    rings += 0.18 * p.age * blob(side, y, (p.eye_apart - 0.02, 0.11), (0.10, 0.03))
    tone = 1 + 0.035 * noise(rng, shape, 14, 3) + 0.03 * noise(rng, shape, 160, 2)
    freckles = np.clip(noise(rng, shape, 70) - 1.5, 0, 1)
    tone -= 0.3 * p.freckles * freckles * blob(side, y, (0.2, 0.2), (0.25, 0.2))
    tone -= 0.08 * p.age * np.clip(noise(rng, shape, 25) - 1.2, 0, 1)
    for _ in range(int(rng.integers(0, 4))):
        mole = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.85))
        tone -= 0.5 * blob(x, y, mole, (0.010, 0.010))
    red, green, blue = linear(p.skin)
    channels = [
        red * tone * (1 + 0.15 * blush) * (1 - rings),
        green * tone * (1 - blush) * (1 - 1.1 * rings),
        blue * tone * (1 - 0.9 * blush) * (1 - 0.95 * rings),
    ]
    return np.stack(channels, axis=-1)


def _lips(p: Person, x: Field, y: Field) -> Field:
    """Where the lips are, 0..1."""
    side, below = np.abs(x), y - _mouth_line(p, x)
    t = np.clip(side / p.mouth_width, 0, 1)
    upper = 0.075 * p.lip_full * (1 - t**1.6) * (1 - 0.25 * line(x, 0.03)) + 0.004
    lower = 0.095 * p.lip_full * (1 - t**2.2) + 0.004
    within = ramp(side, p.mouth_width * 1.03, p.mouth_width * 0.94)
    return within * ramp(-below / upper, 1.12, 0.85) * ramp(below / lower, 1.12, 0.82)


def _lip_color(p: Person) -> Field:
    skin = linear(p.skin)
    natural = skin * np.array([0.80, 0.48, 0.48], np.float32)
    painted = np.array([0.42, 0.05, 0.07], np.float32) * (0.5 + skin.mean())
    return natural + (painted - natural) * np.float32(0.75 * p.makeup**2)


def _dark_places(p: Person, x: Field, y: Field) -> Field:
    """What is left of the light in the nostrils, under the nose and between the lips."""
    side, base = np.abs(x), p.nose_length
    nostrils = 1.3 * blob(side, y, (p.nose_width * 0.48, base - 0.012), (0.026, 0.011), -0.25)
    under = blob(x, y, (0, base + 0.012), (p.nose_width * 0.8, 0.014))
    between = line(y - _mouth_line(p, x), 0.007) * ramp(side, p.mouth_width, 0.85 * p.mouth_width)
    return (1 - 0.85 * np.clip(nostrils, 0, 1)) * (1 - 0.25 * under) * (1 - 0.75 * between)


def _beard(p: Person, canvas: Canvas, rng: Random) -> Field:
    """Where hair of the beard covers the skin: cheeks, chin, upper lip; not the mouth."""
    x, y = canvas.x, canvas.y
    edge = 0.03 * noise(rng, canvas.shape, 50, 2)
    cheeks = ramp(y + edge, p.nose_length + 0.12, p.mouth + 0.08)
    cheeks *= ramp(np.abs(x) + edge, 0.16, 0.3)
    chin = ramp(y + edge, p.mouth + 0.12, p.mouth + 0.20)
    lip = 1.6 * blob(x, y, (0, p.mouth - 0.115), (p.mouth_width * 0.9, 0.035))
    mouth = 1.5 * blob(x, y, (0, p.mouth + 0.02), (p.mouth_width * 0.75, 0.045))
    where = np.maximum(np.maximum(cheeks, chin), np.clip(lip, 0, 1)) * (1 - np.clip(mouth, 0, 1))
    hairs = np.clip(0.8 + 0.2 * noise(rng, canvas.shape, 400), 0.3, 1)
    return np.clip(where * hairs * p.beard, 0, 0.93)


def _brows(p: Person, canvas: Canvas, rng: Random) -> Field:
    """Where hair of the brows covers the skin."""
    t = (np.abs(canvas.x) - p.eye_apart + 0.15) / 0.34  # 0 at the inner end, 1 at the outer
    along = np.clip(t, 0, 1)
    spine = 0.02 - p.brow_height - p.brow_arch * np.sin(0.75 * np.pi * along) + 0.03 * t**3
    thick = p.brow_thick * (1.15 - 0.75 * along**1.5)
    body = np.exp(-0.5 * np.abs((canvas.y - spine) / thick) ** 3)
    body *= ramp(t, -0.06, 0.12) * ramp(t, 1.06, 0.85)
    hairs = 0.95 + 0.3 * strands(rng, canvas.x + 0.8 * canvas.y, canvas.y, 60)
    return np.clip(body * hairs * p.brow_dark, 0, 0.95)


def _eyes(p: Person, canvas: Canvas, color: Field, rng: Random) -> Field:
    """`color` with both eyes drawn in."""
    look = rng.normal(0, 0.008, 2)
    sin = float(np.sin(p.eye_tilt))
    for sign in (-1, 1):
        u = sign * canvas.x - np.float32(p.eye_apart)  # away from the nose
        u, v = u - sin * canvas.y, canvas.y + sin * u
        t = np.clip(np.abs(u) / p.eye_width, 0, 1)
        top = v + 1.15 * p.eye_open * (1 - t**2.2)  # how far below the upper lid's edge
        bottom = 0.85 * p.eye_open * (1 - t**2) - v  # how far above the lower lid's
        inside = canvas.cover(np.minimum(top, bottom)) * ramp(t, 0.999, 0.95)
        # A crease above the upper lid, a wet edge on the lower, lashes and liner.
        crease = line(v + 1.27 * p.eye_open * (1 - t**2.2) + 0.045, 0.008) * ramp(t, 1.0, 0.5)
        edge = line(bottom + 0.004, 0.006) * ramp(t, 1.0, 0.7)
        color = color * (1 - 0.38 * crease - (0.15 + 0.25 * p.makeup) * edge)[..., None]
        ball = _eyeball(p, canvas, u - float(sign * look[0]), v - float(look[1]), sign)
        white = np.array([0.62, 0.58, 0.56], np.float32) * (1 - 0.35 * t**2)[..., None]
        ball = mix(white, ball[..., :3], ball[..., 3]) * ramp(top, -0.01, 0.045)[..., None]
        caruncle = blob(u, v, (-0.93 * p.eye_width, 0.004), (0.016, 0.014))
        pink = linear(p.skin) * np.array([0.9, 0.45, 0.45], np.float32)
        color = mix(color, mix(ball, pink, caruncle), inside)
        lashes = line(top, 0.009 + 0.004 * p.makeup) * ramp(t, 1.0, 0.8)
        color = color * (1 - 0.9 * np.clip(1.2 * lashes, 0, 1))[..., None]
    return color


def _eyeball(p: Person, canvas: Canvas, u: Field, v: Field, sign: int) -> Field:
    """Iris with its rays and dark rim, pupil, and a light mirrored in it: (H, W, RGB + cover)."""
    r = np.hypot(u, v + 0.006)
    angle = np.arctan2(v, u)
    rays = 1 + 0.18 * np.sin(23 * angle + 4 * np.sin(3 * angle)) + 0.3 * ramp(r, 0.02, 0.05)
    rim = 1 - 0.7 * ramp(r, 0.045, 0.060)
    pupil = 1 - 0.95 * canvas.cover(0.024 - r)
    spark = 1.1 * blob(sign * u, v, (-0.018, -0.026), (0.009, 0.009))
    color = linear(p.iris) * (rays * rim * pupil)[..., None] + spark[..., None]
    return np.dstack([color, canvas.cover(0.060 - r)]).astype(np.float32)
