"""What every command shares: one-line errors, exit statuses, a quiet TensorFlow.

Exit statuses: 0 done, 1 bad data (the path is named), 2 a user's mistake (the argument
is named), 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

# Raised by an argument's `type=` function; its message becomes the command's one-line error.
ArgumentTypeError = argparse.ArgumentTypeError


class UsageError(ValueError):
    """A user's mistake: one line that names the argument, what was expected and what came."""


class DataError(ValueError):
    """Data that cannot be used: one line that names the path and the reason."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, without the usage text before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's start-up notes off the terminal; its warnings and errors stay.

    Takes effect only before TensorFlow is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


def run(main: Callable[[], int | None], prog: str) -> NoReturn:
    """Runs a command's main function and exits with the status its outcome stands for."""
    quiet_tensorflow()
    try:
        sys.exit(main() or 0)
    except UsageError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2)
    except DataError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        sys.exit(130)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
