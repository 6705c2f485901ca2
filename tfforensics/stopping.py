"""Ending training early on purpose: SIGTERM, SIGINT, the end of a time budget."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

_log = logging.getLogger(__name__)


class Stopped(Exception):  # noqa: N818 (no error: what was asked for)
    """Training ended early because it was told to; its state is saved.

    Attributes:
        exit_status: what the process should exit with: 143 after SIGTERM, 130 after SIGINT, 0
            where the time budget ran out.
    """

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


class StopRequests:
    """Notes requests to stop while it is entered, for the training loop to heed between steps.

    Within the `with` block SIGTERM and SIGINT (Ctrl-C) set a mark and nothing else, so that no
    step and no checkpoint is cut in two; however often they come. Only a second Ctrl-C raises
    KeyboardInterrupt at once, for a loop that hangs. Before and after the block the handlers
    are those that were there. Outside of the main thread, where Python delivers no signals,
    only the time budget counts.

    Args:
        max_hours: time budget from the start of the block; None for none.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self._max_hours = max_hours
        self._deadline = math.inf
        self._signal: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if self._max_hours is not None:
            self._deadline = time.monotonic() + 3600 * self._max_hours
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def asked(self) -> Stopped | None:
        """What to raise, where a signal has come or the time is up."""
        if self._signal is not None:
            return Stopped(f"stopped by {self._signal.name}", 128 + self._signal)
        if time.monotonic() >= self._deadline:
            return Stopped(f"stopped after {self._max_hours:g} hours, as asked", 0)
        return None

    def heed(self) -> None:
        """Raises that."""
        asked = self.asked()
        if asked is not None:
            raise asked

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number)
        _log.warning("%s: saving, then stopping", self._signal.name)
