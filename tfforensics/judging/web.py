"""A page on this machine where a file is dropped and its judgement appears.

Whoever can reach the address can have files judged, and nothing else: a request names no path,
and what it uploads lies in a folder of its own that is gone before the answer is read. Other pages
in the same browser cannot use it: the host must be the one that it listens on (so that no name can
be pointed here, "DNS rebinding"), and an upload must carry the token that the page was given.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    LengthRequired,
    RequestEntityTooLarge,
)
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from tfforensics.judging import page
from tfforensics.judging.judge import Judge
from tfforensics.report import render

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

_ROUTES = Map(
    [Rule("/", endpoint="ask", methods=["GET"]), Rule("/", endpoint="judge", methods=["POST"])]
)
_INLINE = {"style-src": "style", "script-src": "script"}


class _Request(Request):
    max_form_parts = 4
    max_form_memory_size = 1_000_000  # of a part that is no file, and of what is read at once


class Site:
    """The page as a WSGI application.

    Args:
        judge: it is asked by one request at a time.
        hosts: what a request may call this machine, with the port; None: anything.
        megabytes: the largest upload.
    """

    def __init__(self, judge: Judge, hosts: frozenset[str] | None, megabytes: int) -> None:
        self._judge = judge
        self._hosts = hosts
        self._megabytes = megabytes
        self._token = secrets.token_urlsafe()
        self._one_at_a_time = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI."""
        try:
            response = self._answer(_Request(environ))
        except HTTPException as error:
            response = self._form(error.description or error.name, error.code or 500)
        response.headers |= _headers(response.get_data(as_text=True))
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if self._hosts is not None and request.host not in self._hosts:
            return Response("This page has another address.", 421)  # and no token
        endpoint, _ = _ROUTES.bind_to_environ(request.environ).match()
        if endpoint == "ask":
            return self._form()
        return self._page(self._judged(self._upload(request)))

    def _upload(self, request: Request) -> FileStorage:
        """The file of a request that is small enough and comes from our own page."""
        if request.content_length is None:
            raise LengthRequired("The upload must say how long it is.")
        if request.content_length > self._megabytes * 1_000_000:
            raise RequestEntityTooLarge(
                f"The file is larger than {self._megabytes} MB; --upload-limit allows more."
            )
        if not hmac.compare_digest(request.form.get("token", "").encode(), self._token.encode()):
            raise Forbidden("Open this page first, and upload from there.")
        sent = request.files.get("file")
        if sent is None or not sent.filename:
            raise BadRequest("Choose a file first.")
        return sent

    def _judged(self, sent: FileStorage) -> str:
        name = Path(sent.filename or "").name[-200:]
        # Only what its name ends with is taken from outside, and only where that is harmless.
        suffix = re.fullmatch(r"\.[A-Za-z0-9]{1,5}", Path(name).suffix)
        with tempfile.TemporaryDirectory(prefix="tfforensics-upload-") as folder:
            path = Path(folder) / f"file{suffix.group() if suffix else ''}"
            sent.save(path)
            with self._one_at_a_time:
                (found,) = self._judge.judge([path])
        return page.report([dataclasses.replace(found, path=Path(name))], self._judge.model.card)

    def _form(self, problem: str = "", status: int = 200) -> Response:
        text = render("ask.html", token=self._token, megabytes=self._megabytes, problem=problem)
        return self._page(text, status)

    @staticmethod
    def _page(text: str, status: int = 200) -> Response:
        return Response(text, status, mimetype="text/html")


def listen(judge: Judge, host: str, port: int, megabytes: int) -> BaseWSGIServer:
    """A server that listens already and answers once `serve_forever` is called.

    Args:
        host: an IP address of this machine; 127.0.0.1 cannot be reached from another.
        port: 0 takes a free one.

    Raises:
        OSError: it cannot listen there.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        timeout = 60  # seconds of a connection that says nothing

        def log_request(self, *_: Any) -> None:
            pass

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as bound:
        number = bound.getsockname()[1]
        site = Site(judge, _names(host, number), megabytes)
        return make_server(
            host, number, site, threaded=True, request_handler=Quiet, fd=bound.fileno()
        )


def _names(host: str, port: int) -> frozenset[str] | None:
    """What a browser on this machine calls a loopback address; of any other, nobody knows."""
    if not ipaddress.ip_address(host).is_loopback:
        return None
    return frozenset({f"[{host}]:{port}" if ":" in host else f"{host}:{port}", f"localhost:{port}"})


def _headers(text: str) -> dict[str, str]:
    """What a browser may do with a page: run and show what stands in it, and ask for nothing."""
    policy = ["default-src 'none'", "img-src data:", "base-uri 'none'", "frame-ancestors 'none'"]
    policy.append("form-action 'self'")
    for directive, tag in _INLINE.items():
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(x.encode()).digest()).decode() for x in found]
        policy.append(" ".join([directive, *(f"'sha256-{x}'" for x in hashes)]))
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
