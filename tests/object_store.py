"""An S3-compatible server on loopback, and one that refuses, as fixtures; see conftest.py."""

from __future__ import annotations

import http.server
import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfforensics.storage import Remote

HAS_IO = importlib.util.find_spec("tensorflow_io") is not None
needs_io = pytest.mark.skipif(not HAS_IO, reason="needs tensorflow-io (make test-io)")


def environment() -> dict[str, str]:
    """As it is now, with the server's address in it."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server, the only one that this process ever asks: its client keeps to it."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    address = f"http://127.0.0.1:{moto.get_host_and_port()[1]}"
    settings = {
        "S3_ENDPOINT": address, "S3_VERIFY_SSL": "0", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield address
    moto.stop()


@pytest.fixture
def client(server: str) -> Any:
    """Another maker's S3 client."""
    import boto3

    return boto3.client("s3", endpoint_url=server, region_name="us-east-1")


@pytest.fixture
def bucket(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A folder in a bucket of this test's own."""
    monkeypatch.setenv("TFFORENSICS_CACHE", str(tmp_path / "cache"))
    name = f"bucket-{time.time_ns()}"
    client.create_bucket(Bucket=name)
    return Remote(f"s3://{name}/faces")


def objects(client: Any, place: Remote) -> dict[str, Any]:
    """What is there, by key, as another client sees it."""
    name = str(place).split("/")[2]
    return {item["Key"]: item for item in client.list_objects_v2(Bucket=name).get("Contents", [])}


def upload(folder: Path, place: Remote) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            (place / str(path.relative_to(folder))).put(path)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers as Amazon's store answers a request that nobody signed."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(200 if "Authorization" in self.headers else 403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_HEAD = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store that refuses; this process and those that it starts use it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{store.server_port}"
        monkeypatch.setenv("S3_ENDPOINT", address)
        yield address
        store.shutdown()
