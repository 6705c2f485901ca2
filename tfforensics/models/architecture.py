"""The EfficientNet families in numbers: what each network is, before any of it is built.

EfficientNet B0 to B8 and L2 (Tan & Le, "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks", ICML 2019; B8: Xie et al., "Adversarial Examples Improve
Image Recognition", 2020; L2: Xie et al., "Self-training with Noisy Student improves
ImageNet classification", 2020), EfficientNetV2 (Tan & Le, ICML 2021) and EfficientNet-Lite
(Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog, 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from tfforensics.command import UsageError


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; the first one has the stride and changes the channels.

    Attributes:
        filters: Output channels of every block.
        repeats: Number of blocks.
        kernel: Side of the spatial convolution.
        stride: Stride of the first block.
        expand: Inner channels over input channels.
        squeeze: Channels of the squeeze-and-excitation bottleneck over the block's input
            channels; 0 for none.
        fused: One full convolution in place of the expansion and the depthwise one.
    """

    filters: int
    repeats: int
    kernel: int
    stride: int
    expand: int
    squeeze: float = 0.25
    fused: bool = False


@dataclass(frozen=True)
class Architecture:
    """A network of one of the families, its scaling already done.

    Attributes:
        name: Ours, such as "b4"; `keras_name` is Keras's, such as "efficientnetb4".
        width: Coefficient that channels were multiplied with; `depth` is that of repeats.
        size: Image side in pixels at which it was published.
        dropout: Published dropout rate before the classifier.
        stem: Channels of the first convolution; `head` those of the last.
        stages: First to last; tap `b1` is the end of the first.
        activation: "swish", or "relu6" (Lite).
        momentum: Of the batch norms' moving statistics.
        mean: Of the pixels, 0..255, RGB; the network sees (pixel - mean) / std.
        std: As `mean`.
    """

    name: str
    keras_name: str
    width: float
    depth: float
    size: int
    dropout: float
    stem: int
    stages: tuple[Stage, ...]
    head: int
    activation: Literal["swish", "relu6"]
    momentum: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the outputs: the end of each stage, and of the head convolution."""
        return (*(f"b{n}" for n in range(1, len(self.stages) + 1)), "final")

    def reduction(self, tap: str) -> int:
        """Pixels of the image per pixel of a tap's map, along one side."""
        stages = self.stages if tap == "final" else self.stages[: int(tap[1:])]
        return 2 * math.prod(stage.stride for stage in stages)


# Of ImageNet's training images, on the scale 0..255.
_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

_STAGES = (
    Stage(16, repeats=1, kernel=3, stride=1, expand=1),
    Stage(24, repeats=2, kernel=3, stride=2, expand=6),
    Stage(40, repeats=2, kernel=5, stride=2, expand=6),
    Stage(80, repeats=3, kernel=3, stride=2, expand=6),
    Stage(112, repeats=3, kernel=5, stride=1, expand=6),
    Stage(192, repeats=4, kernel=5, stride=2, expand=6),
    Stage(320, repeats=1, kernel=3, stride=1, expand=6),
)

# name: width, depth, image size, dropout
_B = {
    "b0": (1.0, 1.0, 224, 0.2),
    "b1": (1.0, 1.1, 240, 0.2),
    "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4),
    "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5),
    "b7": (2.0, 3.1, 600, 0.5),
    "b8": (2.2, 3.6, 672, 0.5),
    "l2": (4.3, 5.3, 800, 0.5),
}
_LITE = {
    "lite0": (1.0, 1.0, 224, 0.2),
    "lite1": (1.0, 1.1, 240, 0.2),
    "lite2": (1.1, 1.2, 260, 0.3),
    "lite3": (1.2, 1.4, 280, 0.3),
    "lite4": (1.4, 1.8, 300, 0.3),
}


def _fused(filters: int, repeats: int, stride: int, expand: int) -> Stage:
    return Stage(filters, repeats, 3, stride, expand, squeeze=0.0, fused=True)


def _mbconv(filters: int, repeats: int, stride: int, expand: int) -> Stage:
    return Stage(filters, repeats, 3, stride, expand)


