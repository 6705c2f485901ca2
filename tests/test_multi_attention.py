from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tiny import tiny_backbone, tiny_plain

from tfforensics.command import UsageError
from tfforensics.models.backbone import build_backbone
from tfforensics.models.multi_attention import build_multi_attention, copy_backbone, hard_swish
from tfforensics.models.plain import build_plain


def faces(count: int = 2, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture(scope="module")
def on_lite0() -> keras.Model:
    """Without dropout, so that one pass is the same as another."""
    backbone = build_backbone("lite0", size=64, weights="imagenet")
    return build_multi_attention(backbone, attention_dropout=0.0, final_dropout=0.0)


def backbone_of(network: keras.Model) -> keras.Model:
    return next(layer for layer in network.layers if isinstance(layer, keras.Model))


def test_outputs_on_lite0(on_lite0: keras.Model) -> None:
    outputs = on_lite0(faces(3, 64))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "logit": (3,),
        "attention": (3, 4, 4, 4),
        "regions": (3, 4, 24),
    }
    assert {value.dtype for value in outputs.values()} == {tf.float32}
    np.testing.assert_allclose(tf.norm(outputs["regions"], axis=-1), np.ones((3, 4)), rtol=1e-5)
    # Pixels as bytes or as floats are the same image.
    as_floats = on_lite0(faces(3, 64).astype(np.float32))
    np.testing.assert_array_equal(outputs["logit"], as_floats["logit"])


def test_the_head_has_the_published_layers(on_lite0: keras.Model) -> None:
    maps, deep, shallow, final, width = 4, 112, 24, 1280, 256
    attention = 9 * deep**2 + deep + 4 * deep + deep * maps + 4 * maps
    block = (25 + 9 + 18 + 27 + 4) * shallow**2 + 5 * shallow + 4 * (1 + 2 + 3 + 4 + 1) * shallow
    texture = 9 * shallow**2 + shallow + maps * block
    local = (maps * shallow + 1) * width + (width + 1) * width
    head = (final + 1) * width + (2 * width + 1) * width + (width + 1)
    counters = 2  # of dropout
    parameters = on_lite0.count_params() - backbone_of(on_lite0).count_params()
    assert parameters == attention + texture + local + head + counters


def cancelled(name: str) -> bool:
    """Whether a batch normalisation behind it takes the weight's effect away with the mean.

    The published network has these biases, and inference reads them, but they cannot learn: those
    of convolutions in front of a normalisation, and the shifts between two of the backbone.
    """
    biases = ("conv0/bias", "conv1/bias", "conv2/bias", "conv3/bias", "conv4/bias", "extract/bias")
    shift = name.startswith("block") and name.endswith("project_bn/beta:0")
    return name.removesuffix(":0").endswith(biases) or shift


def test_gradients_reach_every_weight_by_name(on_lite0: keras.Model) -> None:
    with tf.GradientTape() as tape:
        outputs = on_lite0(faces(4, 64), training=True)
        # The classification and what the regional independence loss reads.
        loss = tf.reduce_sum(outputs["logit"]) + tf.reduce_sum(outputs["regions"] ** 3)
    weights = on_lite0.trainable_variables
    largest = {
        weight.name: 0.0 if gradient is None else np.abs(tf.convert_to_tensor(gradient)).max()
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True)
    }
    assert len(largest) == len(weights)
    assert [name for name, size in largest.items() if size < 1e-5 and not cancelled(name)] == []
    assert [name for name, size in largest.items() if size == 0.0] == []


def test_attention_learns_from_each_branch_but_not_from_the_making_of_textures() -> None:
    network = build_multi_attention(tiny_backbone())
    maps = network.get_layer("attention").trainable_variables
    textures, means = network.get_layer("texture").output
    probe = keras.Model(network.input, [*textures, means])
    with tf.GradientTape(persistent=True) as tape:
        made = tf.add_n([tf.reduce_sum(each**2) for each in probe(faces(), training=True)[:-1]])
        outputs = network(faces(), training=True)
        regions = tf.reduce_sum(outputs["regions"] ** 3)
        logit = tf.reduce_sum(outputs["logit"])
    assert tape.gradient(made, maps) == [None] * len(maps)
    for loss in (regions, logit):
        assert max(np.abs(gradient).max() for gradient in tape.gradient(loss, maps)) > 1e-6


def test_weight_names_are_unique(on_lite0: keras.Model) -> None:
    names = [weight.name for weight in on_lite0.weights]
    assert len(set(names)) == len(names)


def check_saving(build: Callable[[], keras.Model], size: int, folder: Path) -> None:
    network = build()
    for _ in range(3):
        network(faces(4, size), training=True)  # batch statistics of their own
    expected = network(faces(2, size))

    network.save_weights(folder / "network.weights.h5")
    again = build()
    assert np.abs(again(faces(2, size))["attention"] - expected["attention"]).max() > 1e-3
    again.load_weights(folder / "network.weights.h5")
    for name, value in again(faces(2, size)).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)

    serve = tf.function(lambda images: network(images, training=False))
    signature = serve.get_concrete_function(tf.TensorSpec((None, size, size, 3), tf.uint8))
    tf.saved_model.save(network, str(folder / "saved"), signatures=signature)
    served = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    # The optimised graph may fuse what the layers do one by one: one rounding of bfloat16 apart.
    tolerance = 1e-5 if keras.mixed_precision.global_policy().name == "float32" else 2e-2
    for name, value in served(tf.constant(faces(2, size))).items():
        np.testing.assert_allclose(value, expected[name], atol=tolerance, err_msg=name)


