"""What a server answers to one request, read as far as it may be: neither for ever, nor more than fits."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from sparring.errors import InputError

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

    @property
    def retry_after(self) -> float:
        """The seconds of the header Retry-After, which gives them or a date; 0 where it holds neither, or the past.

        A date is counted from the answer's own, since the server's clock may go wrong.
        """
        asked = self.headers.get("retry-after", "")
        try:
            seconds = float(asked)
        except ValueError:
            seconds = (_seconds(asked) or 0.0) - (_seconds(self.headers.get("date", "")) or time.time())
        return seconds if 0.0 <= seconds < math.inf else 0.0

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadAnswerError: It is none, is not in UTF-8, nests too deeply, or holds a number of too many digits.
        """
        try:
            return json.loads(self.content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise BadAnswerError(f"it answered with something that is not JSON ({error})") from error


def _seconds(date: str) -> float | None:
    """A date of HTTP as the seconds since 1970; None for what is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def check_address(url: object) -> None:
    """Raises ValueError unless something is the address of a server, without anything secret in it."""
    try:
        parts = urlsplit(str(url))
        known = isinstance(url, str) and parts.scheme in {"http", "https"} and parts.port != 0
        known = known and bool(parts.hostname) and bool(httpx2.URL(str(url)).host)
    except (ValueError, httpx2.InvalidURL):
        known = False
    if not known:
        # It may hold a password all the same.
        shown = "this" if "@" in str(url) else repr(url)
        raise ValueError(f"{shown} is no address: write one such as http://127.0.0.1:8000")
    if parts.username or parts.password or parts.query:
        raise ValueError("an address must not carry a password or key: name its variable in api_key_env")


def read_key(variable: str | None, *, where: str) -> str:
    """The key that an environment variable holds; empty where there is no variable.

    Raises:
        InputError: It is not set, or what it holds is no key: it could not be sent, and the error would show it.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        fix = f"export {variable}=… before the run"
        raise InputError(f"the variable {variable} is not set", where=where, fix=fix)
    if not re.fullmatch(r"[!-~]*", key):
        problem = f"the variable {variable} holds white space or characters that no key has"
        raise InputError(problem, where=where, fix="remove them; often it is a line end")
    return key


def client(url: str, *, key: str = "", seconds: float, proxies: bool = False) -> httpx2.Client:
    """A client of one server, to be opened with `with`; it follows no redirect, so key and prompts go nowhere else.

    Args:
        url: The address that every route is appended to.
        key: What proves who is asking; empty sends none.
        seconds: For one request, and for each part of its answer.
        proxies: Whether to go through the proxies that the environment names.

    Raises:
        InputError: It names one of a kind that is unknown, or whose package is missing.
    """
    # A few compressed bytes may become any number.
    headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}
    limits = httpx2.Limits(max_connections=None)
    try:
        return httpx2.Client(base_url=url, headers=headers, timeout=seconds, limits=limits, trust_env=proxies)
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        # The error itself may show a proxy's password.
        needs = "a package: pip install socksio" if isinstance(error, ImportError) else "another spelling"
        raise InputError(
            f"the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names needs {needs}",
            where=url,
            fix="write http://HOST:PORT or socks5://HOST:PORT, or name this server in NO_PROXY",
        ) from error


def without_key(text: str, key: str) -> str:
    """A text that a server wrote, without the key, as it is or as JSON or an address write it."""
    if not key:
        return text
    escaped = json.dumps(key)[1:-1]
    forms = {key, escaped, escaped.replace("/", "\\/"), quote(key, safe="")}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


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
