"""A run's detector, and what it says of a split; what it said is kept and not asked again.

Scores lie in `RUN/evaluation/scores/`, one file a level: evaluation that was stopped goes on
at the level where it stopped. Each file carries the digest of all that it depends on (network,
weights, records); one of other weights or records is not used but written anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from tfforensics import (
    __version__,
    compression,
    files,
    jpeg,
    manifest,
    pipeline,
    selfblended,
    stored,
)
from tfforensics.clips import REAL
from tfforensics.command import DataError
from tfforensics.compression import Compression
from tfforensics.jpeg import Encoder, Level
from tfforensics.run import Run
from tfforensics.scores import Scores
from tfforensics.scoring import inference, score

SCHEMA = 1  # of a file of scores

_log = logging.getLogger(__name__)
_COLUMNS = tuple(f.name for f in dataclasses.fields(Scores) if f.name != "split")


@dataclasses.dataclass(frozen=True)
class _Question:
    """What the detector is asked of a split.

    Attributes:
        name: distinct within the split and fit for a file's name.
        faces: how many faces it is asked of.
        manipulations: those of the faces, beside the real ones; empty for all.
        rows: as `compression.batches` takes them.
        batches: opens the faces.
    """

    name: str
    faces: int
    manipulations: tuple[str, ...]
    rows: npt.NDArray[np.int64] | None
    batches: Callable[[], tf.data.Dataset]


class Judge:
    """A finished run's detector, and what it has said.

    Args:
        run: its weights that were best on validation are used.

    Attributes:
        config: of the run.
        network: with those weights.
        digest: of what the network computes: its settings and weights.

    Raises:
        UsageError: not a run, or one without a validated checkpoint.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = run.config()
        self.network = run.load_network()
        self._logits = inference(self.network)
        digest = hashlib.sha256()
        digest.update(repr((__version__, self.config.model, self.config.attention)).encode())
        for weights in self.network.get_weights():
            digest.update(f"{weights.shape}{weights.dtype}".encode())
            digest.update(weights.tobytes())
        self.digest = digest.hexdigest()

    def at_levels(
        self,
        records: Path,
        split: str,
        levels: Sequence[Level],
        encoder: Encoder,
        manipulations: tuple[str, ...] = (),
    ) -> list[Scores]:
        """The scores of every face of a split, for each JPEG level; shows progress.

        A level that the records hold by this encoder is read, any other is made from c0.

        Args:
            records: the record folder.
            manipulations: those to take beside the real faces; empty takes all.

        Raises:
            UsageError: a manipulation that is not in the records.
            DataError: damaged records.
        """
        held = manifest.load(records)
        faces = sum(shard.count for shard in compression.shards(held, split, manipulations))
        size, batch = self.config.data.size, self.config.data.batch

        def question(level: Level) -> _Question:
            def batches() -> tf.data.Dataset:
                stored = level in held.levels and held.settings.encoder == encoder
                if stored or level == "c0" or encoder == "turbo":
                    return pipeline.evaluation_batches(
                        records,
                        split,
                        level,
                        size=size,
                        batch=batch,
                        encoder=encoder,
                        manipulations=manipulations,
                    )
                made = Compression(encoder, jpeg.quality_of(level))
                return compression.batches(
                    records, split, made, size=size, batch=batch, manipulations=manipulations
                )

            name = level if level == "c0" else f"{level}-{encoder}"
            return _Question("-".join([name, *manipulations]), faces, manipulations, None, batches)

        return self._ask(records, split, [question(level) for level in levels])

    def self_blended(self, records: Path, split: str, levels: Sequence[Level]) -> list[Scores]:
        """The scores of `selfblended.batches`, for each JPEG level by turbo; shows progress.

        Raises:
            DataError: damaged records.
        """
        real = sum(
            s.count for s in manifest.load(records).select(split, "c0") if s.manipulation == REAL
        )

        def question(level: Level) -> _Question:
            def batches() -> tf.data.Dataset:
                return selfblended.batches(self.config, records, split, level)

            name = f"{level}-selfblend-{self.config.train.seed}"
            return _Question(name, 2 * real, (), None, batches)

        return self._ask(records, split, [question(level) for level in levels])

    def after(
        self,
        records: Path,
        split: str,
        compressions: Sequence[Compression],
        rows: npt.NDArray[np.int64],
    ) -> list[Scores]:
        """The scores of some faces of a split, for each compression; shows progress.

        Args:
            records: the record folder.
            rows: which faces, as `compression.batches` takes them.

        Raises:
            DataError: damaged records.
        """
        size, batch = self.config.data.size, self.config.data.batch

        def question(made: Compression) -> _Question:
            def batches() -> tf.data.Dataset:
                return compression.batches(records, split, made, size=size, batch=batch, rows=rows)

            return _Question(f"{made.name}-{len(rows)}", len(rows), (), rows, batches)

        return self._ask(records, split, [question(made) for made in compressions])

    def _ask(self, records: Path, split: str, questions: Sequence[_Question]) -> list[Scores]:
        """The answers: those that are kept, and the others from the detector."""
        folder = self.run.evaluation / "scores"
        folder.mkdir(parents=True, exist_ok=True)
        records_digest = manifest.sha256_of(records / manifest.NAME)
        faces = sum(question.faces for question in questions)
        answers = []
        with tqdm(total=faces, unit="face", desc=f"{self.run.name}: {split}", mininterval=1) as bar:
            for question in questions:
                path = folder / f"{records.name}-{split}-{question.name}.npz"
                key = self._key(records_digest, question)
                found = _read(path, key, split)
                if found is None:
                    found = self._score(records, split, question, bar.update)
                    _write(path, key, found)
                else:
                    bar.update(question.faces)
                answers.append(found)
        return answers

    def _key(self, records_digest: str, question: _Question) -> str:
        """What an answer depends on beside its file's name."""
        digest = hashlib.sha256(f"{SCHEMA} {self.digest} {records_digest}".encode())
        digest.update("\0".join(question.manipulations).encode())
        if question.rows is not None:
            digest.update(question.rows.tobytes())
        return digest.hexdigest()

    def _score(
        self, records: Path, split: str, question: _Question, after_batch: Callable[[int], object]
    ) -> Scores:
        try:
            with compression.threads_share_mozjpeg():
                found = score(self._logits, question.batches(), split, after_batch=after_batch)
        except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            raise DataError(stored.damage(records)) from error
        if len(found) != question.faces:
            raise DataError(stored.damage(records))
        return found


def _read(path: Path, key: str, split: str) -> Scores | None:
    """The scores in a file; None where there is none, or one of something else."""
    try:
        with np.load(path, allow_pickle=False) as held:
            if held["key"] != key:
                return None
            return Scores(split, **{name: held[name] for name in _COLUMNS})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        _log.warning("%s: damaged (%s); these faces are scored again", path, error)
        return None


def _write(path: Path, key: str, scores: Scores) -> None:
    out = io.BytesIO()
    columns = {name: getattr(scores, name) for name in _COLUMNS}
    np.savez_compressed(out, key=np.array(key), **columns)
    files.write(path, out.getvalue())
