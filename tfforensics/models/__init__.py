"""The detectors, one concept a file; `build_network` picks one by the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfforensics.config import Config

if TYPE_CHECKING:
    import tf_keras as keras

    from tfforensics.models.detector import Detector


def build_network(config: Config) -> keras.Model:
    """The network of a configuration: uint8 (B, S, S, 3) to a dict with `logit` (B,).

    Raises:
        UsageError: an unknown backbone, an input too small for it, weights that cannot be had.
    """
    model, size, seed = config.model, config.data.size, config.train.seed
    if model.detector == "plain":
        from tfforensics.models.plain import build_plain

        return build_plain(
            model.backbone,
            size=size,
            weights=model.weights,
            dropout=model.dropout,
            drop_connect=model.drop_connect,
            seed=seed,
        )
    from tfforensics.models import mesonet

    build = mesonet.meso4 if model.detector == "meso4" else mesonet.meso_inception4
    return build(size=size, seed=seed)


def build_detector(config: Config) -> Detector:
    """The network of a configuration with the loss that it learns from."""
    from tfforensics.models.detector import Detector

    return Detector(build_network(config))
