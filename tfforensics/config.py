"""The settings of an experiment, as frozen dataclasses; configfile.py reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tfforensics.command import UsageError
from tfforensics.dataservice import address
from tfforensics.jpeg import LEVELS, Encoder, Level

Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True)
class Demo:
    """The embedded default data.

    Attributes:
        build: whether it is built into `data.records` where that does not exist yet.
        train: identities in the training split; even, since clips come in pairs.
        val: identities in the validation split.
        test: identities in the test split.
        seconds: length of each clip.
        fps: frames a second of each clip.
        frames: faces taken from each clip.
        size: side of the canonical crops in pixels.
        levels: JPEG levels stored beside c0; the others are made on the fly.
        seed: draws other people.
        portraits: folder of photographs to animate instead of drawn portraits.
        guests: folder of photographs and clips of more people, one each, who join the training
            split without being imitated.
    """

    build: bool = False
    train: int = 24
    val: int = 8
    test: int = 12
    seconds: float = 2.0
    fps: int = 12
    frames: int = 8
    size: int = 128
    levels: tuple[Level, ...] = ("c0",)
    seed: int = 0
    portraits: str | None = None
    guests: str | None = None

    def __post_init__(self) -> None:
        _check("demo.frames", self.frames, self.frames >= 1, "at least 1")
        _check("demo.size", self.size, 32 <= self.size <= 1024, "32 to 1024 pixels")
        _check_levels("demo.levels", self.levels)
        _check("demo.levels", list(self.levels), self.levels[0] == "c0", "c0 first")


@dataclass(frozen=True)
class Data:
    """Which faces are trained on, and how many at a time.

    Attributes:
        records: folder written by `python -m tfforensics.records`.
        manipulations: those to train on; empty takes every one there is.
        level: the stored level that is read; degradation starts from it.
        size: side of the network's input in pixels; other records are resized to it after
            degradation.
        batch: faces in a training step, over all replicas.
        real_share: share of real faces in the training batches, to the nearest fraction of
            whole numbers up to 1,000.
        selfblend: share of the manipulated faces that are made from real ones (selfblend.py), to
            the nearest fraction of whole numbers up to 1,000; 1 takes no manipulated face, which
            the records then need not have.
        service: grpc://host:port of a tf.data service whose workers make the training batches;
            null makes them here. The batches are the same.
    """

    records: str = "records/demo"
    manipulations: tuple[str, ...] = ()
    level: Level = "c0"
    size: int = 380
    batch: int = 16
    real_share: float = 0.5
    selfblend: float = 0.0
    service: str | None = None

    def __post_init__(self) -> None:
        _check("data.size", self.size, 16 <= self.size <= 1024, "16 to 1024 pixels")
        _check("data.batch", self.batch, self.batch >= 1, "at least 1")
        _check(
            "data.real_share", self.real_share, 0.001 <= self.real_share <= 0.999, "0.001 to 0.999"
        )
        _check("data.selfblend", self.selfblend, 0 <= self.selfblend <= 1, "0 to 1")
        if self.service is not None:
            address.authority(self.service, "data.service")


@dataclass(frozen=True)
class Degrade:
    """JPEG degradation of training faces on the fly, a quality drawn for each face.

    Attributes:
        levels: relative frequency of each level; c0 leaves a face as it is.
        quality: [lowest, highest], drawn uniformly instead of a level.
        resize: probability of shrinking a face before it is compressed and growing it after.
        resize_to: [smallest, largest] scale of that.
        twice: probability of a first compression before the one drawn above, as a picture
            has that was posted and posted again.
    """

    levels: dict[Level, float] = field(default_factory=lambda: {"c0": 1.0})
    quality: tuple[int, int] | None = None
    resize: float = 0.0
    resize_to: tuple[float, float] = (0.5, 1.0)
    twice: float = 0.0

    def __post_init__(self) -> None:
        total = sum(self.levels.values())
        _check(
            "degrade.levels", self.levels,
            total > 0 and all(w >= 0 for w in self.levels.values()),
            "frequencies of at least 0, not all 0",
        )  # fmt: skip
        for level in self.levels:
            _check("degrade.levels", level, level in LEVELS, f"levels of {', '.join(LEVELS)}")
        if self.quality is not None:
            low, high = self.quality
            _check(
                "degrade.quality", list(self.quality), 1 <= low <= high <= 100,
                "[lowest, highest] within 1 to 100",
            )  # fmt: skip
        _check("degrade.resize", self.resize, 0 <= self.resize <= 1, "0 to 1")
        low_scale, high_scale = self.resize_to
        _check(
            "degrade.resize_to", list(self.resize_to), 0 < low_scale <= high_scale <= 1,
            "[smallest, largest] within 0 to 1",
        )  # fmt: skip
        _check("degrade.twice", self.twice, 0 <= self.twice <= 1, "0 to 1")


@dataclass(frozen=True)
class Augment:
    """Photometric augmentation and flips of training faces, after degradation.

    Attributes:
        flip: mirror half of the faces.
        brightness: largest shift, as a share of the full range.
        contrast: largest relative change of contrast.
        saturation: largest relative change of saturation.
        hue: largest turn of the hue, as a share of the full circle.
    """

    flip: bool = True
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue"):
            value = getattr(self, name)
            _check(f"augment.{name}", value, 0 <= value < 1, "0 up to 1")


@dataclass(frozen=True)
class Model:
    """The detector.

    Attributes:
        detector: plain (a backbone with one logit), multi_attention, meso4 or mesoinception4.
        backbone: the EfficientNet under plain and multi_attention; MesoNets have none.
        weights: imagenet, a file of Keras weights for the backbone, or null for none.
        dropout: share of features dropped before the logit.
        drop_connect: share of residual branches dropped in the last block (linearly less before).
        initial: a finished run whose weights to start from, or `shipped`, the package's own
            detector.
    """

    detector: Literal["plain", "multi_attention", "meso4", "mesoinception4"] = "plain"
    backbone: str = "b4"
    weights: str | None = "imagenet"
    dropout: float = 0.2
    drop_connect: float = 0.2
    initial: str | None = None

    def __post_init__(self) -> None:
        _check("model.dropout", self.dropout, 0 <= self.dropout < 1, "0 up to 1")
        _check("model.drop_connect", self.drop_connect, 0 <= self.drop_connect < 1, "0 up to 1")


@dataclass(frozen=True)
class Attention:
    """What model.detector multi_attention has beside its backbone (Zhao et al., CVPR 2021).

    Attributes:
        maps: attention maps M.
        attention_tap: stage of the backbone that the maps are read from, b1 to b7.
        texture_tap: stage of the backbone that the textures are read from.
        projection: width of each branch.
        map_dropout: probability that a map is dropped for a face in training.
        region: weight of the regional independence loss.
        region_form: paper, or repository as the authors published their code.
        inter_margin: distance below which two feature centres repel each other.
        intra_margins: distance of real and of manipulated faces to their centres beyond which
            they are pulled to them; a negative one is the distance below which they are pushed.
        alpha: how far the centres follow a batch at first.
        alpha_decay: factor on alpha after each `train.validate_every` steps.
        agda: weight of the loss of attention-guided degraded faces; 0 trains without them, at
            half the cost.
        match: weight of the loss that keeps the regions of a face and its degraded copy alike.
        agda_scale: factor on the side of the degraded image.
        backbone_steps: steps, before `train.steps`, in which the plain backbone is trained, whose
            weights multi-attention then starts from.
    """

    maps: int = 4
    attention_tap: str = "b5"
    texture_tap: str = "b2"
    projection: int = 256
    map_dropout: float = 0.25
    region: float = 0.5
    region_form: Literal["paper", "repository"] = "repository"
    inter_margin: float = 0.8
    intra_margins: tuple[float, float] = (0.2, -0.8)
    alpha: float = 0.05
    alpha_decay: float = 0.9
    agda: float = 1.0
    match: float = 0.1
    agda_scale: float = 0.5
    backbone_steps: int = 0

    def __post_init__(self) -> None:
        _check("attention.maps", self.maps, self.maps >= 1, "at least 1")
        for name in ("region", "agda", "match", "backbone_steps"):
            value = getattr(self, name)
            _check(f"attention.{name}", value, value >= 0, "at least 0")


@dataclass(frozen=True)
class Loss:
    """The loss of the logit.

    Attributes:
        name: cross_entropy or focal.
        label_smoothing: of the cross-entropy.
        focal_gamma: how much the focal loss discounts what is easy.
        focal_alpha: weight of manipulated faces in the focal loss; null for none.
    """

    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    focal_alpha: float | None = 0.25

    def __post_init__(self) -> None:
        _check(
            "loss.label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "0 to 1"
        )
        _check("loss.focal_gamma", self.focal_gamma, self.focal_gamma >= 0, "at least 0")


@dataclass(frozen=True)
class Optimizer:
    """How weights are moved.

    Attributes:
        name: the rule; lamb and radam_lookahead come from tensorflow-addons.
        learning_rate: at its highest, after warm-up.
        schedule: constant, cosine (to 0 at the last step) or step.
        warmup: steps over which the rate rises linearly from 0.
        decay: factor of the step schedule.
        decay_every: steps between two decays of the step schedule.
        weight_decay: decoupled (AdamW, LAMB) or added to the gradient (Adam, SGD), as named.
        clip_norm: largest global norm of a gradient; null for none.
        ema: momentum of the moving average of weights that is evaluated and exported; null
            for none.
    """

    name: Literal["adam", "adamw", "sgd", "lamb", "radam_lookahead"] = "adamw"
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    warmup: int = 0
    decay: float = 0.5
    decay_every: int = 5000
    weight_decay: float = 0.0
    clip_norm: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        rate = self.learning_rate
        _check("optimizer.learning_rate", rate, 0 < rate < 10, "above 0 and below 10")
        _check("optimizer.warmup", self.warmup, self.warmup >= 0, "at least 0")
        _check("optimizer.decay_every", self.decay_every, self.decay_every >= 1, "at least 1")
        _check("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _check("optimizer.decay", self.decay, 0 < self.decay <= 1, "above 0 and at most 1")
        if self.clip_norm is not None:
            _check("optimizer.clip_norm", self.clip_norm, self.clip_norm > 0, "above 0 or null")
        if self.ema is not None:
            _check("optimizer.ema", self.ema, 0 < self.ema < 1, "between 0 and 1, or null")


@dataclass(frozen=True)
class Train:
    """How long, how often, how exactly.

    Attributes:
        steps: training steps in all.
        save_every: steps between checkpoints.
        keep: newest checkpoints kept, beside the best on validation.
        validate_every: steps between looks at the validation split; these are the epochs.
        validate_levels: JPEG levels of those looks; the mean AUC over them picks the best.
        patience: looks without a better one after which training stops; null never stops.
        max_hours: time budget; training then saves and ends, and goes on when run again.
        seed: everything random follows from it.
        deterministic: same seed, same bytes: TensorFlow's op determinism.
        precision: auto is mixed_float16 on a GPU and float32 on a CPU.
        jit_compile: compile with XLA; for a GPU only, since it is several times slower on a CPU.
        steps_per_execution: steps run in one call of the graph.
    """

    steps: int = 20000
    save_every: int = 500
    keep: int = 2
    validate_every: int = 1000
    validate_levels: tuple[Level, ...] = ("c0", "c40", "c85")
    patience: int | None = None
    max_hours: float | None = None
    seed: int = 0
    deterministic: bool = True
    precision: Precision = "auto"
    jit_compile: bool = False
    steps_per_execution: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "keep", "validate_every", "steps_per_execution"):
            value = getattr(self, name)
            _check(f"train.{name}", value, value >= 1, "at least 1")
        for name in ("patience", "max_hours"):
            value = getattr(self, name)
            _check(f"train.{name}", value, value is None or value > 0, "above 0, or null")
        _check("train.seed", self.seed, 0 <= self.seed < 2**32, "0 to 4294967295")
        _check_levels("train.validate_levels", self.validate_levels)


@dataclass(frozen=True)
class Evaluation:
    """What training ends with.

    Attributes:
        levels: JPEG levels of the table.
        encoder: turbo or mozjpeg.
        export: leave a SavedModel for TF Serving in the run directory, too.
    """

    levels: tuple[Level, ...] = ("c0", "c23", "c40", "c85", "c90", "c95")
    encoder: Encoder = "turbo"
    export: bool = True

    def __post_init__(self) -> None:
        _check_levels("evaluation.levels", self.levels)


@dataclass(frozen=True)
class Config:
    """One experiment.

    Attributes:
        data: which faces.
        degrade: JPEG degradation on the fly.
        augment: flips and photometric augmentation.
        model: the detector.
        attention: multi-attention, where that is the detector.
        loss: the loss of the logit.
        optimizer: how weights are moved.
        train: how long, how often, how exactly.
        evaluation: what training ends with.
        demo: the embedded default data.
    """

    data: Data = field(default_factory=Data)
    degrade: Degrade = field(default_factory=Degrade)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    attention: Attention = field(default_factory=Attention)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)
    demo: Demo = field(default_factory=Demo)


def _check_levels(key: str, levels: tuple[Level, ...]) -> None:
    distinct = len(set(levels)) == len(levels) > 0
    _check(key, list(levels), distinct, "at least one level, each of them once")


def _check(key: str, value: object, allowed: bool, expected: str) -> None:
    if not allowed:
        raise UsageError(f"{key}: expected {expected}, got {value!r}")
