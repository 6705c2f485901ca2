"""How long does `predict` take on 30 s of 720p video with a B0 model? Prints seconds and faces.

python benchmarks/predict.py [--repetitions N]. The weights are as they were initialised: the
answers mean nothing, their cost is that of a trained model. The start of Python and TensorFlow
and the loading of the model are not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import tfforensics  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    from judged import finished_run
    from videos import person, scene, write_video

    from tfforensics import export
    from tfforensics.judging.judge import Judge
    from tfforensics.serving.exported import load_export

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = {"detector": "plain", "backbone": "b0", "weights": None}
        run = finished_run(folder / "run", folder / "none", model=model, data={"size": 224})
        export.export(run.folder, folder / "out")
        someone = person(1, 400)
        frames = (
            scene([someone], [(200 + i % 300, 150)], height=720, width=1280) for i in range(900)
        )
        video = write_video(folder / "video.mp4", frames)
        judge = Judge(load_export(folder / "out"))
        seconds = []
        for _ in range(repetitions):
            start = time.perf_counter()
            (found,) = judge.judge([video])
            seconds.append(time.perf_counter() - start)
        print(
            f"{found.faces} faces of {found.frames} frames, {len(found.stages)} stages: median "
            f"{statistics.median(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f} s"
        )


if __name__ == "__main__":
    main()
