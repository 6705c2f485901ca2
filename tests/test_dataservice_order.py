"""Batches in order: late, twice, never, and what is held meanwhile. No TensorFlow."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfforensics.command import DataError
from tfforensics.dataservice.order import InOrder


def batch(number: int) -> str:
    return f"batch {number}"


class Service:
    """Hands out numbers in this order, then nothing until it is closed; notes what was taken."""

    def __init__(self, numbers: Sequence[int], *, ends: BaseException | None = None) -> None:
        self._numbers, self._ends = numbers, ends
        self.taken = 0
        self.made: list[list[int]] = []
        self.over = threading.Event()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number in self._numbers:
            self.taken += 1
            yield number, batch(number)
        if self._ends is not None:
            raise self._ends
        self.over.wait(30)

    def make(self, numbers: Sequence[int]) -> Iterator[str]:
        self.made.append([*numbers])
        return map(batch, numbers)

    def in_order(self, start: int = 0, **options: float) -> InOrder[str]:
        return InOrder(iter(self), start, self.make, **options)  # type: ignore[arg-type]


def expected(start: int, count: int) -> list[str]:
    return [batch(n) for n in range(start, start + count)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 500), st.integers(1, 9))
def test_whatever_comes_each_batch_goes_out_once_and_in_order(
    seed: int, start: int, ahead: int
) -> None:
    """Shuffled within a window, some twice, some never."""
    draw = random.Random(seed)
    numbers = [n for n in range(start, start + 60) for _ in range(draw.choice((0, 1, 1, 1, 2)))]
    numbers.sort(key=lambda n: n + draw.uniform(0, 8))
    service = Service([*numbers, start + 60])
    ordered = service.in_order(start, ahead=ahead, held=16, late=0.01)
    assert [*islice(ordered, 60)] == expected(start, 60)
    ordered.close()
    service.over.set()
    lost = set(range(start, start + 60)) - set(numbers)
    assert lost <= {n for numbers in service.made for n in numbers}


def test_nothing_is_made_here_that_comes_in_time() -> None:
    service = Service([2, 0, 1, 3, 5, 4])
    assert [*islice(service.in_order(), 6)] == expected(0, 6)
    assert service.made == []


def test_those_that_one_worker_took_along_are_made_together() -> None:
    service = Service([0, 3, 5, 6])
    ordered = service.in_order(late=0.2)
    began = time.monotonic()
    assert [*islice(ordered, 7)] == expected(0, 7)
    assert service.made == [[1, 2, 4]]
    assert 0.2 < time.monotonic() - began < 2


def test_a_batch_that_nothing_has_passed_is_waited_for() -> None:
    """A slow worker is no dead one: only silence ends it."""
    service = Service([0, 1])
    ordered = service.in_order(late=0.01, silent=0.5, why=lambda: "it has no worker")  # type: ignore[arg-type]
    assert [*islice(ordered, 2)] == expected(0, 2)
    with pytest.raises(DataError, match=r"^no batch for 0\.5 s: it has no worker$"):
        next(ordered)
    assert service.made == []


def test_no_more_is_taken_than_is_wanted() -> None:
    service = Service(range(1000))
    ordered = service.in_order(ahead=3)
    time.sleep(0.2)
    assert service.taken == 3
    next(ordered)
    time.sleep(0.2)
    assert service.taken == 4


def test_past_a_missing_one_no_more_is_held_than_allowed() -> None:
    service = Service(range(1, 1000))
    ordered = service.in_order(held=20, late=30)
    began = time.monotonic()
    assert next(ordered) == batch(0)
    assert time.monotonic() - began < 5
    assert service.made == [[0]] and service.taken <= 21


def test_a_pause_of_the_reader_makes_nothing_late() -> None:
    """Validation takes minutes, in which the batches that are there wait."""
    service = Service([0, 1, 2, 4, 3, 5])
    ordered = service.in_order(ahead=3, late=0.1, silent=0.2)
    next(ordered)
    time.sleep(0.5)
    assert [*islice(ordered, 5)] == expected(1, 5)
    assert service.made == []


def test_an_error_of_the_service_comes_after_the_batches_before_it() -> None:
    service = Service([1, 0], ends=RuntimeError("its end"))
    ordered = service.in_order()
    assert [*islice(ordered, 2)] == expected(0, 2)
    with pytest.raises(RuntimeError, match="its end"):
        next(ordered)


def test_batches_that_end_are_an_error_and_no_end() -> None:
    """Training would take it for the end of its data."""
    ordered = InOrder(iter([(0, "batch 0")]), 0, lambda numbers: map(batch, numbers))
    assert next(ordered) == "batch 0"
    with pytest.raises(DataError, match=r"^the workers say that there are no more batches$"):
        next(ordered)


def test_closed_it_takes_no_more_and_its_thread_ends() -> None:
    others = set(threading.enumerate())
    service = Service(range(1000))
    ordered = service.in_order(ahead=2)
    time.sleep(0.1)
    (thread,) = set(threading.enumerate()) - others
    ordered.close()
    thread.join(5)
    assert not thread.is_alive() and service.taken == 2
