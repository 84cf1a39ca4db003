"""What a server answers to one request, read as far as it may be: neither for ever, nor more than fits."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

LARGEST = 64 * 2**20
"""Bytes that an answer may have: a thousand times what an answer of many tokens takes."""


class NoAnswerError(Exception):
    """The server is gone, cuts the connection, or says nothing; it may answer later."""


class BadAnswerError(Exception):
    """It answered with something that cannot be read: not HTTP, compressed unasked, too large, or no JSON."""


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        status: Its status.
        headers: Its headers.
        content: Its body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is marked."""
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadAnswerError: It is none, is not in UTF-8, nests too deeply, or holds a number of too many digits.
        """
        try:
            return json.loads(self.content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadAnswerError(f"it answered with something that is not JSON ({error})") from error


def check_address(name: str, url: object) -> None:
    """Raises ValueError unless a setting is the address of a server, without anything secret in it."""
    try:
        parts, known = urlsplit(str(url)), isinstance(url, str) and bool(httpx2.URL(url).host)
        known = known and parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx2.InvalidURL):
        known = False
    if not known:
        raise ValueError(f"{name} must be an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError(
            f"{name} must hold no user, password or query, since it is kept in the run directory: name the variable "
            "that holds the key in api_key_env"
        )


def client(url: str, *, key: str = "", seconds: float, proxies: bool = False) -> httpx2.Client:
    """A client of one server, to be opened with `with`; it follows no redirect, so key and prompts go nowhere else.

    Args:
        url: The address that every route is appended to.
        key: What proves who is asking; empty sends none.
        seconds: For one request, and for each part of its answer.
        proxies: Whether to go through the proxies that the environment names.
    """
    # A few compressed bytes may become any number.
    headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}
    limits = httpx2.Limits(max_connections=None)
    return httpx2.Client(base_url=url, headers=headers, timeout=seconds, limits=limits, trust_env=proxies)


def ask(client: httpx2.Client, method: str, route: str, body: Any = None) -> Answer:
    """The server's answer.

    Args:
        client: From `client`.
        method: "GET" or "POST".
        route: What follows the address.
        body: Is sent as JSON.

    Raises:
        NoAnswerError: There is none, or it is not whole in time.
        BadAnswerError: It cannot be read, or has more than `LARGEST` bytes.
    """
    try:
        with client.stream(method, route, json=body) as response:
            return Answer(response.status_code, dict(response.headers), _content(response, client.timeout.read))
    except (httpx2.RemoteProtocolError, httpx2.DecodingError) as error:
        raise BadAnswerError(_told(error)) from error
    except httpx2.HTTPError as error:
        raise NoAnswerError(_told(error)) from error


def _content(response: httpx2.Response, seconds: float | None) -> bytes:
    compressed = response.headers.get("content-encoding", "identity")
    if compressed.strip().lower() not in {"", "identity"}:
        raise BadAnswerError(f"the answer is compressed ({compressed[:40]}), which was not asked for")
    parts, size, started = [], 0, time.monotonic()
    for part in response.iter_raw():
        size += len(part)
        if size > LARGEST:
            raise BadAnswerError(f"the answer has more than {LARGEST // 2**20} MiB")
        if seconds is not None and time.monotonic() - started > seconds:
            raise NoAnswerError(f"the answer is not whole after {seconds:g} s")
        parts.append(part)
    return b"".join(parts)


def _told(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
