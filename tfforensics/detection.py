"""MTCNN: where the faces in images are (Zhang et al. 2016, "Joint Face Detection and
Alignment Using Multitask Cascaded Convolutional Networks").

Searched from 20 pixels up, an image gives the boxes of the `mtcnn` package, whose networks
and settings these are; the code around the networks is our own and faster. Images that are
searched together share the networks' calls, and a search can be limited to faces of a known
size: the pyramid's largest levels, which find the smallest faces, take nearly all the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfforensics.detection_networks import Network, load_networks
from tfforensics.media import Pixels

Floats = NDArray[np.float64]

# The package's settings. A cell is the field of view of the proposal network.
_CELL, _STRIDE = 12, 2
_SMALLEST, _STEP = 20, 1 / 0.709
_RNET_SCORE, _ONET_SCORE = 0.7, 0.8
_LEVEL_OVERLAP, _OVERLAP = 0.5, 0.7

# Noise can light up every cell, and suppression is quadratic in the number of boxes.
_MOST = 1024
# What goes through the proposal network at a time, in pixels: some 100 MB of activations.
_PIXELS = 400_000
# Patches go through a network 1, 2, 4, ... or this many at a time: each number costs oneDNN a
# kernel of its own, so there must be few.
_PATCHES = 64


@dataclass(frozen=True, eq=False)
class Face:
    """A face as the last network sees it.

    Attributes:
      box: x, y, width, height in pixels of the image; not clipped to it.
      confidence: in (0.8, 1].
      landmarks: float32 (5, 2), x and y in pixels of the image: left eye, right eye, nose,
        left and right corner of the mouth, left and right as the viewer sees them.
    """

    box: tuple[float, float, float, float]
    confidence: float
    landmarks: NDArray[np.float32]

    @property
    def side(self) -> float:
        """The longer side of the box."""
        return max(self.box[2:])


class FaceDetector:
    """The cascade of the three networks.

    Results do not depend on the number of threads that TensorFlow and OpenCV use.
    """

    def __init__(self) -> None:
        """Imports TensorFlow and reads the weights."""
        self._networks = load_networks()

    def detect(
        self, images: Sequence[Pixels], smallest: float = 0, largest: float = np.inf
    ) -> list[list[Face]]:
        """Finds the faces in each image, most confident first.

        Args:
          images: RGB uint8 (H, W, 3) each; those of one shape are searched together.
          smallest, largest: faces of which sides to search for, in pixels, never below 20.
            The ends are soft: the networks know a face somewhat smaller or larger.
        """
        if not images:
            return []
        squares = self._propose(images, smallest, largest)
        offsets, scores = _run(self._networks.refine, images, squares, 24)
        squares = [_refined(*each) for each in zip(squares, offsets, scores, strict=True)]
        outputs = _run(self._networks.output, images, squares, 48)
        return [_faces(*each) for each in zip(squares, *outputs, strict=True)]

    def _propose(self, images: Sequence[Pixels], smallest: float, largest: float) -> list[Floats]:
        """For each image, the squares that may hold a face, (n, 4) as `_faces` has them."""
        levels = defaultdict(list)
        for number, image in enumerate(images):
            for face, level in _pyramid(image, smallest, largest):
                levels[face, level.shape].append((number, level))
        candidates: list[list[Floats]] = [[np.empty((0, 5))] for _ in images]
        for (face, (height, width, _)), members in levels.items():
            at_a_time = max(1, _PIXELS // (height * width))
            for start in range(0, len(members), at_a_time):
                numbers, batch = zip(*members[start : start + at_a_time], strict=True)
                cells, offsets, scores = _arrays(self._networks.propose, np.stack(batch))
                corners = cells[:, 2:0:-1] * _STRIDE
                # A cell's first and last pixel, counted from 1, as the network was trained.
                boxes = np.concatenate([corners + 1, corners + _CELL], axis=1)
                boxes = (boxes + offsets * (_CELL - 1)) * (face / _CELL)
                for place, number in enumerate(numbers):
                    own = cells[:, 0] == place
                    kept = _kept(boxes[own], scores[own], _LEVEL_OVERLAP, _MOST)
                    best = np.concatenate([boxes[own], scores[own, None]], axis=1)[kept]
                    candidates[number].append(best)
        joined = [np.concatenate(of_image) for of_image in candidates]
        return [_squares(c[_kept(c[:, :4], c[:, 4], _OVERLAP, _MOST), :4]) for c in joined]


def _pyramid(
    image: Pixels, smallest: float, largest: float
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Those levels of the package's pyramid in which a wanted face about fills a cell.

    Yields:
      The side in the image of a face that fills a cell, and the level, float32 RGB in 0..255.
    """
    height, width = image.shape[:2]
    shorter = min(height, width)
    faces = _SMALLEST * _STEP ** np.arange(np.ceil(np.log2(shorter) / np.log2(_STEP)))
    near = _STEP**0.5
    wanted = faces[(faces <= shorter) & (smallest / near <= faces) & (faces <= largest * near)]
    if not len(wanted):
        return
    # A search for faces of all sizes is the package's own. Elsewhere means of 2 x 2 pixels come
    # first: they are fast, and leave the means of many pixels nearly as they were.
    shrink = wanted[0] > _SMALLEST
    floats: Any = None
    for face in wanted:
        shape = int(width * _CELL / face), int(height * _CELL / face)
        while shrink and min(image.shape[:2]) >= 3 * min(shape):
            halves = image.shape[1] // 2, image.shape[0] // 2
            image = np.asarray(cv2.resize(image, halves, interpolation=cv2.INTER_AREA), np.uint8)
            floats = None
        floats = image.astype(np.float32) if floats is None else floats
        yield float(face), cv2.resize(floats, shape, interpolation=cv2.INTER_AREA)


