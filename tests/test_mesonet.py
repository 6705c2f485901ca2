"""MesoNet against the published networks, written here once more from the paper's figures."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import tf_keras as keras
from PIL import Image

from tfforensics.command import UsageError
from tfforensics.models.backbone import build_backbone
from tfforensics.models.mesonet import from_released_weights, meso4, meso_inception4

SHARED = Path(__file__).parents[2] / "shared"
L = keras.layers


def published_meso4(x):
    for filters, kernel, pool in ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4)):
        x = L.Conv2D(filters, kernel, padding="same", activation="relu")(x)
        x = L.MaxPooling2D(pool, padding="same")(L.BatchNormalization()(x))
    return x


def published_inception(x, a, b, c, d):
    def conv(x, filters, kernel, dilation=1):
        return L.Conv2D(filters, kernel, padding="same", dilation_rate=dilation, activation="relu")(
            x
        )

    x1 = conv(x, a, 1)
    x2 = conv(conv(x, b, 1), b, 3)
    x3 = conv(conv(x, c, 1), c, 3, 2)
    x4 = conv(conv(x, d, 1), d, 3, 3)
    x = L.BatchNormalization()(L.Concatenate()([x1, x2, x3, x4]))
    return L.MaxPooling2D(2, padding="same")(x)


def published_meso_inception4(x):
    x = published_inception(published_inception(x, 1, 4, 4, 2), 2, 4, 4, 2)
    for pool in (2, 4):
        x = L.Conv2D(16, 5, padding="same", activation="relu")(x)
        x = L.MaxPooling2D(pool, padding="same")(L.BatchNormalization()(x))
    return x


def published(body, path, first=1):
    """The released network, 1 = real, with random weights that are saved as released.

    `first` is the number of its first layer of each kind: the released Meso4 begins at 5.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    for _ in range(first):
        L.Conv2D(1, 1), L.BatchNormalization(), L.Dense(1)
    images = keras.Input((256, 256, 3))
    x = L.LeakyReLU(0.1)(L.Dense(16)(L.Flatten()(body(images))))
    model = keras.Model(images, L.Dense(1, activation="sigmoid")(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([20 * kernel, bias])  # so that answers differ by more than noise
    model.save_weights(path)
    return model


def pictures(count=4):
    """From smooth to noisy, so that answers differ."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (count, 256, 256, 3))
    weight = np.linspace(0, 1, count)[:, None, None, None]
    return (weight * noise + (1 - weight) * np.arange(256)[:, None, None]).astype(np.uint8)


@pytest.mark.parametrize(
    ("body", "first", "name"),
    [
        (published_meso4, 5, "meso4"),
        (published_meso_inception4, 1, "meso_inception4"),
        (published_meso_inception4, 90, "meso_inception4"),  # 99 comes before 100
    ],
)
def test_released_weights_answer_as_published_with_polarity_undone(tmp_path, body, first, name):
    original = published(body, tmp_path / "released.h5", first)
    model = from_released_weights(tmp_path / "released.h5")
    assert model.network.name == name
    real = original(pictures() / 255.0).numpy()[:, 0]
    assert np.ptp(real) > 0.01
    probability = model(pictures())
    assert probability.shape == (4,)
    assert probability.dtype == "float32"
    np.testing.assert_allclose(probability, 1 - real, atol=1e-5)
    logit = model.network(pictures())["logit"].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), probability, atol=1e-6)


@pytest.mark.parametrize("name", ["Meso4_DF", "MesoInception_DF"])
def test_the_authors_weights_give_the_authors_answers(name):
    if not (SHARED / "mesonet").is_dir():
        pytest.skip("the released weights are not part of this repository")
    with (SHARED / "mesonet/expected.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["weights"] == name]
    faces = [
        np.asarray(Image.open(SHARED / row["portrait"]).resize((256, 256), Image.BILINEAR))
        for row in rows
    ]
    expected = [1 - float(row["sigmoid_output"]) for row in rows]
    probability = from_released_weights(SHARED / f"mesonet/{name}.h5")(np.stack(faces))
    np.testing.assert_allclose(probability, expected, atol=1e-5)


@pytest.mark.parametrize(("build", "parameters"), [(meso4, 27_977), (meso_inception4, 28_615)])
def test_sizes_and_parameters(build, parameters):
    network = build()
    assert sum(w.shape.num_elements() for w in network.trainable_weights) == parameters
    small = build(size=64)
    assert small(np.zeros((2, 64, 64, 3), np.uint8))["logit"].shape == (2,)
    with pytest.raises(UsageError, match="size: expected at least 32 pixels for MesoNet, got 16"):
        build(size=16)


def test_its_dropout_follows_the_seed():
    images = np.full((4, 64, 64, 3), 200, np.uint8)
    one, two, other = meso4(size=64, seed=1), meso4(size=64, seed=1), meso4(size=64, seed=2)
    for model in (two, other):
        model.set_weights(one.get_weights())
    answers = [model(images, training=True)["logit"].numpy() for model in (one, two, other)]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.any(answers[0] != answers[2])


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: .*none\.h5"):
        from_released_weights(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(UsageError, match="expected an HDF5 file"):
        from_released_weights(tmp_path / "text.h5")
    build_backbone("lite0", size=32, weights=None, taps=["b1"]).save_weights(tmp_path / "lite0.h5")
    message = r"expected the released weights of Meso4 or MesoInception4, got .*lite0\.h5"
    with pytest.raises(UsageError, match=message):
        from_released_weights(tmp_path / "lite0.h5")
    meso4(size=64).save_weights(tmp_path / "small.h5")
    with pytest.raises(UsageError, match="expected the released weights"):
        from_released_weights(tmp_path / "small.h5")
    published(published_meso4, tmp_path / "cut.h5")
    with h5py.File(tmp_path / "cut.h5", "r+") as file:
        layers = [name for name in file.attrs["layer_names"] if "dense" not in str(name)]
        del file.attrs["layer_names"]
        file.attrs["layer_names"] = np.array(layers).astype(bytes)
    with pytest.raises(UsageError, match="expected the released weights"):
        from_released_weights(tmp_path / "cut.h5")
