"""Compound scaling, measured cost, and accuracy weighed against cost.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019, equation 3: depth = alpha^phi, width = beta^phi, resolution = gamma^phi with alpha
1.2, beta 1.1 and gamma 1.15, so that phi + 1 costs about twice as much. Tan et al.,
"MnasNet", CVPR 2019, equation 2: OPT(m) = ACC(m) x (FLOPS(m) / T)^w.

    python -m tfforensics.models.scaling
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfforensics.command import Parser, run
from tfforensics.models.architecture import NAMES, Architecture, architecture

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
_BASE_SIZE = 224

# Parameters and multiply-adds with a 1000-class head. B: table 2 of the paper; V2: table 7
# of "EfficientNetV2" (ICML 2021); Lite: the table of its README in tensorflow/tpu.
PUBLISHED = {
    "b0": (5.3e6, 0.39e9),
    "b1": (7.8e6, 0.70e9),
    "b2": (9.2e6, 1.0e9),
    "b3": (12e6, 1.8e9),
    "b4": (19e6, 4.2e9),
    "b5": (30e6, 9.9e9),
    "b6": (43e6, 19e9),
    "b7": (66e6, 37e9),
    "v2-s": (22e6, 8.8e9),
    "v2-m": (54e6, 24e9),
    "v2-l": (120e6, 53e9),
    "lite0": (4.7e6, 0.407e9),
    "lite1": (5.4e6, 0.631e9),
    "lite2": (6.1e6, 0.899e9),
    "lite3": (8.2e6, 1.44e9),
    "lite4": (13.0e6, 2.64e9),
}
# How far a measured figure may lie from a published one before the table says so.
TOLERANCE = 0.03


@dataclass(frozen=True)
class Scaling:
    """Coefficients that repeats and channels are multiplied with, and the image side in pixels."""

    depth: float
    width: float
    size: float


def compound_scaling(phi: float) -> Scaling:
    """The rule at `phi`; 0 is B0. Published members round, and are less deep from B4 on."""
    return Scaling(depth=ALPHA**phi, width=BETA**phi, size=_BASE_SIZE * GAMMA**phi)


def phi_of_size(size: float) -> float:
    """The phi at which the rule asks for images of that side."""
    return math.log(size / _BASE_SIZE) / math.log(GAMMA)


def opt(accuracy: float, flops: float, *, target: float, w: float = -0.07) -> float:
    """OPT(m) = ACC(m) x (FLOPS(m) / T)^w: accuracy, less for cost above a target.

    Args:
        accuracy: In 0..1.
        flops: Multiply-adds of the model for an image.
        target: T, in the same unit as `flops`.
        w: The trade: at -0.07, doubling the cost loses 4.7% of the value.
    """
    return accuracy * (flops / target) ** w


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        trainable: Number of trainable parameters; what papers call parameters.
        parameters: Those and the batch norms' moving statistics.
        multiply_adds: For one image: of convolutions and matrix products. Normalisation,
            activations, pooling and biases (under 1% in these networks) are not counted,
            as the papers do not.
    """

    trainable: int
    parameters: int
    multiply_adds: int


def measure(model: keras.Model) -> Cost:
    """Counts a built model's parameters, and the operations of its graph in inference.

    Args:
        model: With a single image input of known size.

    Raises:
        ValueError: a branch or a loop of the graph hides what it costs.
    """
    import tensorflow as tf

    (images,) = model.inputs
    eagerly = tf.config.functions_run_eagerly()
    # So that functions within the model (Keras's grouped convolution is one) are traced in
    # place, where their operations can be seen.
    tf.config.run_functions_eagerly(True)
    try:
        with tf.__internal__.FuncGraph("cost").as_default() as graph:
            model(tf.zeros((1, *images.shape[1:]), images.dtype), training=False)
    finally:
        tf.config.run_functions_eagerly(eagerly)
    trainable = sum(variable.shape.num_elements() for variable in model.trainable_weights)
    parameters = sum(
        variable.shape.num_elements() for variable in model.weights if variable.dtype.is_floating
    )
    return Cost(trainable, parameters, sum(map(_multiply_adds, graph.get_operations())))


def _multiply_adds(operation: tf.Operation) -> int:
    """Elements of the output x products that are summed for each."""
    kind = operation.type
    if kind in ("Conv2D", "DepthwiseConv2dNative"):
        # Kernels are (h, w, in / groups, out), and (h, w, in, multiplier) with one input
        # channel for each output.
        height, width, channels, _ = operation.inputs[1].shape
        summed = height * width * (channels if kind == "Conv2D" else 1)
    elif kind in ("MatMul", "BatchMatMulV2"):
        attribute = "transpose_a" if kind == "MatMul" else "adj_x"
        summed = operation.inputs[0].shape[-2 if operation.get_attr(attribute) else -1]
    elif kind == "Einsum":
        return _einsum_multiply_adds(operation)
    elif any(attribute.type == "func" for attribute in operation.op_def.attr):
        raise ValueError(f"cannot count what runs inside of {operation.name} ({kind})")
    else:
        return 0
    return operation.outputs[0].shape.num_elements() * summed


def _einsum_multiply_adds(operation: tf.Operation) -> int:
    """The product of the sizes of all of the equation's indices."""
    terms = operation.get_attr("equation").decode().split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, operation.inputs, strict=True):
        sizes.update(zip(term, tensor.shape, strict=True))
    return math.prod(sizes.values())


def _row(network: Architecture) -> tuple[str, list[str]]:
    """A line of the table, and what is to be said of it."""
    from tfforensics.models.backbone import build_classifier

    name = network.name
    rule = compound_scaling(phi_of_size(network.size))
    cost = measure(build_classifier(name, size=network.size, weights=None))
    measured = (cost.trainable, cost.multiply_adds)
    published = PUBLISHED.get(name)
    known = (
        ("-", "-") if published is None else (f"{published[0] / 1e6:g}", f"{published[1] / 1e9:g}")
    )
    line = (
        f"{name:6} {phi_of_size(network.size):4.1f}  {network.depth:3.1f} ({rule.depth:3.1f})  "
        f"{network.width:3.1f} ({rule.width:3.1f})  {network.size:6}  "
        f"{known[0]:>9} {measured[0] / 1e6:8.2f}  {known[1]:>9} {measured[1] / 1e9:8.3f}"
    )
    notes = [
        f"{name}: {what} measured {(found / said - 1):+.1%} from published"
        for what, found, said in zip(
            ("parameters", "multiply-adds"), measured, published or (), strict=False
        )
        if abs(found / said - 1) > TOLERANCE
    ]
    return line, notes


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m tfforensics.models.scaling",
        description="The EfficientNet family: published parameters and multiply-adds beside "
        "those measured from the graph, with a 1000-class head at the published image size. "
        "Depth and width stand beside what the compound rule asks for at that size.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"networks to measure, of {', '.join(NAMES)} (default: b0 to b7)",
    )
    names = parser.parse_args(argv).names or [f"b{n}" for n in range(8)]
    networks = [architecture(name) for name in names]
    print("                   rule       rule  image   parameters, M       multiply-adds, G")
    print("name    phi  depth      width       pixels  published measured  published measured")
    notes = []
    for network in networks:
        line, said = _row(network)
        print(line, flush=True)
        notes += said
    print("\n".join(notes or [f"all within {TOLERANCE:.0%} of what is published"]))
    return 0


if __name__ == "__main__":
    run(main, "python -m tfforensics.models.scaling")