def _run(
    network: Network, images: Sequence[Pixels], squares: Sequence[Floats], side: int
) -> list[list[Floats]]:
    """A network's outputs for the patches in the squares: by output, then by image."""
    owners = np.repeat(np.arange(len(images)), [len(own) for own in squares])
    joined = np.concatenate(squares)
    parts = []
    # Where there is none, one blank patch tells how many outputs there are.
    for start in range(0, max(1, len(joined)), _PATCHES):
        among, batch = owners[start : start + _PATCHES], joined[start : start + _PATCHES]
        room = 1 << max(0, len(batch) - 1).bit_length()
        patches = np.zeros((room, side, side, 3), np.float32)
        for number in np.unique(among):
            own = np.flatnonzero(among == number)
            patches[own] = _patches(images[number], batch[own], side)
        parts.append([output[: len(batch)] for output in _arrays(network, patches)])
    ends = np.cumsum([len(own) for own in squares])[:-1]
    return [np.split(np.concatenate(same), ends) for same in zip(*parts, strict=True)]


def _arrays(network: Network, images: NDArray[np.float32]) -> list[Floats]:
    return [output.numpy().astype(np.float64) for output in network(images)]


def _patches(image: Pixels, squares: Floats, side: int) -> NDArray[np.float32]:
    """Each square sampled at side x side points by bilinear interpolation, grey outside.

    As in TensorFlow's `crop_and_resize`, the first and last points lie on the square's edges,
    and the image's width counts as the distance of its first and last pixel's centres.
    """
    height, width = image.shape[:2]
    steps = np.linspace(0, 1, side)

    def axis(first: Floats, last: Floats, length: int) -> tuple[Any, Any, Any, Any]:
        at = (first[:, None] + (last - first)[:, None] * steps) * ((length - 1) / length)
        low = np.floor(np.clip(at, 0, length - 1)).astype(np.intp)
        return low, np.minimum(low + 1, length - 1), at - low, (at < 0) | (at > length - 1)

    left, right, x, beside = axis(squares[:, 0], squares[:, 2], width)
    top, bottom, y, above = axis(squares[:, 1], squares[:, 3], height)
    pixels = image.reshape(-1, 3)

    def row(rows: Any) -> Any:
        rows = rows[:, :, None] * width
        first = np.take(pixels, rows + left[:, None, :], axis=0).astype(np.float32)
        second = np.take(pixels, rows + right[:, None, :], axis=0).astype(np.float32)
        return first + (second - first) * x[:, None, :, None].astype(np.float32)

    upper = row(top)
    patches = upper + (row(bottom) - upper) * y[:, :, None, None].astype(np.float32)
    patches[above[:, :, None] | beside[:, None, :]] = 127.5
    return patches


def _refined(squares: Floats, offsets: Floats, scores: Floats) -> Floats:
    """The second network's squares, best first."""
    boxes = squares + offsets * _sizes(squares)
    return _squares(boxes[_kept(boxes, scores, _OVERLAP, above=_RNET_SCORE)])


def _faces(squares: Floats, offsets: Floats, landmarks: Floats, scores: Floats) -> list[Face]:
    """The last network's faces, most confident first.

    Args:
      squares: (n, 4), left, top, right, bottom in pixels of the image.
      offsets: (n, 4), by how much of the square's side each of its edges is off.
      landmarks: (n, 10), five x and five y as shares of the square.
      scores: (n,).
    """
    sizes = _sizes(squares)
    boxes = squares + offsets * sizes
    points = landmarks.reshape(-1, 2, 5).transpose(0, 2, 1)
    points = points * sizes[:, None, :2] + squares[:, None, :2] - 1
    faces = []
    for best in _kept(boxes, scores, _OVERLAP, above=_ONET_SCORE, of_smaller=True):
        left, top, right, bottom = boxes[best].tolist()
        box = left, top, right - left, bottom - top
        if min(box[2:]) > 0:
            faces.append(Face(box, float(scores[best]), points[best].astype(np.float32)))
    return faces


def _sizes(boxes: Floats) -> Floats:
    """Width and height, twice, with both end pixels, as the networks have been trained."""
    return np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _squares(boxes: Floats) -> Floats:
    """Each box grown to a square about its centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def _kept(
    boxes: Floats,
    scores: Floats,
    overlap: float,
    most: int | None = None,
    *,
    above: float = 0,
    of_smaller: bool = False,
) -> NDArray[np.intp]:
    """Which boxes remain, best first: those that no better box overlaps by more than `overlap`.

    As the package has it, a box that is itself suppressed still suppresses others.

    Args:
      boxes: (n, 4).
      scores: (n,).
      overlap: intersection over union, or over the smaller of both boxes.
      most: how many of the best boxes are looked at.
      above: which score a box must surpass.
    """
    order = np.argsort(scores, kind="stable")[::-1][:most]
    order = order[scores[order] > above]
    boxes = boxes[order]
    top_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    if of_smaller:
        whole = np.minimum(area[:, None], area[None, :])
    else:
        whole = area[:, None] + area[None, :] - shared
    return order[~np.triu(shared > overlap * whole, k=1).any(axis=0)]
