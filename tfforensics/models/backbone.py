"""EfficientNet backbones with a named tap at the end of each stage."""

from __future__ import annotations

from collections.abc import Sequence

import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.architecture import Architecture, architecture
from tfforensics.models.efficientnet import classify, feature_maps
from tfforensics.models.pretrained import assign_weights, read_weights


def build_backbone(
    name: str,
    *,
    size: int,
    weights: str | None,
    taps: Sequence[str] | None = None,
    drop_connect: float = 0.2,
    seed: int = 0,
) -> keras.Model:
    """An EfficientNet without its classifier, its preprocessing inside.

    Args:
        name: One of `architecture.NAMES`: b0 to b8, l2, v2-b0 to v2-b3, v2-s, v2-m, v2-l,
            lite0 to lite4.
        size: Side of the square images in pixels.
        weights: "imagenet" (from Keras for b0 to b7 and V2, from a package for lite0 to
            lite2), the path of a Keras HDF5 weights file, or None for random weights.
        taps: The outputs to have; None for all of them. What lies behind the last one is
            not built.
        drop_connect: Rate of stochastic depth, in [0, 1): that of block i of n is i / n of
            it, from i = 0.
        seed: Of the drop-connect masks.

    Returns:
        A model from RGB images (B, size, size, 3), uint8 or floating, in 0..255, to a dict
        of maps (B, h, w, c) by tap: `b1`, `b2`, ... at the end of each stage (h = w =
        size / 2, 4, 8, 16, 16, 32, 32, rounded up) and `final` after the head convolution.
        Maps have the compute dtype of Keras's global policy; preprocessing is in float32.

    Raises:
        UsageError: no such name or tap, an image too small for a tap, a rate outside its
            range, or weights that cannot be had or belong to another network.
        DataError: a packaged weights file is damaged.
    """
    network = architecture(name)
    wanted = _check_taps(network, taps)
    _check_size(network, wanted, size)
    _check_rate(drop_connect)
    # Before the build, so that a mistake shows at once.
    found = None if weights is None else read_weights(network, weights, head=False)
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    maps = {}
    for tap, features in feature_maps(images, network, drop_connect=drop_connect, seed=seed):
        maps[tap] = features
        if all(tap in maps for tap in wanted):
            break
    model = keras.Model(images, {tap: maps[tap] for tap in wanted}, name=network.keras_name)
    if found is not None:
        assign_weights(model, found)
    return model


def build_classifier(
    name: str,
    *,
    size: int,
    weights: str | None,
    classes: int = 1000,
    drop_connect: float = 0.2,
    seed: int = 0,
) -> keras.Model:
    """The published network with its head: images as above to float32 logits (B, classes).

    Weights with a head (ImageNet's 1000 classes) fill it too; those without leave it random.
    """
    network = architecture(name)
    _check_size(network, ("final",), size)
    _check_rate(drop_connect)
    found = None if weights is None else read_weights(network, weights, head=True)
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    maps = dict(feature_maps(images, network, drop_connect=drop_connect, seed=seed))
    logits = classify(maps["final"], network, classes=classes, seed=seed)
    model = keras.Model(images, logits, name=network.keras_name)
    if found is not None:
        assign_weights(model, found)
    return model


def _check_taps(network: Architecture, taps: Sequence[str] | None) -> tuple[str, ...]:
    if taps is None:
        return network.taps
    unknown = [tap for tap in taps if tap not in network.taps]
    if unknown or not taps:
        raise UsageError(
            f"taps: expected some of {', '.join(network.taps)} for {network.name}, "
            f"got {', '.join(unknown) or 'none'}"
        )
    return tuple(taps)


def _check_size(network: Architecture, taps: Sequence[str], size: int) -> None:
    deepest = max(taps, key=network.reduction)
    least = network.reduction(deepest)
    if size < least:
        raise UsageError(
            f"size: expected at least {least} pixels for tap {deepest!r} of {network.name}, "
            f"got {size}"
        )


def _check_rate(drop_connect: float) -> None:
    if not 0.0 <= drop_connect < 1.0:
        raise UsageError(f"drop_connect: expected a rate in [0, 1), got {drop_connect!r}")
