"""An EfficientNet architecture as a Keras graph.

Layers have the names that Keras gives them (`block4a_expand_conv`, ...), so that its
published weight files and these networks agree by name. Strided convolutions pad as
"same" does; Keras's padding layers before them add the same zeros.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import tf_keras as keras

from tfforensics.models.architecture import Architecture, Stage
from tfforensics.models.depthwise import DepthwiseConv2D
from tfforensics.models.dropout import DropConnect, Dropout
from tfforensics.models.normalisation import BatchNormalization


def feature_maps(
    images: keras.KerasTensor, architecture: Architecture, *, drop_connect: float, seed: int
) -> Iterator[tuple[str, keras.KerasTensor]]:
    """Builds the network on `images`, as far as the caller asks for its maps.

    Args:
        images: (B, H, W, 3) RGB, 0..255.
        architecture: What to build.
        drop_connect: Rate of stochastic depth; block i of n has i / n of it.
        seed: Of the drop-connect masks.

    Yields:
        Taps and their maps (B, h, w, c), in the order of the network.
    """
    # In float32 whatever the policy: half precision would round before the mean is taken off.
    x = keras.layers.Rescaling(
        scale=[1 / std for std in architecture.std],
        offset=[-mean / std for mean, std in zip(architecture.mean, architecture.std, strict=True)],
        dtype="float32",
        name="preprocessing",
    )(images)
    build = _Builder(architecture, seed)
    x = build.conv(x, architecture.stem, kernel=3, stride=2, name="stem_conv")
    x = build.activate(build.norm(x, "stem_bn"), "stem_activation")

    blocks = sum(stage.repeats for stage in architecture.stages)
    block = 0
    for number, stage in enumerate(architecture.stages, start=1):
        for repeat in range(stage.repeats):
            x = build.block(
                x,
                stage,
                stride=stage.stride if repeat == 0 else 1,
                drop=drop_connect * block / blocks,
                name=f"block{number}{string.ascii_lowercase[repeat]}_",
            )
            block += 1
        yield f"b{number}", x

    x = build.conv(x, architecture.head, name="top_conv")
    yield "final", build.activate(build.norm(x, "top_bn"), "top_activation")


def classify(
    features: keras.KerasTensor, architecture: Architecture, *, classes: int, seed: int
) -> keras.KerasTensor:
    """The published head on the `final` map: pooling, dropout, logits (B, classes)."""
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="avg_pool")(features)
    x = Dropout(architecture.dropout, seed=seed, name="top_dropout")(x)
    return keras.layers.Dense(
        classes,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform"),
        dtype="float32",
        name="predictions",
    )(x)


class _Builder:
    """Adds layers of one architecture to a graph."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        self._architecture = architecture
        self._seed = seed
        self._depthwise_name = "dwconv2" if architecture.name.startswith("v2") else "dwconv"

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        *,
        name: str,
        kernel: int = 1,
        stride: int = 1,
        **settings: Any,
    ) -> keras.KerasTensor:
        return keras.layers.Conv2D(
            filters,
            kernel,
            stride,
            "same",
            kernel_initializer=_conv_initializer(),
            name=name,
            **{"use_bias": False, **settings},
        )(x)

    def norm(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        momentum = self._architecture.momentum
        return BatchNormalization(momentum=momentum, epsilon=1e-3, name=name)(x)

    def activate(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.Activation(self._architecture.activation, name=name)(x)

    def block(
        self, x: keras.KerasTensor, stage: Stage, *, stride: int, drop: float, name: str
    ) -> keras.KerasTensor:
        """Inverted residual block (MBConv), or its fused form."""
        inputs = x
        channels = inputs.shape[-1]
        x = (self._fused if stage.fused else self._depthwise)(x, stage, stride, name)
        if stride == 1 and channels == stage.filters:
            if drop > 0.0:
                x = DropConnect(drop, seed=self._seed, name=name + "drop")(x)
            x = keras.layers.Add(name=name + "add")([x, inputs])
        return x

    def _depthwise(
        self, x: keras.KerasTensor, stage: Stage, stride: int, name: str
    ) -> keras.KerasTensor:
        channels = x.shape[-1]
        if stage.expand != 1:
            x = self.conv(x, channels * stage.expand, name=name + "expand_conv")
            x = self.activate(self.norm(x, name + "expand_bn"), name + "expand_activation")
        x = DepthwiseConv2D(
            stage.kernel,
            stride,
            depthwise_initializer=_conv_initializer(),
            name=name + self._depthwise_name,
        )(x)
        x = self.activate(self.norm(x, name + "bn"), name + "activation")
        if stage.squeeze:
            x = self._squeeze_excite(x, max(1, int(channels * stage.squeeze)), name)
        x = self.conv(x, stage.filters, name=name + "project_conv")
        return self.norm(x, name + "project_bn")

    def _fused(
        self, x: keras.KerasTensor, stage: Stage, stride: int, name: str
    ) -> keras.KerasTensor:
        if stage.expand == 1:
            x = self.conv(
                x, stage.filters, kernel=stage.kernel, stride=stride, name=name + "project_conv"
            )
            return self.activate(self.norm(x, name + "project_bn"), name + "project_activation")
        inner = x.shape[-1] * stage.expand
        x = self.conv(x, inner, kernel=stage.kernel, stride=stride, name=name + "expand_conv")
        x = self.activate(self.norm(x, name + "expand_bn"), name + "expand_activation")
        x = self.conv(x, stage.filters, name=name + "project_conv")
        return self.norm(x, name + "project_bn")

    def _squeeze_excite(
        self, x: keras.KerasTensor, bottleneck: int, name: str
    ) -> keras.KerasTensor:
        """Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018."""
        channels = x.shape[-1]
        # In float32 whatever the policy: a CPU adds up float16 in float16, which is 0.23 for the
        # mean of 190 x 190 times 0.9.
        scale = keras.layers.GlobalAveragePooling2D(
            keepdims=True, dtype="float32", name=name + "se_squeeze"
        )(x)
        activation = self._architecture.activation
        scale = self.conv(
            scale, bottleneck, use_bias=True, activation=activation, name=name + "se_reduce"
        )
        scale = self.conv(
            scale, channels, use_bias=True, activation="sigmoid", name=name + "se_expand"
        )
        return keras.layers.Multiply(name=name + "se_excite")([x, scale])


def _conv_initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")
