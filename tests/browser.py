"""Chromium without a window, for tests of what a page shows."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name of a reference to one


def needs_browser() -> None:
    """Skips the test where there is none."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("no chromium and chromedriver (Debian: chromium, chromium-driver)")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def serving(command: list[str], ready: str) -> Iterator[None]:
    """Runs a server while the block lasts; `ready` answers when it is up."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: request(ready), 120)
            yield
        finally:
            process.terminate()


class Browser:
    """Chromium without a window, driven over the WebDriver protocol (a W3C standard)."""

    # TensorBoard's pages are nested shadow trees, which a plain dump of the page leaves out.
    TEXT = """
        const text = node => [...node.childNodes].map(child =>
            child.nodeType === 3 ? child.data
            : ["STYLE", "SCRIPT"].includes(child.nodeName) ? ""
            : text(child) + " " + (child.title || "")).join(" ")
            + (node.shadowRoot ? text(node.shadowRoot) : "");
        return text(document.body);
    """

    def __init__(self, tmp_path: Path) -> None:
        self._flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--window-size=1400,1600", f"--user-data-dir={tmp_path / 'profile'}",
        ]  # fmt: skip
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Browser:
        driver = f"http://127.0.0.1:{(port := free_port())}"
        self._open.enter_context(serving(["chromedriver", f"--port={port}"], f"{driver}/status"))
        asked = {
            "goog:chromeOptions": {"args": self._flags},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        options = {"alwaysMatch": asked}
        session = request(f"{driver}/session", {"capabilities": options})["value"]["sessionId"]
        self._session = f"{driver}/session/{session}"
        self._open.callback(lambda: request(self._session, method="DELETE"))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def open(self, address: str) -> None:
        request(f"{self._session}/url", {"url": "about:blank"})
        request(f"{self._session}/url", {"url": address})

    def text(self) -> str:
        """All text of the page, and of its elements' titles."""
        return self.run(self.TEXT)

    def run(self, script: str) -> Any:
        """What a script returns."""
        body = {"script": script, "args": []}
        return request(f"{self._session}/execute/sync", body)["value"]

    def press(self, *keys: str) -> None:
        """Presses keys one after another, wherever the focus is."""
        strokes = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}
        request(f"{self._session}/actions", body)

    def choose(self, selector: str, path: Path) -> None:
        """Chooses a file, as a person does in the browser's own dialogue."""
        body = {"using": "css selector", "value": selector}
        element = request(f"{self._session}/element", body)["value"][_ELEMENT]
        request(f"{self._session}/element/{element}/value", {"text": str(path)})

    def console(self) -> list[str]:
        """What was written to the console since the last look, by the page or the browser."""
        found = request(f"{self._session}/se/log", {"type": "browser"})["value"]
        return [entry["message"] for entry in found]

    def screenshot(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode(request(f"{self._session}/screenshot")["value"])

    def wait_for(self, *words: str) -> None:
        """Waits until all of these stand on the page."""
        try:
            until(lambda: all(word in self.text() for word in words), 60)
        except TimeoutError:
            text = re.sub(r"\s+", " ", self.text())
            raise AssertionError(f"{[w for w in words if w not in text]} not in {text}") from None


def request(address: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(address, data, method=method), timeout=60
    ) as answer:
        return json.load(answer)


def until(condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.3)
    raise TimeoutError(f"not within {seconds} s")
