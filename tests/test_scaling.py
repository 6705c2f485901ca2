"""Costs counted by hand, the family against its paper, and OPT."""

import subprocess
import sys

import pytest
import tensorflow as tf
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models import scaling
from tfforensics.models.architecture import architecture
from tfforensics.models.backbone import build_backbone, build_classifier
from tfforensics.models.mesonet import meso4


def test_opt_is_the_equation():
    assert scaling.opt(0.85, 2.0, target=1.5) == pytest.approx(0.8331, abs=5e-5)
    assert scaling.opt(0.85, 1.5, target=1.5) == 0.85
    assert scaling.opt(0.9, 4.2e9, target=2.1e9) == pytest.approx(0.9 * 2**-0.07)
    assert scaling.opt(0.5, 2, target=1, w=-1) == 0.25


def test_compound_scaling_is_the_equation():
    assert scaling.compound_scaling(0) == scaling.Scaling(depth=1, width=1, size=224)
    one = scaling.compound_scaling(1)
    assert (one.depth, one.width, one.size) == pytest.approx((1.2, 1.1, 257.6))
    # A step of phi costs about twice as much: depth x width^2 x resolution^2.
    assert one.depth * one.width**2 * (one.size / 224) ** 2 == pytest.approx(1.92, abs=0.005)
    for phi in (0.5, 3.0):
        assert scaling.phi_of_size(scaling.compound_scaling(phi).size) == pytest.approx(phi)


def counted(*layers, shape=(12, 10, 4)):
    images = keras.Input(shape)
    x = images
    for layer in layers:
        x = layer(x)
    return scaling.measure(keras.Model(images, x))


L = keras.layers


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (L.Conv2D(8, 3, padding="same"), 12 * 10 * 8 * 9 * 4),
        (L.Conv2D(8, 3, strides=2, padding="same"), 6 * 5 * 8 * 9 * 4),
        (L.Conv2D(8, (1, 5), padding="valid"), 12 * 6 * 8 * 5 * 4),
        (L.Conv2D(8, 3, groups=2, padding="same"), 12 * 10 * 8 * 9 * 2),
        (L.DepthwiseConv2D(5, padding="same"), 12 * 10 * 4 * 25),
        (L.DepthwiseConv2D(3, depth_multiplier=3, padding="same"), 12 * 10 * 12 * 9),
        (L.Dense(7), 12 * 10 * 4 * 7),
        (L.Lambda(lambda x: tf.linalg.matmul(x, x, transpose_a=True)), 12 * 4 * 10 * 4),
        (L.Lambda(lambda x: tf.einsum("bhwc,bhwm->bcm", x, x[..., :3])), 12 * 10 * 4 * 3),
        (L.BatchNormalization(), 0),
        (L.GlobalAveragePooling2D(), 0),
    ],
)
def test_multiply_adds_counted_by_hand(layer, expected):
    assert counted(layer).multiply_adds == expected


def test_parameters_and_statistics_are_told_apart():
    cost = counted(L.Conv2D(8, 3, use_bias=False), L.BatchNormalization())
    assert (cost.trainable, cost.parameters) == (9 * 4 * 8 + 16, 9 * 4 * 8 + 32)
    # The counters of drop-connect and dropout are no parameters.
    assert scaling.measure(meso4()) == scaling.Cost(27_977, 28_073, 60_047_376)


def test_functions_are_counted_and_branches_are_an_error():
    def product(x):
        return x @ tf.ones((4, 4))

    assert counted(L.Lambda(tf.function(product))).multiply_adds == 12 * 10 * 4 * 4
    assert not tf.config.functions_run_eagerly()
    branch = L.Lambda(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: product(x), lambda: x))
    with pytest.raises(ValueError, match="cannot count what runs inside of"):
        counted(branch)


def test_b4_costs_what_its_convolutions_cost():
    """Counted from the architecture alone, beside the count from the graph.

    The paper says 4.2 G; its own layers at 380 px, padded as "same", make 4.39 G.
    """
    network = architecture("b4")
    side, channels = 190, network.stem
    expected = side**2 * 27 * network.stem
    for stage in network.stages:
        for block in range(stage.repeats):
            inner = channels * stage.expand
            if stage.expand > 1:
                expected += side**2 * channels * inner
            if block == 0:
                side = -(-side // stage.stride)
            expected += side**2 * inner * (stage.kernel**2 + stage.filters)
            expected += 2 * inner * int(channels / 4)
            channels = stage.filters
    expected += side**2 * channels * network.head + network.head * 1000
    cost = scaling.measure(build_classifier("b4", size=380, weights=None))
    assert cost == scaling.Cost(19_341_616, 19_466_816, expected)
    assert expected == 4_393_771_024
    # The 17.7 M that are given for B4 without its head count the moving statistics.
    assert cost.parameters - (network.head + 1) * 1000 == 17_673_816


def test_the_table_says_what_differs(capsys):
    assert scaling.main(["lite0"]) == 0
    *_, line, note = capsys.readouterr().out.splitlines()
    expected = "lite0 0.0 1.0 (1.0) 1.0 (1.0) 224 4.7 4.65 0.407 0.385"
    assert line.split() == expected.split()
    assert note == "lite0: multiply-adds measured -5.4% from published"


@pytest.mark.slow
def test_the_family_is_within_three_percent_of_its_paper_or_says_so(capsys):
    scaling.main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:10]] == [f"b{n}" for n in range(8)]
    assert lines[10:] == [
        "b4: multiply-adds measured +4.6% from published",
        "b5: multiply-adds measured +3.7% from published",
    ]


def test_an_unknown_network_is_refused_before_work():
    with pytest.raises(UsageError, match=r"expected one of b0, .*, got 'b9'"):
        scaling.main(["b0", "b9"])


def test_a_backbone_is_measured_too():
    cost = scaling.measure(build_backbone("b0", size=64, weights=None, taps=["b2"]))
    assert 0 < cost.multiply_adds < 30e6


def test_help_is_quick_and_imports_no_tensorflow():
    code = (
        "import sys, time; from tfforensics.models import scaling\n"
        "try: scaling.main(['--help'])\n"
        "except SystemExit: assert 'tensorflow' not in sys.modules\n"
        "assert time.process_time() < 0.5, 'took half a second of processor time'"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "EfficientNet family" in process.stdout
