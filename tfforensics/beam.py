"""The parts of a dataset as an Apache Beam pipeline: other engines, the same bytes.

Each part is one element; its writer is that of the local run. What a part wrote is noted in the
record folder, which all workers must see, so a pipeline that was killed is run again and does
only what is missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tfforensics.command import UsageError
from tfforensics.shards import Part

# In this process or in processes that it starts. Beam's DirectRunner would download a binary.
_LOCAL = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"


def check(runner: str) -> None:
    """Checks that Beam is there and knows the runner.

    Raises:
        UsageError: it does not.
    """
    if importlib.util.find_spec("apache_beam") is None:
        raise UsageError(
            f"--runner: {runner} needs Apache Beam, which is not installed; "
            "pip install 'tfforensics[beam]'"
        )
    from apache_beam.runners import create_runner

    try:
        create_runner(_name(runner))
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(
            f"--runner: expected local or a runner of Apache Beam, got {runner!r}"
        ) from error


def run(
    write: Callable[[Part], int],
    parts: Sequence[Part],
    *,
    runner: str,
    options: Sequence[str],
    start: Callable[[], object],
) -> None:
    """Calls `write` with each part on a Beam runner, and waits for the end.

    Args:
        write: top-level or a partial of what is, since it is sent by name.
        parts: what is to do.
        runner: "local", or a runner that Beam knows by name.
        options: Beam's own, such as --direct_num_workers=2.
        start: called first in each process; top-level, too.

    Raises:
        OSError: a part could not be written; run again to go on.
    """
    import apache_beam

    try:
        with apache_beam.Pipeline(runner=_name(runner), options=_options(runner, options)) as p:
            _ = (
                p
                | "parts" >> apache_beam.Create(list(parts))
                | "spread" >> apache_beam.Reshuffle()
                | "write" >> apache_beam.Map(_Started(start, write))
            )
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise OSError(f"--runner {runner}: {last}; run again to go on") from error


class _Started:
    """Calls `start` once in a process, then `write` for each part."""

    def __init__(self, start: Callable[[], object], write: Callable[[Part], int]) -> None:
        self._start, self._write = start, write

    def __call__(self, part: Part) -> int:
        _once(self._start)
        return self._write(part)


@cache
def _once(start: Callable[[], object]) -> None:
    start()


def _name(runner: str) -> str:
    return _LOCAL if runner == "local" else runner


def _options(runner: str, options: Sequence[str]) -> Any:
    from apache_beam.options.pipeline_options import PipelineOptions

    return PipelineOptions(list(options), runner=_name(runner))
