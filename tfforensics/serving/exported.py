"""An export, loaded: its two signatures as functions, its card, its calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfforensics import manifest, mirror
from tfforensics.command import DataError
from tfforensics.serving import freeze, publish, refusal
from tfforensics.serving.card import ModelCard
from tfforensics.serving.saved_model import BY_BYTES, BY_PIXELS, NETWORK
from tfforensics.storage import Folder

CARD = "assets/model_card.json"


@dataclass(frozen=True, eq=False)
class Exported:
    """A version of an exported model, ready to be asked.

    Answers are dicts of arrays with one row a face: `probability`, `logit`, and `attention`
    and `quality` where the model has them (see `saved_model`).

    Attributes:
        folder: of the version.
        card: crop contract, calibration and thresholds, limits.
    """

    folder: Folder
    card: ModelCard
    _model: Any = field(repr=False)

    @property
    def size(self) -> int:
        """Side of the network's input in pixels."""
        return self.card.crop.size

    def by_bytes(self, files: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Judges JPEG or PNG files of faces, as TF Serving does.

        Raises:
            DataError: one of them is no whole JPEG or PNG, or beyond the limits of `decode`.
        """
        return self._ask(BY_BYTES, image_bytes=tf.constant(list(files), tf.string))

    def by_pixels(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        """Judges faces as uint8 (B, size, size, 3) RGB.

        Raises:
            DataError: they have another shape or type, or there are none.
        """
        self.check(faces)
        return self._ask(BY_PIXELS, pixels=tf.constant(faces))

    def check(self, faces: np.ndarray) -> None:
        """Checks what `by_pixels` is given.

        Raises:
            DataError: as it says there.
        """
        expected = (self.size, self.size, 3)
        if faces.dtype != np.uint8 or faces.shape[1:] != expected or not len(faces):
            raise DataError(
                f"pixels: expected uint8 faces, at least one, of shape {expected}, got "
                f"{faces.dtype} {faces.shape}"
            )

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """float32 (B,) of faces as `by_pixels` takes them."""
        return self.by_pixels(faces)["logit"]

    def network(self) -> freeze.GraphDef:
        """The network alone: from `pixels` to `logit` and, where it has maps, `attention`."""
        graph = self._model.graph.as_graph_def()
        for node in graph.node:
            if node.name == BY_PIXELS:  # its default are the decoded files
                node.op = "Placeholder"
                del node.input[:]
        found = [name for name in NETWORK if name in self._outputs()]
        return freeze.canonical(graph, [*found, BY_PIXELS])

    def after_network(self) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
        """What makes the other answers of `by_pixels` from its faces and the network's logits."""
        others = {name: tensor for name, tensor in self._outputs().items() if name not in NETWORK}
        # `logit` itself is a name for what the calibration reads.
        logits = self._model.graph.get_operation_by_name("logit").inputs[0].name
        function = self._model.prune([f"{BY_PIXELS}:0", logits], others)

        def answer(faces: np.ndarray, logits: np.ndarray) -> dict[str, np.ndarray]:
            found = function(tf.constant(faces), tf.constant(logits))
            return {name: value.numpy() for name, value in found.items()}

        return answer

    def _outputs(self) -> dict[str, str]:
        """The tensors of the answers to pixels, by name."""
        answers = self._model.signatures[BY_PIXELS].structured_outputs
        return {name: tensor.name for name, tensor in answers.items()}

    def _ask(self, signature: str, **inputs: tf.Tensor) -> dict[str, np.ndarray]:
        try:
            answers = self._model.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            raise DataError(refusal.reason(error.message)) from error
        return {name: answer.numpy() for name, answer in answers.items()}


def load_export(path: str | Folder) -> Exported:
    """Loads what `python -m tfforensics.export` wrote.

    A SavedModel is a program. Its hashes tell damage, not malice: load only one whose origin
    you trust.

    Args:
        path: the base path (its newest version is taken) or the folder of a version.

    Raises:
        UsageError: there is no export.
        DataError: the card or the graph is damaged or of a newer format.
        OSError: object storage refuses.
    """
    version = publish.resolve(Path(path) if isinstance(path, str) else path)
    with publish.here(version) as folder:
        card = read_card(folder)
        graph = folder / mirror.GRAPH
        if manifest.sha256_of(graph) != publish.hashes(folder).get(mirror.GRAPH):
            raise DataError(f"{graph}: SHA-256 differs from {publish.HASHES}'s")
        return Exported(version, card, tf.saved_model.load(str(folder)))


def read_card(folder: Path) -> ModelCard:
    """The model card of a version.

    Raises:
        DataError: it is missing, damaged or of another schema.
    """
    try:
        return ModelCard.from_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"{folder / CARD}: {error}") from error
