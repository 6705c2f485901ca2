"""What is around a face: neck, clothes, background, and the camera."""

from __future__ import annotations

import cv2
import numpy as np

from tfforensics.demo.field import Canvas, Field, blob, blur, line, mix, noise, ramp
from tfforensics.demo.head import radius
from tfforensics.demo.light import Layer, linear
from tfforensics.demo.person import Person

Random = np.random.Generator


def neck(person: Person, canvas: Canvas, rng: Random) -> Layer:
    """Neck and the skin below it, in the shade of the chin."""
    x, y = canvas.x, canvas.y
    width = 0.70 * person.head_width + 1.6 * np.clip(y - 1.12, 0, None) ** 1.6
    q = np.abs(x) / width
    height = 0.42 * np.sqrt(np.clip(1 - q**2.2, 0, None)) - 0.45
    height += 0.035 * blob(np.abs(x), y, (0.11, 1.32), (0.03, 0.14), 0.5)
    height -= 0.020 * blob(x, y, (0, 1.42), (0.06, 0.05))
    tone = 1 + 0.03 * noise(rng, canvas.shape, 14, 3)
    tone *= 1 - 0.72 * blur(ramp(radius(person, x, y - 0.10), 1.02, 0.98), 0.07 * canvas.unit)
    color = linear(person.skin) * np.array([0.95, 0.88, 0.85], np.float32) * tone[..., None]
    return Layer(color, height, canvas.cover((1 - q) * width) * ramp(y, 0.1, 0.3), 0.05)


def clothes(person: Person, canvas: Canvas, rng: Random) -> Layer:
    """Shoulders in a top with one of three necklines, with folds and perhaps stripes."""
    x, y = canvas.x, canvas.y
    side = np.abs(x)
    slope = float(rng.uniform(0.20, 0.32))
    inside = y - 1.20 - slope * np.clip(side - 0.4, 0, None)
    inside -= 0.35 * np.clip(side - 1.15, 0, None) ** 1.5
    if person.collar == "round":
        neckline = 0.4 * np.hypot(x / 0.56, (y - 1.02) / 0.40) - 0.4
    elif person.collar == "v":
        neckline = 0.7 * (y - 1.75 + 1.05 * side)
    else:
        neckline = 0.65 * (y - 1.52 + 1.15 * side)
    inside = np.minimum(inside, neckline)
    folds = noise(rng, canvas.shape, 5, 2) * ramp(y, 1.2, 1.8)
    height = 0.35 * np.sqrt(np.clip(1 - (side / 1.9) ** 2, 0, None)) - 0.25 + 0.03 * folds
    height += 0.03 * ramp(inside, 0, 0.03) - 0.012 * line(inside - 0.05, 0.012)
    weave = 1 + 0.05 * noise(rng, canvas.shape, 200) + 0.04 * noise(rng, canvas.shape, 20, 2)
    if rng.random() < 0.35:
        period = float(rng.uniform(0.05, 0.14))
        across = (x, y)[int(rng.integers(2))] + 0.02 * folds
        weave *= 1 - 0.35 * ramp(np.sin(2 * np.pi / period * across), 0.2, 0.6)
    if person.collar == "shirt":
        flap = ramp(np.abs(inside - 0.07), 0.075, 0.065) * ramp(y, 1.7, 1.6)
        height += 0.03 * flap
        weave *= 1 + 0.1 * flap
    return Layer(linear(person.cloth) * weave[..., None], height, canvas.cover(inside), 0.02)


def background(shape: tuple[int, int], rng: Random) -> Field:
    """A room, a garden or a wall out of focus, (H, W, 3) linear."""
    height, width = shape
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32),
        np.linspace(-1, 1, width, dtype=np.float32),
        indexing="ij",
    )

    def tint() -> Field:
        level, hue = float(rng.uniform(0.05, 0.6)), float(rng.uniform(0, 2 * np.pi))
        wheel = 1 + 0.18 * np.cos(hue + np.array([0, 2, 4]) * np.pi / 3)
        return np.clip(level * wheel, 0.01, 0.9).astype(np.float32)

    turn = float(rng.uniform(0, 2 * np.pi))
    slope = ramp(x * float(np.cos(turn)) + y * float(np.sin(turn)), -1.2, 1.2)
    scene = mix(np.broadcast_to(tint(), (height, width, 3)), tint(), slope)
    kind = int(rng.integers(3))
    if kind == 0:  # furniture, doors, frames
        for _ in range(int(rng.integers(3, 9))):
            left, top = (float(v) for v in rng.uniform(-1.2, 0.9, 2))
            right, bottom = (
                left + float(rng.uniform(0.15, 0.9)),
                top + float(rng.uniform(0.15, 0.9)),
            )
            box = (x > left) & (x < right) & (y > top) & (y < bottom)
            scene = mix(scene, tint(), 0.8 * box.astype(np.float32))
    elif kind == 1:  # leaves and lights
        leaves = tint() * np.array([0.5, 0.9, 0.4], np.float32)
        scene = mix(scene, leaves, ramp(noise(rng, shape, 9, 4), -0.6, 0.9))
        for _ in range(int(rng.integers(4, 14))):
            at_x, at_y, bright = (float(v) for v in rng.uniform([-1, -1, 0.05], [1, 1, 0.4]))
            scene = scene + bright * ramp(np.hypot(x - at_x, y - at_y), 0.075, 0.06)[..., None]
    else:  # a wall
        boards = np.sign(np.sin(y * float(rng.uniform(5, 30))))
        scene = scene * ((1 + 0.10 * noise(rng, shape, 5, 4)) * (1 + 0.05 * boards))[..., None]
    return blur(scene.astype(np.float32), float(rng.uniform(0.004, 0.02)) * width)


def camera(scene: Field, rng: Random) -> np.ndarray:
    """Linear light -> (H, W, 3) uint8 sRGB: exposure, white balance, lens, grain."""
    height, width = scene.shape[:2]
    gain = rng.uniform(0.85, 1.25) * rng.normal(1, 0.03, 3)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    vignette = 1 - float(rng.uniform(0, 0.09)) * (x**2 + y**2)
    light = np.clip(scene, 0, None) * gain.astype(np.float32) * vignette[..., None]
    light = 1.08 * light / (1 + 0.25 * light**2)  # highlights bend before they clip
    picture = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 0.9)))
    picture += 0.008 * rng.standard_normal(picture.shape, np.float32)
    return np.clip(255 * picture + 0.5, 0, 255).astype(np.uint8)
