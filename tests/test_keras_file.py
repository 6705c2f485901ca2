"""Arrays of Keras's HDF5 files: all of them by name, and nothing that is not one."""

import h5py
import numpy as np
import pytest
import tf_keras as keras

from tfforensics.command import UsageError
from tfforensics.models.keras_file import read_keras_file


def small_model():
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(images)
    x = keras.layers.BatchNormalization(name="norm")(x)
    return keras.Model(images, keras.layers.ReLU(name="relu")(x))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("whole", [False, True])
def test_every_array_is_read_by_layer_and_name(tmp_path, whole):
    model, path = small_model(), tmp_path / "model.h5"
    model.save(path) if whole else model.save_weights(path)
    read = read_keras_file(path)
    assert {layer: list(arrays) for layer, arrays in read.items()} == {
        "conv": ["kernel", "bias"],
        "norm": ["gamma", "beta", "moving_mean", "moving_variance"],
    }
    np.testing.assert_array_equal(read["conv"]["kernel"], model.get_layer("conv").kernel)


def test_files_of_another_kind_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: .*none\.h5"):
        read_keras_file(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("weights")
    with pytest.raises(UsageError, match=r"expected an HDF5 file, got .*text\.h5"):
        read_keras_file(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["array"] = [1.0]
    with pytest.raises(UsageError, match=r"expected Keras weights in HDF5 .*other\.h5"):
        read_keras_file(tmp_path / "other.h5")
    with pytest.raises(UsageError, match="expected an HDF5 file"):
        read_keras_file(tmp_path)


def keras_like(path, write):
    """A file with one layer, whose kernel `write` makes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        write(group, "conv/kernel:0")


@pytest.mark.parametrize(
    "write",
    [
        lambda group, name: group.create_dataset(name, (1 << 20, 1 << 20), "f4"),
        lambda group, name: group.create_dataset(
            name, (4,), "f4", external=[("/etc/hostname", 0, 16)]
        ),
        lambda group, name: group.create_virtual_dataset(
            name, h5py.VirtualLayout((4,), "f4"), fillvalue=0
        ),
    ],
)
def test_arrays_that_are_not_in_the_file_are_refused(tmp_path, write):
    keras_like(tmp_path / "a.h5", write)
    with pytest.raises(UsageError, match="/conv/conv/kernel:0 is not stored in the file itself"):
        read_keras_file(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "write",
    [
        lambda group, name: group.create_dataset(name, data="text"),
        lambda group, name: group.create_group(name),
        lambda group, name: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/")),
    ],
)
def test_what_is_no_array_is_refused_in_one_line(tmp_path, write):
    keras_like(tmp_path / "a.h5", write)
    with pytest.raises(UsageError) as error:
        read_keras_file(tmp_path / "a.h5")
    assert "\n" not in str(error.value)
