"""Jobs in worker processes, of which a kill or Ctrl-C leaves no orphan."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    start: Callable[[], object],
) -> Iterator[tuple[Job, Result]]:
    """Calls a function with each job in processes of its own.

    Ctrl-C is answered by the caller's process, which waits for the jobs at work alone: no more
    are handed over than there are workers. A worker ends when its parent dies.

    Args:
        function: top-level, since it is sent by name.
        jobs: what can be pickled.
        workers: processes.
        start: called first in each process; top-level, too.

    Returns:
        Each job with its result, in the order in which they are done.

    Raises:
        OSError: a worker was killed. What a job raises is raised here.
    """
    # Spawned, not forked: TensorFlow's threads, which the caller may have, do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pending = iter(jobs)
    with ProcessPoolExecutor(workers, context, _start, (start,)) as pool:
        running: dict[Future[Result], Job] = {}

        def hand_over(count: int) -> None:
            running.update((pool.submit(function, job), job) for job in islice(pending, count))

        try:
            hand_over(workers)
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                hand_over(len(done))
                for future in done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise OSError("a worker was killed (out of memory?); run again to go on") from error


def _start(start: Callable[[], object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
