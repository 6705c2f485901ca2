"""What every command shares: one-line errors, exit statuses, a quiet start of TensorFlow.

Exit statuses: 0 done, 1 bad data (the path is named), 2 a user's mistake (the argument
is named), 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
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


# What TensorFlow writes to stderr on every start, before its log level counts.
_START_UP_NOTES = (
    b"All log messages before absl::InitializeLog",
    b"oneDNN custom operations are on",
    b"Could not find cuda drivers",
    b"failed call to cuInit",
    b"CPU instructions in performance-critical operations",
    b"To enable the following instructions",
    # TensorFlow 2.16's.
    b"Unable to register cuFFT factory",
    b"Unable to register cuDNN factory",
    b"Unable to register cuBLAS factory",
    b"TF-TRT Warning: Could not find TensorRT",
)


def start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices without the notes that it prints on every start.

    Its errors are passed on. Call it first where a command's work begins.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices("GPU")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            for line in said:
                if not any(note in line for note in _START_UP_NOTES):
                    sys.stderr.buffer.write(line)
            sys.stderr.flush()


def run(main: Callable[[], int | None], prog: str) -> NoReturn:
    """Runs a command's main function and exits with the status its outcome stands for."""
    try:
        sys.exit(main() or 0)
    except UsageError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2)
    except (DataError, OSError) as error:  # a full disk, a folder that cannot be written
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        sys.exit(130)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
