"""Training batches from the workers of tf.data service: the same ones, in the same order.

The dispatcher hands out batch numbers, first come first served; a worker makes the batch of a
number, which comes back with it; here they are put in order (order.py). So neither the number of
workers nor their pace nor the death of one changes what training sees. A batch also carries a mark
of the training that asked for it: a dispatcher that was started anew numbers its tasks as the one
before it did, and a worker that outlived that one takes its old task for the new one's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfforensics import pipeline, staging, stored
from tfforensics.command import DataError
from tfforensics.config import Config
from tfforensics.dataservice import address, handshake
from tfforensics.dataservice.order import InOrder

_NAME = "data.service"
_HELD_BYTES = 2 * 2**30  # of batches that came too early
_SILENT = 60.0  # seconds without a batch after which training ends


class Service:
    """A dispatcher and its workers.

    Args:
        config: its `data.service` is an address.

    Attributes:
        failure: why the batches ended, where they did; TensorFlow passes no exception on.

    Raises:
        DataError: there is no dispatcher, or one of other versions.
    """

    def __init__(self, config: Config) -> None:
        assert config.data.service is not None
        self._authority = address.authority(config.data.service, _NAME)
        self._dispatcher = handshake.check(self._authority, _NAME)
        self._config = config
        self.failure: DataError | None = None

    def training_batches(self, start: int = 0) -> tf.data.Dataset:
        """As `pipeline.training_batches`, made by the workers.

        Raises:
            UsageError, DataError: as that.
        """
        numbered = pipeline.numbered_batches(
            self._config, pipeline.numbers(start), calls=tf.data.AUTOTUNE
        )
        mark = secrets.randbits(62)
        marked = numbered.map(lambda *batch: (tf.constant(mark, tf.int64), *batch))
        made_there = marked.prefetch(1).apply(
            tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.DYNAMIC,
                f"grpc://{self._authority}",
                compression=None,  # pixels hardly shrink
            )
        )
        return tf.data.Dataset.from_generator(
            lambda: self._in_order(made_there, mark, start),
            output_signature=numbered.element_spec[1:],
        )

    def _in_order(self, made_there: tf.data.Dataset, mark: int, start: int) -> Iterator[Any]:
        data = self._config.data
        arriving = made_there.as_numpy_iterator()
        ordered = InOrder(
            ((int(number), (x, y)) for whose, number, x, y in arriving if whose == mark),
            start,
            self._make_here,
            held=max(16, _HELD_BYTES // (data.batch * data.size**2 * 3)),
            silent=_SILENT,
            why=lambda: handshake.state(self._authority),
        )
        try:
            yield from ordered
        except (DataError, tf.errors.OpError) as error:
            self.failure = self._explained(error)
            raise
        finally:
            ordered.close()

    def _make_here(self, numbers: Sequence[int]) -> Iterator[Any]:
        chosen = tf.data.Dataset.from_tensor_slices(np.array(numbers, np.int64))
        for _, x, y in pipeline.numbered_batches(self._config, chosen).as_numpy_iterator():
            yield x, y

    def _explained(self, error: DataError | tf.errors.OpError) -> DataError:
        where = f"{_NAME}: grpc://{self._authority}"
        if self._is_another():
            return DataError(
                f"{where}: the dispatcher was started anew and knows nothing of this training; run "
                "the same command to go on"
            )
        if isinstance(error, DataError):
            return DataError(f"{where}: {error}")
        records = staging.local(self._config.data.records)
        if isinstance(error, tf.errors.DataLossError):
            return DataError(stored.damage(records))
        said = handshake.first_line(error)
        if "No such file" in said:
            said += f"; a worker must see the records as {records.absolute()}"
        return DataError(f"{where}: {said}")

    def _is_another(self) -> bool:
        """Whether another dispatcher is where this training began."""
        try:
            return handshake.check(self._authority, _NAME, patience=0) != self._dispatcher
        except DataError:
            return False
