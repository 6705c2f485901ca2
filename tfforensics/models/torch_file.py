"""Reads tensors from a file in PyTorch's old serialisation, without PyTorch.

Before version 1.6, `torch.save` wrote five pickles one after another (a magic number, the
protocol's version, facts about the machine, the object, the storages' keys) and then the
storages: for each an int64 count and the raw elements. A pickle is a program: this reader
lets it build ordered dictionaries of tensors and refuses every other name in it.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tfforensics.command import DataError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# What the pickle module raises over bytes that are no valid pickle.
_UNPICKLING = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path, *, sha256: str) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary, by name.

    Args:
        path: A file that `torch.save` wrote in its old (not zip) form.
        sha256: Of the file's bytes, in hexadecimal.

    Raises:
        DataError: the file is missing, is not the one that the hash belongs to, asks for
            anything but tensors, or is broken.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(f"{path}: expected a file with SHA-256 {sha256}, got {found}")
    try:
        return _parse(io.BytesIO(data))
    except _UNPICKLING as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: not a file of tensors in PyTorch's old form: {reason}") from error


def _parse(file: io.BytesIO) -> dict[str, np.ndarray]:
    if _TensorUnpickler(file).load() != _MAGIC or _TensorUnpickler(file).load() != _PROTOCOL:
        raise ValueError("the magic number or the protocol version is another")
    if _TensorUnpickler(file).load().get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian")
    unpickler = _TensorUnpickler(file)
    tensors = unpickler.load()
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in tensors.items()
    ):
        raise ValueError("it does not hold a dictionary of tensors")
    storages = {}
    for key in _TensorUnpickler(file).load():
        storages[key] = _read_storage(file, unpickler.storages[key])
    return {name: _view(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_storage(file: io.BytesIO, storage: _Storage) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    dtype = np.dtype(storage.dtype)
    data = file.read(count * dtype.itemsize)
    if count != storage.size or len(data) != count * dtype.itemsize:
        raise ValueError(f"storage {storage.key} is cut short")
    return np.frombuffer(data, dtype)


def _view(tensor: _Tensor, storage: np.ndarray) -> np.ndarray:
    """A tensor's own copy of its part of the storage; checked, for strides are addresses."""
    _, offset, shape, strides = tensor
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if (
        min((offset, *shape, *strides)) < 0
        or last >= storage.size
        or math.prod(shape) > storage.size
    ):
        raise ValueError(f"a tensor lies outside its storage {tensor.storage.key}")
    step = storage.itemsize
    return as_strided(storage[offset:], shape, [step * stride for stride in strides]).copy()


class _TensorUnpickler(pickle.Unpickler):
    """Admits the names that a dictionary of tensors needs; each stands for something inert."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new function for each file: a pickle may set attributes on what it is given.
            return lambda storage, offset, shape, strides, *_autograd: _Tensor(
                storage, offset, shape, strides
            )
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not admitted")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count, view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or view is not None:
            raise pickle.UnpicklingError("it refers to something that is not a whole storage")
        return self.storages.setdefault(key, _Storage(key, dtype, count))
