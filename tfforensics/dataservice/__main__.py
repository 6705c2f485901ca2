"""Starts a dispatcher or a worker of tf.data service for the input of training.

python -m tfforensics.dataservice dispatcher [--host HOST] [--port PORT]
python -m tfforensics.dataservice worker [--dispatcher grpc://HOST:PORT] [--host HOST] [--port PORT]
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from tfforensics import command
from tfforensics.command import DataError, UsageError
from tfforensics.dataservice import address, loopback

_PROG = "python -m tfforensics.dataservice"
_PORT = 5050
_HEARTBEAT, _GONE = 2_000, 20_000  # ms; a worker that is silent for so long is given up
_UNUSED = 60_000  # ms after which what a training left behind is cleared away
_LOOK = 1.0  # seconds between a worker's looks at its dispatcher


def dispatcher(options: argparse.Namespace) -> NoReturn:
    """Runs a dispatcher until a signal comes."""
    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics.dataservice import handshake

    service = tf.data.experimental.service
    config = service.DispatcherConfig(
        port=options.port,
        protocol="grpc",
        job_gc_check_interval_ms=_UNUSED // 4,
        job_gc_timeout_ms=_UNUSED,
        worker_timeout_ms=_GONE,
    )
    stop = _signals()
    server = _started(lambda: service.DispatchServer(config), options)
    port = _port(server)
    handshake.publish(f"127.0.0.1:{port}")
    print(f"dispatcher at grpc://{options.host}:{port} (Ctrl-C ends it)", flush=True)
    stop.wait()
    _leave(0)


def worker(options: argparse.Namespace) -> NoReturn:
    """Runs a worker until a signal comes, or a dispatcher of other versions.

    Where the dispatcher was started anew, so is the worker: its tasks are of the one before, and
    TensorFlow would take them for those that the new one gives the same numbers.

    Raises:
        UsageError: nobody would reach it.
        DataError: there is no dispatcher, or one of other versions.
    """
    authority = address.authority(options.dispatcher, "--dispatcher")
    if address.is_loopback(options.host) and not address.is_loopback(authority.rpartition(":")[0]):
        raise UsageError(
            "--host: expected the name under which other machines reach this one, as the "
            f"dispatcher is at {authority}, got {options.host}"
        )
    command.start_tensorflow()
    import tensorflow as tf

    from tfforensics.dataservice import handshake

    service = tf.data.experimental.service
    stop = _signals()
    first = handshake.check(authority, "--dispatcher")
    config = service.WorkerConfig(
        dispatcher_address=authority,
        worker_address=f"{options.host}:%port%",
        port=options.port,
        protocol="grpc",
        heartbeat_interval_ms=_HEARTBEAT,
    )
    server = _started(lambda: service.WorkerServer(config), options)
    print(f"worker at grpc://{options.host}:{_port(server)} (Ctrl-C ends it)", flush=True)
    try:
        while not stop.wait(_LOOK):
            with contextlib.suppress(handshake.NoDispatcherError):  # it may come back
                if handshake.check(authority, "--dispatcher", patience=0) != first:
                    _start_anew(options)
    except DataError as error:
        print(f"{_PROG}: {error}", file=sys.stderr)
        _leave(1)
    _leave(0)


def _signals() -> threading.Event:
    """Is set by SIGTERM and by Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _leave(status: int) -> NoReturn:
    """Ends the process and its server, which holds nothing that is not made again.

    Its own way to stop waits for ever where a dispatcher is gone, and so does Python's exit.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _start_anew(options: argparse.Namespace) -> NoReturn:
    """Puts a worker with the same options in the place of this process."""
    print(f"{_PROG}: the dispatcher was started anew; so is this worker", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    given = {"--dispatcher": options.dispatcher, "--host": options.host, "--port": options.port}
    named = [str(part) for pair in given.items() for part in pair]
    os.execv(sys.executable, [sys.executable, "-m", "tfforensics.dataservice", "worker", *named])


def _started(start: Callable[[], Any], options: argparse.Namespace) -> Any:
    """A server of TensorFlow's, kept to this machine where its host says so."""
    _refuse_taken(options.port)
    try:
        server = start()
    except (RuntimeError, OSError) as error:
        raise DataError(f"--port {options.port}: {error}") from error
    if address.is_loopback(options.host):
        try:
            loopback.keep(_port(server))
        except OSError as error:
            server.stop()
            raise DataError(
                f"--host {options.host}: cannot be kept to this machine ({error}); name the host "
                "under which others reach it to open it to them"
            ) from error
    return server


def _refuse_taken(port: int) -> None:
    """Refuses a port on which something listens; gRPC would share it."""
    for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((everywhere, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise UsageError(
                    f"--port: expected one that is free, got {port} ({error.strerror})"
                ) from error


def _port(server: Any) -> int:
    return int(server._address.rpartition(":")[2])  # its public names have none for a worker's


def _host(text: str) -> str:
    try:
        address.authority(f"grpc://{text}:1", "--host")
    except UsageError as error:
        raise command.ArgumentTypeError(f"expected a name or number, got {text!r}") from error
    return text


def _port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise command.ArgumentTypeError(f"expected 0 to 65535, got {text!r}")
    return int(text)


def main(arguments: Iterable[str] | None = None) -> NoReturn:
    """The command."""
    parser = command.Parser(
        prog=_PROG,
        description="Start a dispatcher or a worker of tf.data service, for training with "
        "--data.service grpc://HOST:PORT. Whoever reaches one can run any TensorFlow graph on its "
        "machine: name a host other than this machine's only in a network that you trust.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="dispatcher|worker")
    for run, default, does in (
        (dispatcher, _PORT, "hands out the numbers of the batches; one a cluster"),
        (worker, 0, "makes batches; sees the records under the path that training gives"),
    ):
        kind = kinds.add_parser(
            run.__name__, help=does, description=f"It {does}. SIGTERM and Ctrl-C end it."
        )
        kind.add_argument(
            "--host", type=_host, default="127.0.0.1",
            help="the name under which others reach it (default: %(default)s, this machine alone)",
        )  # fmt: skip
        kind.add_argument(
            "--port", type=_port_number, default=default,
            help="0 takes one that is free (default: %(default)s)",
        )  # fmt: skip
        if run is worker:
            kind.add_argument(
                "--dispatcher", metavar="grpc://HOST:PORT", default=f"grpc://127.0.0.1:{_PORT}",
                help="(default: %(default)s)",
            )  # fmt: skip
    options = parser.parse_args(None if arguments is None else list(arguments))
    (dispatcher if options.kind == "dispatcher" else worker)(options)


if __name__ == "__main__":
    command.run(main, _PROG)
