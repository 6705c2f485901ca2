"""Files in PyTorch's old serialisation: read right, and never run."""

import hashlib
import io
import os
import pickle
import struct
from collections import OrderedDict
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfforensics.command import DataError
from tfforensics.models.torch_file import read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C
FACTS = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


class Storage:
    """Stands for a storage while the test pickles; written as a persistent id."""

    def __init__(self, key, array, kind="FloatStorage"):
        self.key, self.array, self.kind = key, array, kind


class Global:
    """Pickled as a reference to `module.name`, whatever that is."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Pickler(pickle._Pickler):
    """Python's own pickler in Python, taught to write names without importing them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return (
                "storage",
                Global("torch", value.kind),
                value.key,
                "cpu",
                value.array.size,
                None,
            )
        return None

    def save_global_name(self, value):
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        self.memoize(value)

    def save_call(self, value):
        self.save(value.function)
        self.save(value.arguments)
        self.write(pickle.REDUCE)

    dispatch[Global] = save_global_name
    dispatch[Call] = save_call


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def tensor(storage, offset, shape, strides):
    return Call(REBUILD, storage, offset, shape, strides, False, OrderedDict())


def old_file(path, content, storages=(), *, magic=MAGIC, facts=FACTS):
    """Writes `content` and returns the file's hash."""
    file = io.BytesIO()
    for value in (magic, 1001, facts, content, [storage.key for storage in storages]):
        Pickler(file, protocol=2).dump(value)
    for storage in storages:
        file.write(struct.pack("<q", storage.array.size) + storage.array.tobytes())
    path.write_bytes(file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()


def read(path, sha256=None):
    return read_torch_file(path, sha256=sha256 or hashlib.sha256(path.read_bytes()).hexdigest())


def test_tensors_are_read_with_offset_strides_and_dtype(tmp_path):
    floats = Storage("0", np.arange(24, dtype="<f4"))
    longs = Storage("1", np.array([7, 8], "<i8"), "LongStorage")
    content = OrderedDict(
        plain=tensor(floats, 0, (2, 3), (3, 1)),
        transposed=tensor(floats, 6, (3, 2), (1, 3)),
        scalar=tensor(longs, 1, (), ()),
    )
    sha256 = old_file(tmp_path / "a.pth", content, [floats, longs])
    read = read_torch_file(tmp_path / "a.pth", sha256=sha256)
    assert list(read) == ["plain", "transposed", "scalar"]
    np.testing.assert_array_equal(read["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read["transposed"], [[6, 9], [7, 10], [8, 11]])
    assert read["scalar"] == 8
    assert read["scalar"].dtype == np.int64


def test_a_payload_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"
    payload = Call(Global(os.system.__module__, "system"), f"touch {ran}")
    old_file(tmp_path / "a.pth", {"weight": payload})
    with pytest.raises(DataError, match=r"asks for posix\.system, which is not admitted"):
        read(tmp_path / "a.pth")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("collections", "defaultdict"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_every_other_name_is_refused(tmp_path, module, name):
    old_file(tmp_path / "a.pth", {"weight": Global(module, name)})
    with pytest.raises(DataError, match=f"asks for {module}.{name}"):
        read(tmp_path / "a.pth")


FLOATS = Storage("0", np.zeros(4, "<f4"))


@pytest.mark.parametrize(
    "bad",
    [
        tensor(FLOATS, 0, (5,), (1,)),
        tensor(FLOATS, 1, (4,), (1,)),
        tensor(FLOATS, -1, (1,), (1,)),
        tensor(FLOATS, 3, (4,), (-1,)),
        tensor(FLOATS, 0, (2, 2), (1,)),
        tensor(FLOATS, 0, (1000, 1000, 1000), (0, 0, 0)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, bad):
    old_file(tmp_path / "a.pth", {"weight": bad}, [FLOATS])
    with pytest.raises(DataError, match="not a file of tensors in PyTorch's old form"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"content": [1, 2]}, "does not hold a dictionary of tensors"),
        ({"content": {"weight": 1}}, "does not hold a dictionary of tensors"),
        ({"content": {}, "magic": 1}, "the magic number"),
        ({"content": {}, "facts": {"little_endian": False}}, "not little-endian"),
        ({"content": {}, "facts": 5}, "not a file of tensors"),
    ],
)
def test_other_contents_are_refused(tmp_path, settings, reason):
    old_file(tmp_path / "a.pth", **settings)
    with pytest.raises(DataError, match=reason):
        read(tmp_path / "a.pth")


def test_the_hash_is_checked_before_anything_is_parsed(tmp_path):
    ran = tmp_path / "ran"
    old_file(tmp_path / "a.pth", Call(Global("posix", "system"), f"touch {ran}"))
    with pytest.raises(DataError, match="expected a file with SHA-256 00, got"):
        read_torch_file(tmp_path / "a.pth", sha256="00")
    with pytest.raises(DataError, match=r"b\.pth: cannot be read: No such file"):
        read_torch_file(tmp_path / "b.pth", sha256="00")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_in_one_line_or_read(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "a.pth"
    storage = Storage("0", np.arange(6, dtype="<f4"))
    old_file(path, OrderedDict(weight=tensor(storage, 0, (2, 3), (3, 1))), [storage])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        tensors = read(path)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in tensors.values())
