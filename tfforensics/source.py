"""Where the batches of a training come from: this process, or the workers of tf.data service."""

from __future__ import annotations

import tensorflow as tf

from tfforensics import pipeline, staging, stored
from tfforensics.command import DataError
from tfforensics.config import Config
from tfforensics.dataservice.client import Service
from tfforensics.pipeline import WHOLE, Share


class Source:
    """The batches of a configuration, the same ones wherever they are made.

    Args:
        config: of the run.
        share: what this process takes of each.
    """

    def __init__(self, config: Config, share: Share = WHOLE) -> None:
        self._config = config
        self._share = share
        self._service: Service | None = None

    def batches(self, step: int) -> tf.data.Dataset:
        """As `pipeline.training_batches`.

        Raises:
            UsageError: as that.
            DataError: as that, or `data.service` has no dispatcher, or one of other versions.
        """
        if self._config.data.service is None:
            return pipeline.training_batches(self._config, step, self._share)
        if self._service is None:
            self._service = Service(self._config)
        return _shared(self._service.training_batches(step), self._share, self._config.data.batch)

    def explained(self, error: tf.errors.OpError) -> DataError | None:
        """What it was that ended training, where that was the batches."""
        if self._service is not None and self._service.failure is not None:
            return self._service.failure
        if isinstance(error, tf.errors.DataLossError):
            return DataError(stored.damage(staging.local(self._config.data.records)))
        return None


def _shared(batches: tf.data.Dataset, share: Share, batch: int) -> tf.data.Dataset:
    """The share of batches that come whole."""
    if share == WHOLE:
        return batches
    size = share.of(batch)
    first = share.part * size
    part = batches.map(
        lambda x, y: tf.nest.map_structure(lambda rows: rows[first : first + size], (x, y))
    )
    return part.unbatch().batch(size // share.pieces, drop_remainder=True)
