"""The families in numbers, against the published tables."""

import pytest

from tfforensics.command import UsageError
from tfforensics.models.architecture import NAMES, architecture, round_filters, round_repeats


def summary(name):
    network = architecture(name)
    stages = [(stage.filters, stage.repeats) for stage in network.stages]
    return network.stem, stages, network.head, network.size, network.dropout


def test_b0_is_the_table_of_its_paper():
    assert summary("b0") == (
        32,
        [(16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)],
        1280,
        224,
        0.2,
    )
    stages = architecture("b0").stages
    assert [stage.kernel for stage in stages] == [3, 3, 5, 3, 5, 5, 3]
    assert [stage.stride for stage in stages] == [1, 2, 2, 2, 1, 2, 1]
    assert [stage.expand for stage in stages] == [1, 6, 6, 6, 6, 6, 6]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "b4",
            (
                48,
                [(24, 2), (32, 4), (56, 4), (112, 6), (160, 6), (272, 8), (448, 2)],
                1792,
                380,
                0.4,
            ),
        ),
        (
            "b8",
            (
                72,
                [(32, 4), (56, 8), (88, 8), (176, 11), (248, 11), (424, 15), (704, 4)],
                2816,
                672,
                0.5,
            ),
        ),
        (
            "l2",
            (
                136,
                [(72, 6), (104, 11), (176, 11), (344, 16), (480, 16), (824, 22), (1376, 6)],
                5504,
                800,
                0.5,
            ),
        ),
        (
            "lite4",
            (
                32,
                [(24, 1), (32, 4), (56, 4), (112, 6), (160, 6), (272, 8), (448, 1)],
                1280,
                300,
                0.3,
            ),
        ),
        (
            "v2-b3",
            (40, [(16, 2), (40, 3), (56, 3), (112, 5), (136, 7), (232, 12)], 1536, 300, 0.3),
        ),
        (
            "v2-m",
            (
                24,
                [(24, 3), (48, 5), (80, 5), (160, 7), (176, 14), (304, 18), (512, 5)],
                1280,
                480,
                0.3,
            ),
        ),
    ],
)
def test_members_are_scaled_as_published(name, expected):
    assert summary(name) == expected


def test_lite_has_no_squeeze_and_excitation_and_sees_127_as_zero():
    network = architecture("lite0")
    assert all(stage.squeeze == 0 for stage in network.stages)
    assert (network.activation, network.mean[0], network.std[0]) == ("relu6", 127, 128)


@pytest.mark.parametrize(
    ("filters", "width", "floor", "expected"),
    [
        (32, 1.4, 0.9, 48),
        (16, 1.2, 0.9, 24),  # 16 would be less than 0.9 x 19.2
        (16, 1.2, 0.0, 16),
        (1280, 1.1, 0.9, 1408),
        (1, 1.0, 0.9, 8),
    ],
)
def test_round_filters(filters, width, floor, expected):
    assert round_filters(filters, width, floor=floor) == expected


def test_round_repeats_rounds_up():
    assert [round_repeats(n, 1.1) for n in (1, 2, 3)] == [2, 3, 4]
    assert round_repeats(2, 1.0) == 2


def test_taps_and_their_reductions():
    assert architecture("b4").taps == ("b1", "b2", "b3", "b4", "b5", "b6", "b7", "final")
    assert architecture("v2-s").taps == ("b1", "b2", "b3", "b4", "b5", "b6", "final")
    reductions = [architecture("b4").reduction(tap) for tap in architecture("b4").taps]
    assert reductions == [2, 4, 8, 16, 16, 32, 32, 32]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"expected one of b0, b1.*lite4, got 'b9'"):
        architecture("b9")
    assert len(NAMES) == 22
    assert all(architecture(name).name == name for name in NAMES)
