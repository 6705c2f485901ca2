"""Requests to stop: noted while a loop runs, heeded between its steps."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tfforensics.stopping import Stopped, StopRequests


def send(number: signal.Signals, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0)  # Python runs handlers between two of its instructions


def test_nothing_to_heed() -> None:
    with StopRequests() as stop:
        stop.heed()


@pytest.mark.parametrize(
    ("number", "times", "status"),
    [(signal.SIGTERM, 1, 143), (signal.SIGTERM, 3, 143), (signal.SIGINT, 1, 130)],
)
def test_signals_wait_to_be_heeded(number: signal.Signals, times: int, status: int) -> None:
    with StopRequests() as stop:
        send(number, times)
        with pytest.raises(Stopped, match=f"stopped by {number.name}") as stopped:
            stop.heed()
    assert stopped.value.exit_status == status


def test_a_second_interrupt_by_hand_does_not_wait() -> None:
    with StopRequests(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT, 2)


def test_handlers_are_those_from_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), StopRequests():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        _ = 1 / 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_time_budget_counts_from_the_start_of_the_block() -> None:
    stop = StopRequests(max_hours=0.05 / 3600)
    time.sleep(0.06)
    with stop:
        stop.heed()
        time.sleep(0.06)
        with pytest.raises(Stopped, match=r"after 1\.38889e-05 hours") as stopped:
            stop.heed()
    assert stopped.value.exit_status == 0


def test_outside_of_the_main_thread_only_time_counts() -> None:
    outcome: list[BaseException | None] = []

    def work() -> None:
        try:
            with StopRequests(max_hours=0) as stop:
                stop.heed()
        except Stopped as stopped:
            outcome.append(stopped)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(each) for each in outcome] == [Stopped]