_V2_B_STAGES = (
    _fused(16, 1, 1, 1),
    _fused(32, 2, 2, 4),
    _fused(48, 2, 2, 4),
    _mbconv(96, 3, 2, 4),
    _mbconv(112, 5, 1, 6),
    _mbconv(192, 8, 2, 6),
)
_V2_S_STAGES = (
    _fused(24, 2, 1, 1),
    _fused(48, 4, 2, 4),
    _fused(64, 4, 2, 4),
    _mbconv(128, 6, 2, 4),
    _mbconv(160, 9, 1, 6),
    _mbconv(256, 15, 2, 6),
)
_V2_M_STAGES = (
    _fused(24, 3, 1, 1),
    _fused(48, 5, 2, 4),
    _fused(80, 5, 2, 4),
    _mbconv(160, 7, 2, 4),
    _mbconv(176, 14, 1, 6),
    _mbconv(304, 18, 2, 6),
    _mbconv(512, 5, 1, 6),
)
_V2_L_STAGES = (
    _fused(32, 4, 1, 1),
    _fused(64, 7, 2, 4),
    _fused(96, 7, 2, 4),
    _mbconv(192, 10, 2, 4),
    _mbconv(224, 19, 1, 6),
    _mbconv(384, 25, 2, 6),
    _mbconv(640, 7, 1, 6),
)

# name: width, depth, image size, dropout, channels of the stem, stages
_V2: dict[str, tuple[float, float, int, float, int, tuple[Stage, ...]]] = {
    "v2-b0": (1.0, 1.0, 224, 0.2, 32, _V2_B_STAGES),
    "v2-b1": (1.0, 1.1, 240, 0.2, 32, _V2_B_STAGES),
    "v2-b2": (1.1, 1.2, 260, 0.3, 32, _V2_B_STAGES),
    "v2-b3": (1.2, 1.4, 300, 0.3, 32, _V2_B_STAGES),
    "v2-s": (1.0, 1.0, 384, 0.2, 24, _V2_S_STAGES),
    "v2-m": (1.0, 1.0, 480, 0.3, 24, _V2_M_STAGES),
    "v2-l": (1.0, 1.0, 480, 0.4, 32, _V2_L_STAGES),
}

NAMES: tuple[str, ...] = (*_B, *_V2, *_LITE)


def round_filters(filters: int, width: float, *, floor: float = 0.9) -> int:
    """`filters` x `width`, to the nearest multiple of 8 that is not below `floor` of it."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < floor * scaled else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """`repeats` x `depth`, rounded up."""
    return math.ceil(repeats * depth)


def architecture(name: str) -> Architecture:
    """The network of that name.

    Raises:
        UsageError: there is none.
    """
    if name in _B:
        return _efficientnet(name)
    if name in _LITE:
        return _lite(name)
    if name in _V2:
        return _efficientnet_v2(name)
    raise UsageError(f"backbone: expected one of {', '.join(NAMES)}, got {name!r}")


def _scale(
    stages: tuple[Stage, ...], width: float, depth: float, floor: float = 0.9
) -> tuple[Stage, ...]:
    return tuple(
        replace(
            stage,
            filters=round_filters(stage.filters, width, floor=floor),
            repeats=round_repeats(stage.repeats, depth),
        )
        for stage in stages
    )


def _efficientnet(name: str) -> Architecture:
    width, depth, size, dropout = _B[name]
    return Architecture(
        name=name,
        keras_name=f"efficientnet{name}",
        width=width,
        depth=depth,
        size=size,
        dropout=dropout,
        stem=round_filters(32, width),
        stages=_scale(_STAGES, width, depth),
        head=round_filters(1280, width),
        activation="swish",
        momentum=0.99,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
    )


def _lite(name: str) -> Architecture:
    """Without squeeze-and-excitation, and with stem, head and the outer stages' depth fixed."""
    width, depth, size, dropout = _LITE[name]
    stages = tuple(replace(stage, squeeze=0.0) for stage in _STAGES)
    scaled = _scale(stages, width, depth)
    first, last = (
        replace(stage, repeats=plain.repeats)
        for stage, plain in ((scaled[0], stages[0]), (scaled[-1], stages[-1]))
    )
    return Architecture(
        name=name,
        keras_name=f"efficientnet{name}",
        width=width,
        depth=depth,
        size=size,
        dropout=dropout,
        stem=32,
        stages=(first, *scaled[1:-1], last),
        head=1280,
        activation="relu6",
        momentum=0.99,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
    )


def _efficientnet_v2(name: str) -> Architecture:
    width, depth, size, dropout, stem, stages = _V2[name]
    imagenet = stages is _V2_B_STAGES  # the others see pixels scaled to -1..1
    return Architecture(
        name=name,
        keras_name=f"efficientnet{name}",
        width=width,
        depth=depth,
        size=size,
        dropout=dropout,
        # V2's authors let a width round down by more than a tenth.
        stem=round_filters(stem, width, floor=0.0),
        stages=_scale(stages, width, depth, floor=0.0),
        head=round_filters(1280, width, floor=0.0),
        activation="swish",
        momentum=0.9,
        mean=_IMAGENET_MEAN if imagenet else (128.0, 128.0, 128.0),
        std=_IMAGENET_STD if imagenet else (128.0, 128.0, 128.0),
    )