@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_saved_weights_and_saved_model_predict_the_same(
    policy: str, precision: Callable[[str], None], tmp_path: Path
) -> None:
    precision(policy)
    check_saving(lambda: build_multi_attention(tiny_backbone(), maps=2), 32, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["lite0", "b0", "v2-b0"])
def test_real_networks_are_saved(
    name: str, policy: str, precision: Callable[[str], None], tmp_path: Path
) -> None:
    precision(policy)
    check_saving(
        lambda: build_multi_attention(build_backbone(name, size=64, weights=None)), 64, tmp_path
    )


def test_weights_of_another_number_of_maps_are_refused(tmp_path: Path) -> None:
    build_multi_attention(tiny_backbone(), maps=2).save_weights(tmp_path / "two.weights.h5")
    with pytest.raises(ValueError, match="Shape mismatch"):
        build_multi_attention(tiny_backbone(), maps=3).load_weights(tmp_path / "two.weights.h5")


def test_backbone_of_a_plain_network_is_the_start() -> None:
    plain = build_plain("lite0", size=64, weights=None)
    plain(faces(4, 64), training=True)
    network = build_multi_attention(build_backbone("lite0", size=64, weights=None))
    copy_backbone(plain, network)
    last = keras.Model(plain.input, plain.get_layer("top_activation").output)
    np.testing.assert_array_equal(backbone_of(network)(faces(2, 64))["final"], last(faces(2, 64)))


def test_backbone_of_a_network_with_other_maps_is_the_start() -> None:
    one, other = (build_multi_attention(tiny_backbone(), maps=maps) for maps in (2, 3))
    copy_backbone(one, other)
    for tap, value in backbone_of(one)(faces()).items():
        np.testing.assert_array_equal(backbone_of(other)(faces())[tap], value)


@pytest.mark.parametrize(
    ("plain", "offered"),
    [
        (lambda: tiny_plain(width=9), "[[3, 3, 3, 9]]"),
        (lambda: build_plain("lite0", size=64, weights=None), "[]"),
    ],
)
def test_another_backbone_is_refused_and_nothing_is_copied(
    plain: Callable[[], keras.Model], offered: str
) -> None:
    network = build_multi_attention(tiny_backbone(), maps=2)
    before = [weight.numpy() for weight in network.weights]
    with pytest.raises(UsageError) as error:
        copy_backbone(plain(), network)
    assert str(error.value) == (
        "initial weights: expected the backbone tiny, whose layer 'b2_conv' has weights of shapes "
        f"[[3, 3, 3, 8]]; got {offered}"
    )
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_b0_is_not_taken_for_lite0(on_lite0: keras.Model) -> None:
    # Their layers have the same names; b0 has more of them.
    with pytest.raises(UsageError, match=r"^initial weights: expected the backbone .*lite0"):
        copy_backbone(build_plain("b0", size=64, weights=None), on_lite0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"attention_tap": "b9"},
            "attention_tap: expected a tap of tiny (b2, b5, final), got 'b9'",
        ),
        ({"texture_tap": "b0"}, "texture_tap: expected a tap of tiny (b2, b5, final), got 'b0'"),
        ({"maps": 0}, "maps: expected at least 1 attention map, got 0"),
        ({"projection": 0}, "projection: expected a width of at least 1, got 0"),
        ({"attention_dropout": 1.0}, "rate: expected a probability in [0, 1), got 1.0"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as error:
        build_multi_attention(tiny_backbone(), **settings)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_a_backbone_without_its_last_tap_is_refused() -> None:
    backbone = tiny_backbone()
    taps = {tap: backbone.output[tap] for tap in ("b2", "b5")}
    with pytest.raises(UsageError) as error:
        build_multi_attention(keras.Model(backbone.input, taps, name="tiny"))
    assert str(error.value) == "backbone: expected a tap of tiny (b2, b5), got 'final'"


def test_an_image_too_small_for_the_maps_is_refused() -> None:
    small = build_multi_attention(tiny_backbone(size=8))
    assert small(faces(1, 8))["attention"].shape == (1, 2, 2, 4)
    with pytest.raises(UsageError, match=r"expected features of at least 2 x 2 .* got 1 x 1"):
        build_multi_attention(tiny_backbone(size=4))


def test_hard_swish() -> None:
    np.testing.assert_allclose(
        hard_swish(tf.constant([-4.0, -3.0, -1.0, 0.0, 3.0, 5.0])),
        [0, 0, -1 / 3, 0, 3, 5],
        rtol=1e-6,
    )
