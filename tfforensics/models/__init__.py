"""The detectors, one concept a file; here a configuration becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    common: dict[str, Any] = {
        "size": size,
        "weights": model.weights,
        "drop_connect": model.drop_connect,
        "seed": seed,
    }
    if model.detector == "plain":
        from tfforensics.models.plain import build_plain

        return build_plain(model.backbone, dropout=model.dropout, **common)
    if model.detector == "multi_attention":
        from tfforensics.models.backbone import build_backbone
        from tfforensics.models.multi_attention import build_multi_attention

        attention = config.attention
        taps = [attention.texture_tap, attention.attention_tap, "final"]
        return build_multi_attention(
            build_backbone(model.backbone, taps=list(dict.fromkeys(taps)), **common),
            maps=attention.maps,
            attention_tap=attention.attention_tap,
            texture_tap=attention.texture_tap,
            projection=attention.projection,
            attention_dropout=attention.map_dropout,
            final_dropout=model.dropout,
            seed=seed,
        )
    from tfforensics.models import mesonet

    build = mesonet.meso4 if model.detector == "meso4" else mesonet.meso_inception4
    return build(size=size, seed=seed)


def start_from(source: keras.Model, target: keras.Model) -> None:
    """Gives a new network the weights of a trained one, in place.

    Networks of one kind share all weights; a multi-attentional one takes the backbone of a plain
    one.

    Raises:
        UsageError: they do not belong together; the first layer that differs is named.
    """
    shapes = [[(w.name, tuple(w.shape)) for w in network.weights] for network in (source, target)]
    if shapes[0] == shapes[1]:
        target.set_weights(source.get_weights())
        return
    from tfforensics.models.multi_attention import copy_backbone

    copy_backbone(source, target)


def build_detector(config: Config) -> Detector:
    """The network of a configuration with the loss that it learns from."""
    loss: dict[str, Any] = {
        "loss": config.loss.name,
        "label_smoothing": config.loss.label_smoothing,
        "focal_gamma": config.loss.focal_gamma,
        "focal_alpha": config.loss.focal_alpha,
    }
    network = build_network(config)
    if config.model.detector != "multi_attention":
        from tfforensics.models.detector import Detector

        return Detector(network, **loss)

    from tfforensics.agda import Agda
    from tfforensics.losses import RegionLoss
    from tfforensics.models.multi_attention_detector import MultiAttentionDetector

    attention = config.attention
    return MultiAttentionDetector(
        network,
        steps_per_epoch=config.train.validate_every,
        region=RegionLoss(
            form=attention.region_form,
            inter_margin=attention.inter_margin,
            intra_margins=attention.intra_margins,
            alpha=attention.alpha,
            alpha_decay=attention.alpha_decay,
        ),
        augmentation=Agda(scale=attention.agda_scale) if attention.agda else None,
        region_weight=attention.region,
        agda_weight=attention.agda,
        match_weight=attention.match,
        **loss,
    )
