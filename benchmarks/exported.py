"""How many faces a second does an exported B4 judge, and how many does PyTorch?

    python benchmarks/exported.py [--sizes 224 380] [--batches 1 16] [--pytorch PYTHON]

The export is judged by TensorFlow and, where the extra `openvino` is installed, by OpenVINO as
`predict --runtime openvino` does it; in bfloat16, too, where this CPU has it (TensorFlow: with
AMX only). PYTHON is an interpreter that has torch and efficientnet_pytorch: the same network is
measured there in eval mode without gradients. Weights are as they were initialised, `--cores` cores
are used (all by default), pixels come in as uint8 (PyTorch: as normalised float32) and
probabilities come out. Each runtime has a process of its own; they run in turns. Faces/s are
medians over the rounds, by wall time and by processor time (faces for each second of a core;
beside other work look at that, with --cores 1, since threads that wait for each other count, too);
a ratio is the median over rounds, with its quartiles.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from worker import PYTORCH, Run, Worker, in_turns, lines, peers, work

if TYPE_CHECKING:
    import numpy as np

TESTS = Path(__file__).parents[1] / "tests"


def export(folder: Path, backbone: str, size: int) -> Path:
    """An export of the plain detector as it was initialised."""
    import tfforensics  # noqa: F401  isort: skip

    sys.path.insert(0, str(TESTS))
    from judged import finished_run

    from tfforensics.export import export
    from tfforensics.serving import measure

    measure._SECONDS = 0.0
    model = {"detector": "plain", "backbone": backbone, "weights": None}
    run = finished_run(folder / "run", folder / "none", model=model, data={"size": size})
    export(run.folder, folder / "out")
    return folder / "out"


def faces(batch: int, size: int) -> np.ndarray:
    """Pixels of noise, uint8 (B, S, S, 3)."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


def export_runs(runtime: str, precision: str, folder: str, batches: list[int]) -> dict[str, Run]:
    """The export on a runtime, by batch size."""
    from tfforensics import command

    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics.judging.answers import Model
    from tfforensics.serving.exported import load_export
    from tfforensics.serving.openvino_runtime import OnOpenVino

    exported = load_export(folder)
    model: Model = exported
    if runtime == "OpenVINO":
        model = OnOpenVino(exported, "bfloat16" if precision == "bfloat16" else "float32")
    elif precision == "bfloat16":
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    pixels = {str(batch): faces(batch, exported.size) for batch in batches}
    return {name: partial(model.by_pixels, x) for name, x in pixels.items()}


def pytorch_runs(backbone: str, size: int, batches: list[int]) -> dict[str, Run]:
    """The same network in efficientnet_pytorch, in eval mode."""
    import torch
    from efficientnet_pytorch import EfficientNet

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = EfficientNet.from_name(f"efficientnet-{backbone}", num_classes=1, image_size=size)
    # Its own batch statistics: as initialised, numbers fade into denormals, which are slow.
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, 3, size, size))
    network.eval()

    def probabilities(images: torch.Tensor) -> list[float]:
        with torch.inference_mode():
            return torch.sigmoid(network(images)[:, 0]).tolist()

    images = {str(batch): torch.randn(batch, 3, size, size) for batch in batches}
    return {name: partial(probabilities, x) for name, x in images.items()}


def runtimes() -> list[tuple[str, str]]:
    """Those of an export that can be measured here, with their precisions."""
    from tfforensics.command import UsageError
    from tfforensics.serving.openvino_runtime import load

    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = [("TensorFlow", "float32")]
    if "amx_bf16" in flags:
        found.append(("TensorFlow", "bfloat16"))
    try:
        capabilities = load().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except UsageError as error:
        print(error)
        return found
    found.append(("OpenVINO", "float32"))
    if "BF16" in capabilities:
        found.append(("OpenVINO", "bfloat16"))
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="b4")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 380])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pytorch", metavar="PYTHON")
    options = parser.parse_args()
    print(f"{datetime.date.today()}, {options.backbone}, {options.cores} cores")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])  # workers inherit it
    print(f"{'px':>4} {'batch':>5}  {'faces/s':20} {'wall':>8} {'CPU':>8}", end="")
    print("  over PyTorch, memory kept: wall; CPU (quartiles)" if options.pytorch else "")
    batches = list(map(str, options.batches))
    available = runtimes()
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            exported = str(export(Path(name), options.backbone, size))
            workers = [
                Worker(
                    f"{runtime}, {precision}",
                    [sys.executable, __file__, "--work", runtime, precision, exported, *batches],
                )
                for runtime, precision in available
            ]
            if options.pytorch:
                arguments = [PYTORCH, options.backbone, str(size), *batches]
                workers += peers([options.pytorch, __file__, "--work", *arguments])
            for batch in options.batches:
                took = in_turns(workers, str(batch), options.rounds)
                for line in lines(batch, took):
                    print(f"{size:4} {batch:5}  {line}", flush=True)
            for worker in workers:
                worker.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        runtime, first, second, *batches = sys.argv[2:]
        sizes = list(map(int, batches))
        if runtime == PYTORCH:
            work(pytorch_runs(first, int(second), sizes))
        else:
            work(export_runs(runtime, first, second, sizes))
    else:
        main()
