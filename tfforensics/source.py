"""Where the batches of a training come from: this process, or the workers of tf.data service."""

from __future__ import annotations

import tensorflow as tf

from tfforensics import pipeline, staging
from tfforensics.command import DataError
from tfforensics.config import Config
from tfforensics.dataservice.client import Service


class Source:
    """The batches of a configuration, the same ones wherever they are made."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._service: Service | None = None

    def batches(self, step: int) -> tf.data.Dataset:
        """As `pipeline.training_batches`.

        Raises:
            UsageError: as that.
            DataError: as that, or `data.service` has no dispatcher, or one of other versions.
        """
        if self._config.data.service is None:
            return pipeline.training_batches(self._config, step)
        if self._service is None:
            self._service = Service(self._config)
        return self._service.training_batches(step)

    def explained(self, error: tf.errors.OpError) -> DataError | None:
        """What it was that ended training, where that was the batches."""
        if self._service is not None and self._service.failure is not None:
            return self._service.failure
        if isinstance(error, tf.errors.DataLossError):
            return DataError(pipeline.damage(staging.local(self._config.data.records)))
        return None
