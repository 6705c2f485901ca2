"""Numbered batches that come in any order, late, twice or never -> every one once, in order.

A batch is a function of its number alone. So one that does not come, because the worker that was
making it died, is made here instead, and one that comes after all is the same and is dropped: what
is guessed wrong costs time, and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from tfforensics.command import DataError

_log = logging.getLogger(__name__)
T = TypeVar("T")


class InOrder(Generic[T]):
    """An endless iterator over batches `start`, `start` + 1, ...

    A thread of its own takes them from `arriving`, no further than `ahead` beyond the next one
    that is asked for, but past it for as long as that one is missing.

    Args:
        arriving: (number, batch), each number from `start` on at most a few times, roughly in
            order; its `next` may block.
        start: the first number.
        make: makes the batches of these numbers, in this order.
        ahead: batches kept ready.
        held: batches kept at most, those that came too early among them.
        late: seconds for which a batch is waited for while later ones are there.
        silent: seconds without any batch after which there is none to be expected.
        why: called then; one line on the reason.
    """

    def __init__(
        self,
        arriving: Iterator[tuple[int, T]],
        start: int,
        make: Callable[[Sequence[int]], Iterable[T]],
        *,
        ahead: int = 4,
        held: int = 64,
        late: float = 5.0,
        silent: float = 60.0,
        why: Callable[[], str] = lambda: "",
    ) -> None:
        self._arriving, self._make, self._why = arriving, make, why
        self._ahead, self._most, self._late, self._silent = ahead, held, late, silent
        self._next = start
        self._newest = start - 1
        self._passed: dict[int, float] = {}  # number that is missing -> when a later one came
        self._held: dict[int, T] = {}
        self._failure: BaseException | None = None
        self._closed = False
        self._last = 0.0
        self._changed = threading.Condition()
        threading.Thread(target=self._receive, name="data service", daemon=True).start()

    def __iter__(self) -> InOrder[T]:
        return self

    def __next__(self) -> T:
        """The next batch.

        Raises:
            DataError: nothing comes any more.
        """
        with self._changed:
            missing = self._wait()
        if missing:
            _log.warning("made here, since no worker handed them over: batches %s", missing)
            for number, batch in zip(missing, self._make(missing), strict=True):
                with self._changed:
                    self._hold(number, batch)
        with self._changed:
            batch = self._held.pop(self._next)
            self._next += 1
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        """Takes no more from `arriving` than the one that is on its way."""
        with self._changed:
            self._closed = True
            self._held.clear()
            self._changed.notify_all()

    def _wait(self) -> list[int]:
        """Waits for the next batch; returns the numbers that are not to be waited for."""
        began = time.monotonic()
        while self._next not in self._held:
            if self._failure is not None:
                raise self._failure
            now = time.monotonic()
            late = now - max(began, self._passed.get(self._next, now)) > self._late
            if late or len(self._held) >= self._most:
                # With it those that the same worker took along.
                along = [n for n, since in self._passed.items() if now - since > self._late / 2]
                return sorted({self._next, *along})
            if now - max(began, self._last) > self._silent:
                raise DataError(f"no batch for {self._silent:g} s: {self._why()}")
            self._changed.wait(min(0.2, self._late))
        return []

    def _receive(self) -> None:
        try:
            while self._room():
                found = next(self._arriving, None)
                if found is None:  # not passed on as StopIteration, which would end training well
                    raise DataError("the workers say that there are no more batches")
                number, batch = found
                with self._changed:
                    if self._closed:
                        return
                    self._arrived(number, batch)
                    self._changed.notify_all()
        except BaseException as error:  # whatever it is, the other thread raises it
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _arrived(self, number: int, batch: T) -> None:
        self._last = time.monotonic()
        self._passed |= dict.fromkeys(range(self._newest + 1, number), self._last)
        self._newest = max(self._newest, number)
        self._hold(number, batch)

    def _hold(self, number: int, batch: T) -> None:
        self._passed.pop(number, None)
        if number >= self._next:
            self._held.setdefault(number, batch)

    def _room(self) -> bool:
        """Waits until another batch is wanted; False: none will be."""
        with self._changed:
            while not self._closed and (len(self._held) >= self._most or self._is_ahead()):
                self._changed.wait()
            return not self._closed

    def _is_ahead(self) -> bool:
        return all(self._next + step in self._held for step in range(self._ahead))
