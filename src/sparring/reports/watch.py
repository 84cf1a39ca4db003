"""A live report: served only to this machine, and built again when the runs change."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from sparring.errors import InputError, SparringError
from sparring.reports.page import Page, render
from sparring.stage_directory import SAMPLE_FOLDERS

_HOST = "127.0.0.1"
# Folders of a run that a report does not read.
_UNREAD = frozenset({"model", "training", "answers", *SAMPLE_FOLDERS})


class LivePage:
    """A page that is built again when something in its folders has changed.

    Args:
        folders: The run directories.
        build: Makes the page from their present content.
    """

    def __init__(self, folders: Sequence[Path], build: Callable[[], Page]) -> None:
        self._folders, self._build = folders, build
        self._lock = threading.Lock()
        self._seen: frozenset[tuple[str, int, int]] | None = None
        self._page: Page | None = None

    def current(self) -> Page:
        """The page for the present state of the runs."""
        with self._lock:
            seen = frozenset(entry for folder in self._folders for entry in _entries(folder))
            if self._page is None or seen != self._seen:
                self._page, self._seen = self._build(), seen
            return self._page


def _entries(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Name, time and size of every file that a report may read."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _UNREAD]
        for name in files:
            if not name.startswith((".", "report.html")):
                path = os.path.join(root, name)  # noqa: PTH118 - os.walk gives text
                try:
                    status = os.stat(path)  # noqa: PTH116
                except FileNotFoundError:
                    continue
                yield path, status.st_mtime_ns, status.st_size


def server(page: LivePage, port: int) -> ThreadingHTTPServer:
    """A server of the page, on the loopback address; port 0 is any free one.

    Raises:
        InputError: The port cannot be used.
    """
    handler = type("Handler", (_Handler,), {"page": page})
    try:
        return ThreadingHTTPServer((_HOST, port), handler)
    except OSError as error:
        fix = "choose another; 0 takes any free one"
        raise InputError(f"the port {port} cannot be used ({error.strerror})", where="--port", fix=fix) from error


def watch(page: LivePage, port: int, announce: Callable[[str], None]) -> None:
    """Serves the page until the user interrupts it."""
    page.current()
    with server(page, port) as served:
        announce(f"http://{_HOST}:{served.server_address[1]}/")
        with contextlib.suppress(KeyboardInterrupt):
            served.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Serves the page at `/`, and at `/news?version=…&answers=…` the changes since the reader's version."""

    page: LivePage
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers one request."""
        # A web site whose name resolves to this machine must not read the page.
        if self.headers.get("Host", "").partition(":")[0] not in {_HOST, "localhost"}:
            return self._send(HTTPStatus.FORBIDDEN)
        url = urlsplit(self.path)
        if url.path not in {"/", "/news"}:
            return self._send(HTTPStatus.NOT_FOUND)
        try:
            page = self.page.current()
        except (SparringError, OSError, ValueError) as error:
            return self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", str(error))
        if url.path == "/":
            return self._send(HTTPStatus.OK, "text/html", render(page, live=True))
        query = parse_qs(url.query)
        if query.get("version") == [page.version]:
            return self._send(HTTPStatus.NO_CONTENT)
        return self._send(
            HTTPStatus.OK, "application/json", _news(page, has_answers=query.get("answers") == [page.answers_version])
        )

    def _send(self, status: HTTPStatus, kind: str = "text/plain", text: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Logs nothing, since a page that asks every two seconds would fill the terminal."""


def _news(page: Page, *, has_answers: bool) -> str:
    news = {
        "version": page.version,
        "answers_version": page.answers_version,
        "main": page.main,
        "charts": page.charts,
        "sections": page.sections,
    }
    return json.dumps(news if has_answers else news | {"answers": page.answers}, allow_nan=False)
