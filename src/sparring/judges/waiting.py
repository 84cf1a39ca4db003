"""Waiting for an endpoint: until it may be asked again, and until it is back."""

from __future__ import annotations

import math
import threading
import time

from sparring.progress import console

_REPORT_EVERY_S = 30.0


class RateLimit:
    """Lets callers start at most `per_minute` times a minute, evenly spaced; None for no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 0.0 if per_minute is None else 60.0 / per_minute
        self._next, self._lock = 0.0, threading.Lock()

    def wait(self, stop: threading.Event) -> bool:
        """Sleeps until the caller's turn; returns whether `stop` was set meanwhile, so that no request is needed."""
        with self._lock:
            start = max(time.monotonic(), self._next)
            self._next = start + self._interval
        return stop.wait(max(0.0, start - time.monotonic()))


class Outage:
    """Reports that the endpoint is down, every half minute, and when it is back; all threads share one.

    Attributes:
        heard: The time of the last answer to any request, by `time.monotonic`.
    """

    def __init__(self, url: str) -> None:
        self._url, self._lock = url, threading.Lock()
        self._since: float | None = None
        self._reported_at, self._reported = -math.inf, False
        self.heard = -math.inf

    def failed(self, reason: str, left: float) -> None:
        """Notes that a request failed, and will be repeated for `left` more seconds."""
        with self._lock:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            if now - self._reported_at < _REPORT_EVERY_S:
                return
            self._reported_at, self._reported, lasted = now, True, now - self._since
        console.print(
            f"judge: no answer from {self._url} for {lasted:.0f} s ({reason}). Asking again for {left:.0f} s more: "
            "start or mend the server, or wait. All answers so far are kept.",
        )

    def answered(self) -> None:
        """Notes that a request was answered."""
        with self._lock:
            since, reported = self._since, self._reported
            self._since, self._reported, self.heard = None, False, time.monotonic()
        if since is not None and reported:
            console.print(f"judge: {self._url} answers again, after {time.monotonic() - since:.0f} s")
