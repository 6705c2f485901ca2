"""Worker processes: every job once, a killed worker told, an exception passed on."""

from __future__ import annotations

import os
import signal

import pytest

from tfforensics.workers import run


def nothing() -> None:
    pass


def square(number: int) -> int:
    return number * number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_done_once(workers: int) -> None:
    done = dict(run(square, range(10), workers=workers, start=nothing))
    assert done == {n: n * n for n in range(10)}


def test_a_killed_worker_is_one_error() -> None:
    with pytest.raises(OSError, match="a worker was killed"):
        list(run(die_at_three, range(10), workers=2, start=nothing))


def test_what_a_job_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="not 0"):
        list(run(refuse, range(3), workers=1, start=nothing))


def test_no_job_starts_no_process() -> None:
    assert list(run(square, [], workers=2, start=nothing)) == []
