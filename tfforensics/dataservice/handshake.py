"""Is there a dispatcher at an address, and is it of these versions?

tf.data service compares the versions of its protocol, which most releases of TensorFlow share. So
a dispatcher of ours knows a dataset that nobody reads, whose one field is named after its versions.
Workers and training compare that with their own. Within lies a field that is named at random: so
they notice a dispatcher that was started anew, which gives out the numbers of tasks once more.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import tensorflow as tf

from tfforensics import __version__
from tfforensics.command import DataError

_NAME = "tfforensics"
_DISPATCHER = "/tensorflow.data.DispatcherService/"
_ANSWER = 5.0  # seconds for one answer
_PATIENCE = 20.0  # seconds for a dispatcher that is still starting


class NoDispatcherError(DataError):
    """There is none of ours, or none that answers."""


def versions() -> str:
    """What dispatcher, workers and training must have in common."""
    return f"tfforensics {__version__} on TensorFlow {tf.__version__}"


def publish(authority: str) -> None:
    """Tells a dispatcher its versions, so that `check` finds them."""
    dataset = tf.data.Dataset.from_tensors({versions(): {secrets.token_hex(8): 0}})
    tf.data.experimental.service.register_dataset(f"grpc://{authority}", dataset, dataset_id=_NAME)


def check(authority: str, name: str, *, patience: float | None = None) -> str:
    """Checks that a dispatcher of these versions answers.

    Args:
        authority: HOST:PORT.
        name: what the user calls the address, for the error.
        patience: seconds for a dispatcher that is still starting; _PATIENCE if None.

    Returns:
        What tells it from one that is started later at the same address.

    Raises:
        NoDispatcherError: none answers, or what answers is something else.
        DataError: it is of other versions.
    """
    deadline = time.monotonic() + (_PATIENCE if patience is None else patience)
    while True:
        try:
            return _compare(authority, f"{name}: grpc://{authority}")
        except NoDispatcherError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _compare(authority: str, where: str) -> str:
    """As `check`, once."""
    refusal = _ask(authority, "GetVersion")[1]
    if refusal is not None:
        raise NoDispatcherError(f"{where}: no dispatcher of tf.data service: {refusal}")
    try:
        published = tf.data.experimental.service.from_dataset_id(
            "parallel_epochs", f"grpc://{authority}", _NAME
        ).element_spec
    except (tf.errors.NotFoundError, ValueError) as error:  # perhaps not yet: it listens first
        raise NoDispatcherError(
            f"{where}: expected a dispatcher that python -m tfforensics.dataservice started"
        ) from error
    except tf.errors.OpError as error:
        raise DataError(f"{where}: {first_line(error)}") from error
    ((theirs, start),) = published.items()
    if theirs != versions():
        raise DataError(f"{where}: expected {versions()}, as here, got {theirs}")
    return next(iter(start))


def state(authority: str) -> str:
    """One line on a dispatcher and its workers."""
    answer, refusal = _ask(authority, "GetWorkers")
    if answer is None:
        return f"the dispatcher does not answer ({refusal})"
    count = _messages(answer)
    return f"it has {count} worker{'' if count == 1 else 's'}"


def first_line(error: tf.errors.OpError) -> str:
    """What an error of TensorFlow says, without where in the graph it came to pass."""
    message = error.message.replace("[Op:", "\n")
    lines = [line.rpartition("}} ")[2].strip() for line in message.splitlines()]
    told = (line for line in lines if line and "error(s) found" not in line)
    return next(told, type(error).__name__)


def _ask(authority: str, method: str) -> tuple[bytes | None, str | None]:
    """A dispatcher's answer to a request without fields, or why there is none."""
    import grpc

    with grpc.insecure_channel(authority) as channel:
        call: Any = channel.unary_unary(_DISPATCHER + method)
        try:
            return call(b"", timeout=_ANSWER), None
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            unknown = code == grpc.StatusCode.UNIMPLEMENTED
            return None, "another server" if unknown else f"{details or code.name}".split(";")[0]


def _messages(answer: bytes) -> int:
    """The entries of a message that holds nothing but a repeated message of short ones."""
    count, at = 0, 0
    while at < len(answer):  # tag, length below 128, body
        count, at = count + 1, at + 2 + answer[at + 1]
    return count
