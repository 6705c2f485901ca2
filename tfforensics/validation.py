"""What training looks at between epochs: AUC on the validation split, by level and manipulation."""

from __future__ import annotations

import contextlib

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfforensics import figures, selfblended, staging
from tfforensics.config import Config
from tfforensics.ema import AveragedWeights
from tfforensics.jpeg import Level
from tfforensics.metrics import average, measure
from tfforensics.pipeline import evaluation_batches
from tfforensics.scores import Floats, Ints, Scores
from tfforensics.scoring import inference, score
from tfforensics.tensorboard import Board

MONITOR = "val_auc"  # mean frame AUC over `train.validate_levels`
_SHOWN = 4  # faces whose attention maps TensorBoard gets


class Validation:
    """Scores the validation split, with averaged weights where there are any.

    Args:
        network: what is trained.
        config: of the run.
        averages: of the network's weights; None to judge the weights as they are.
        board: gets the scores, ROC and PR curves, and attention maps where there are any.
    """

    def __init__(
        self,
        network: keras.Model,
        config: Config,
        averages: AveragedWeights | None,
        board: Board,
    ) -> None:
        self._network = network
        self._config = config
        self._averages = averages
        self._board = board
        self._logits = inference(network)

    def __call__(self, callback: keras.callbacks.Callback) -> dict[str, float]:
        """MONITOR, and `val_auc/LEVEL` and `val_auc/LEVEL/MANIPULATION`.

        Args:
            callback: its `on_predict_batch_end` is called after each batch.
        """
        config = self._config
        found: dict[str, float] = {}
        curves: dict[str, tuple[Ints, Floats]] = {}
        weights = contextlib.nullcontext() if self._averages is None else self._averages.applied()
        with weights:
            for level in config.train.validate_levels:
                scores = score(
                    self._logits,
                    self._batches(level),
                    "val",
                    after_batch=lambda faces: callback.on_predict_batch_end(0, {"faces": faces}),
                )
                curves[level] = (scores.label, scores.probability)
                found[f"val_auc/{level}"] = _auc(scores)
                for name in scores.manipulations:
                    found[f"val_auc/{level}/{name}"] = _auc(scores.against(name))
            self._show_attention()
        mean = average([found[f"val_auc/{level}"] for level in curves])
        assert mean is not None
        found = {MONITOR: mean} | found
        self._board.validation({name.removeprefix("val_"): auc for name, auc in found.items()})
        self._board.image("validation/roc_and_pr", figures.roc_and_pr(curves))
        return found

    def _batches(self, level: Level) -> tf.data.Dataset:
        """Faces of the kinds that are trained on, and no others."""
        data = self._config.data
        records = staging.local(data.records)
        if data.selfblend:
            blended = selfblended.batches(self._config, records, "val", level)
            if data.selfblend == 1:
                return blended
        manipulated = evaluation_batches(
            records,
            "val",
            level,
            size=data.size,
            batch=data.batch,
            manipulations=data.manipulations,
        )
        return blended.concatenate(manipulated) if data.selfblend else manipulated

    def _show_attention(self) -> None:
        if "attention" not in self._network.output:
            return
        faces = next(iter(self._batches(self._config.train.validate_levels[0]).unbatch().batch(64)))
        # Manipulated faces come last: half of what is shown is real.
        rows = np.r_[0 : _SHOWN // 2, len(faces["image"]) - _SHOWN // 2 : len(faces["image"])]
        images = faces["image"].numpy()[rows]
        maps = self._network(images, training=False)["attention"].numpy()
        captions = [faces["manipulation"][i].numpy().decode() for i in rows]
        self._board.image(
            "validation/attention",
            figures.attention_grid(images, maps, captions),
            description=figures.ATTENTION_TITLE,
        )


def _auc(scores: Scores) -> float:
    found = measure(scores)
    return float("nan") if found is None else found.auc
