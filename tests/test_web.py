"""The page: what it judges, what it refuses, and what it leaves behind."""

from __future__ import annotations

import tfforensics  # noqa: F401  isort: skip

import http.client
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, needs_browser
from judged import finished_run
from pages import Page
from PIL import Image
from videos import person

from tfforensics import export, predict
from tfforensics.command import UsageError
from tfforensics.judging import web
from tfforensics.judging.judge import Judge, Settings
from tfforensics.serving import measure
from tfforensics.serving.exported import load_export


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    run = finished_run(folder / "run", folder / "none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "_SECONDS", 0.0)
        export.export(run.folder, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def port(base: Path) -> Iterator[int]:
    """Of a page that takes up to 2 MB."""
    judge = Judge(load_export(base), Settings(pictures=True))
    server = web.listen(judge, "127.0.0.1", 0, 2)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photographs") / "someone.jpg"
    Image.fromarray(person(1, 300).image).save(path, quality=60)
    return path


def ask(
    port: int, method: str, path: str = "/", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body, named)
    with connection.getresponse() as answer:
        return answer.status, dict(answer.headers), answer.read().decode()


def upload(port: int, name: str, data: bytes, token: str | None = None) -> tuple[int, str]:
    if token is None:
        found = re.search(r'name="token" value="([^"]+)"', ask(port, "GET")[2])
        assert found
        token = found.group(1)
    parts = [
        b'Content-Disposition: form-data; name="token"\r\n\r\n' + token.encode(),
        b'Content-Disposition: form-data; name="file"; filename="' + name.encode()
        + b'"\r\nContent-Type: application/octet-stream\r\n\r\n' + data,
    ]  # fmt: skip
    body = b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    kind = "multipart/form-data; boundary=edge"
    status, _, text = ask(port, "POST", "/", body, Content_Type=kind)
    return status, text


def left_behind() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("tfforensics-upload-*"))


def test_an_upload_is_judged_and_gone(port: int, photograph: Path) -> None:
    status, text = upload(port, "my pictures/so<me>one.jpg", photograph.read_bytes())
    page = Page(text)
    assert status == 200 and page.requests == []
    assert (
        "so<me>one.jpg" in page.text and "C:" not in page.text and "tfforensics-upload" not in text
    )
    assert page.tags["img"] == 1 and "What this model is not for" in page.text
    assert re.search(r"so<me>one\.jpg.*60", page.text)  # its JPEG quality
    assert left_behind() == []


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("../../../etc/passwd", b"root", "passwd: could not be read"),
        ("face.jpg", b"\xff\xd8\xff\xe0 and no more", "could not be read"),
        ("film.mp4", b"no film" * 200_000, "could not be read"),
    ],
)
def test_what_is_no_picture_is_a_judgement(port: int, name: str, data: bytes, said: str) -> None:
    status, text = upload(port, name, data)
    assert status == 200 and said.rpartition(": ")[2] in Page(text).text
    assert said.partition(":")[0] in Page(text).text and ".." not in Page(text).text
    assert left_behind() == []


def test_what_is_refused(port: int, photograph: Path) -> None:
    assert upload(port, "someone.jpg", photograph.read_bytes(), token="guessed")[0] == 403
    assert upload(port, "", b"")[0] == 400
    status, text = upload(port, "large.jpg", b"x" * 2_000_001)
    assert status == 413 and "larger than 2 MB" in Page(text).text
    for path in ("/etc/passwd", "/../../etc/passwd", "//etc/passwd", "/?file=/etc/passwd"):
        status, _, text = ask(port, "GET", path)
        assert status == 200 if "?" in path else status == 404
        assert "root:" not in text
    status, _, text = ask(port, "GET", Host="elsewhere.example")
    assert status == 421 and "token" not in text
    assert ask(port, "PUT")[0] == 405
    assert left_behind() == []


def test_three_gigabytes_are_refused_before_they_come(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Type", "multipart/form-data; boundary=edge")
    connection.putheader("Content-Length", str(3 * 10**9))
    connection.endheaders(b"--edge\r\n")
    start = time.monotonic()
    assert connection.getresponse().status == 413 and time.monotonic() - start < 5
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411


def test_a_browser_may_ask_for_nothing_else(port: int) -> None:
    _, headers, text = ask(port, "GET")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and policy.count("sha256-") == 2
    assert headers["Cache-Control"] == "no-store" and Page(text).unnamed == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.jpg"], "--serve: expected neither MEDIA"),
        (["--host", "localhost"], "expected an IP address"),
        (["--port", "99999"], "from 0 to 65535"),
    ],
)
def test_mistakes(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((UsageError, SystemExit)) as refused:
        predict.main(["--serve", "--model", "anything", *arguments])
    assert said in str(refused.value) + capsys.readouterr().err


def test_a_port_that_is_taken_is_a_mistake(port: int, base: Path) -> None:
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}"):
        predict.main(["--serve", "--model", str(base), "--port", str(port)])


@pytest.mark.slow
@pytest.mark.promise
def test_a_person_without_a_mouse_can_use_it(port: int, photograph: Path, tmp_path: Path) -> None:
    needs_browser()
    large = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)).save(large)
    with Browser(tmp_path) as browser:
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait_for("Choose a file")
        browser.press("\ue004")
        assert browser.run("return document.activeElement.id") == "file"
        browser.choose("#file", large)
        browser.wait_for("The file is larger than 2 MB")
        browser.choose("#file", photograph)
        browser.press("\ue004", "\ue007")  # on to the button, and Enter
        browser.wait_for("What this model is not for", "someone.jpg")
        assert browser.console() == []
        assert browser.run("return performance.getEntriesByType('resource').length") == 0
        assert len(browser.screenshot()) > 20_000
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
