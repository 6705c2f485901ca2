"""An export whose network OpenVINO runs, in place of TensorFlow (extra `openvino`).

The SavedModel stays the one artifact. Its network, from the pixels of a face to logit and
attention maps, is converted in memory by OpenVINO's TensorFlow frontend. JPEG quality and
calibration stay with TensorFlow, in the ops of the export, which are given OpenVINO's logits.

Faces go through the network one by one, as many at a time as there are streams, each with cores
of its own: on two cores that took a quarter less processor time than batches, whose threads wait
for each other behind every layer. What there are fewer of than streams has all cores.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from tfforensics.command import DataError, UsageError
from tfforensics.serving.card import ModelCard
from tfforensics.serving.exported import Exported

Precision = Literal["float32", "bfloat16"]
_HINT = {"float32": "f32", "bfloat16": "bf16"}


class OnOpenVino:
    """Answers `by_pixels` as the export does, faster on a CPU.

    In float32 probabilities are the export's within 1e-3. bfloat16 keeps 8 bits of each number
    within the network.

    Args:
        exported: what `load_export` or `shipped.load` gives.
        precision: that the network computes in.

    Raises:
        UsageError: OpenVINO is not installed, or not this precision on this CPU.
        DataError: OpenVINO cannot convert the network.
    """

    def __init__(self, exported: Exported, precision: Precision = "float32") -> None:
        if precision not in get_args(Precision):
            raise UsageError(f"--precision: expected float32 or bfloat16, got {precision!r}")
        self._openvino = load()
        self._core = self._openvino.Core()
        if precision == "bfloat16" and "BF16" not in self._core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise UsageError(
                "--precision: expected float32, since this CPU does not compute in bfloat16 "
                "(AVX512-BF16 or AMX); got bfloat16"
            )
        self._exported = exported
        self._others = exported.after_network()
        self._precision = precision
        self._network = self._read()
        self._names = [output.any_name.removesuffix(":0") for output in self._network.outputs]

    @property
    def card(self) -> ModelCard:
        """Of the export."""
        return self._exported.card

    def by_pixels(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        """Judges faces as uint8 (B, size, size, 3) RGB.

        Raises:
            DataError: they have another shape or type, or there are none.
        """
        self._exported.check(faces)
        found: list[list[np.ndarray]] = [[] for _ in faces]

        def keep(request: Any, place: int) -> None:
            found[place] = [output.data.copy() for output in request.output_tensors]

        queue = self._streams if len(faces) >= len(self._streams) else self._all_cores
        queue.set_callback(keep)
        for place in range(len(faces)):
            queue.start_async([faces[place : place + 1]], place)
        queue.wait_all()
        outputs = map(np.concatenate, zip(*found, strict=True))
        answers = dict(zip(self._names, outputs, strict=True))
        return answers | self._others(faces, answers["logit"])

    @cached_property
    def _streams(self) -> Any:
        return self._queue("THROUGHPUT")

    @cached_property
    def _all_cores(self) -> Any:
        return self._queue("LATENCY")

    def _queue(self, hint: str) -> Any:
        """Runs a face on each of its streams at a time."""
        # Without the second hint the CPU decides, and some then take bfloat16.
        settings = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": _HINT[self._precision],
        }
        compiled = self._core.compile_model(self._network, "CPU", settings)
        return self._openvino.AsyncInferQueue(compiled)

    def _read(self) -> Any:
        """The network for one face."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.pb"
            path.write_bytes(self._exported.network().SerializeToString())
            try:
                network = self._core.read_model(path)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                where = self._exported.folder
                raise DataError(f"{where}: OpenVINO cannot convert it: {reason}") from error
        network.reshape([1, self._exported.size, self._exported.size, 3])
        return network


def load() -> ModuleType:
    """Imports OpenVINO, and keeps it from reporting that to its makers.

    `import openvino` sends a message by openvino-telemetry, and does without where that is not
    installed; here it is as if it were not.

    Raises:
        UsageError: it is not installed.
    """
    telemetry = "openvino_telemetry"
    hide = telemetry not in sys.modules
    if hide:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # importing it fails
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise UsageError(
            "--runtime: openvino needs OpenVINO, which is not installed; "
            "pip install 'tfforensics[openvino]'"
        ) from error
    finally:
        if hide:
            del sys.modules[telemetry]
