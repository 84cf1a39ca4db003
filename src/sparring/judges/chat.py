"""A client of OpenAI-compatible endpoints: retries, a rate limit, a bounded wait for an endpoint that is down."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import Any

from sparring.errors import InputError, RunError
from sparring.judges.replies import Reply
from sparring.pauses import Pauses
from sparring.progress import console

Client = Any
"""An `openai.OpenAI`, which is imported late."""

_PAUSES = Pauses(first_s=1.0, longest_s=30.0)
_REPORT_EVERY_S = 30.0
_RETRIED = frozenset({408, 409, 425, 429})
# The prompt itself may be the reason: too long for the model, or stopped by a filter.
_OF_ONE_PROMPT = frozenset({400, 413, 422})


@dataclass(frozen=True)
class Prompt:
    """A prompt to an endpoint.

    Attributes:
        user: The user's turn.
        system: The system's turn; empty for none.
    """

    user: str
    system: str = ""

    def messages(self) -> list[dict[str, str]]:
        """As chat turns."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]


# An endpoint that refuses this refuses everything.
_HARMLESS = Prompt("Answer with the one word tie.")


class BadReplyError(Exception):
    """The endpoint answered with status 200, but not with a chat completion."""


class RateLimit:
    """Hands out starting times, at most `per_minute` a minute, evenly spaced; None does not limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 0.0 if per_minute is None else 60.0 / per_minute
        self._next, self._lock = 0.0, threading.Lock()

    def wait(self, stop: threading.Event) -> bool:
        """Sleeps until the caller's turn; true when `stop` was set meanwhile, so that no request is needed any more."""
        with self._lock:
            start = max(time.monotonic(), self._next)
            self._next = start + self._interval
        return stop.wait(max(0.0, start - time.monotonic()))


class Outage:
    """Reports that the endpoint is down, every half minute, and when it is back; all threads share one."""

    def __init__(self, url: str) -> None:
        self._url, self._lock = url, threading.Lock()
        self._since: float | None = None
        self._reported_at, self._reported = -math.inf, False

    def failed(self, reason: str, left: float) -> None:
        """Notes that a request failed, and will be tried again for `left` more seconds."""
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
            self._since, self._reported = None, False
        if since is not None and reported:
            console.print(f"judge: {self._url} answers again, after {time.monotonic() - since:.0f} s")


@dataclass(frozen=True, kw_only=True)
class ChatEndpoint:
    """Chat completions of one model; a client is open within `with`.

    Attributes:
        url: Its address.
        key: The key, which is removed from everything that the server sends; empty where it needs none.
        model: The model's name there.
        timeout: Seconds for one request.
        max_tokens: Limit of a reply.
        patience: Seconds to keep trying one request; then the run fails, to be resumed.
        limit: The rate limit that all threads share.
        outage: Reports that it is down.
    """

    url: str
    key: str = field(repr=False)
    model: str
    timeout: float
    max_tokens: int
    patience: float
    limit: RateLimit
    outage: Outage = field(repr=False)

    @contextmanager
    def open(self) -> Iterator[Client]:
        """A client with its connections."""
        import openai

        # The client would retry a fixed number of times; here the limit is a time.
        with openai.OpenAI(
            base_url=self.url, api_key=self.key or "none", timeout=self.timeout, max_retries=0
        ) as client:
            yield client

    def ask(self, client: Client, prompt: Prompt, stop: threading.Event) -> Reply:
        """The endpoint's answer to one prompt, at temperature 0, or its refusal of this prompt.

        An endpoint may refuse one prompt, as too long or stopped by a filter, or every prompt, as where the account is
        empty or the model's name is wrong. A harmless prompt tells these apart: if that is answered, the refused prompt
        itself is at fault.

        Args:
            client: From `open`.
            prompt: The prompt.
            stop: Set when another request failed for good, so that this one stops waiting.

        Raises:
            InputError: The endpoint refuses: the key, the model's name or the request is wrong.
            RunError: It could not be reached for `patience` seconds.
        """
        since, failures = None, 0
        while True:
            if self.limit.wait(stop):
                raise RunError("another request to the judge's endpoint failed for good")
            # Waiting for the rate limit does not count as waiting for the endpoint.
            since = time.monotonic() if since is None else since
            try:
                return self._once(client, prompt)
            except _retriable() as error:
                failures += 1
                waited, asked = time.monotonic() - since, self._asked_to_wait(error)
                wait = max(_PAUSES.after(failures), asked)
                if waited + wait > self.patience:
                    raise self._gave_up(error, waited, asked) from None
                self.outage.failed(self._reason(error), self.patience - waited)
                if stop.wait(wait):
                    raise self._gave_up(error, waited, asked) from None

    def _once(self, client: Client, prompt: Prompt) -> Reply:
        import openai

        try:
            return self._complete(client, prompt)
        except openai.APIStatusError as error:
            if error.status_code in _RETRIED or error.status_code >= 500:
                raise
            if error.status_code in _OF_ONE_PROMPT and prompt != _HARMLESS:
                self._once(client, _HARMLESS)
                return Reply(text="", prompt_tokens=0, completion_tokens=0, refusal=self._reason(error))
            raise InputError(
                f"the endpoint refuses every request ({self._reason(error)})",
                where="judge",
                fix="check the judge's base_url, its model, its max_tokens, the key in the variable that api_key_env "
                "names, and the account",
            ) from None

    def _complete(self, client: Client, prompt: Prompt) -> Reply:
        reply = client.chat.completions.create(
            model=self.model,
            messages=prompt.messages(),
            max_tokens=self.max_tokens,
            temperature=0.0,
        )
        # The client does not check the reply: any field may be missing or of another type.
        choices, usage = getattr(reply, "choices", None), getattr(reply, "usage", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        content = getattr(message, "content", None)
        if isinstance(content, list):
            content = "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
        if message is None or not isinstance(content, str | None):
            raise BadReplyError("the reply is no chat completion")
        self.outage.answered()
        return Reply(
            text=self._without_key(content or ""),
            prompt_tokens=_count(getattr(usage, "prompt_tokens", 0)),
            completion_tokens=_count(getattr(usage, "completion_tokens", 0)),
            cut=getattr(choice, "finish_reason", None) == "length",
        )

    def _asked_to_wait(self, error: Exception) -> float:
        """The seconds of the header Retry-After; 0 without one."""
        response = getattr(error, "response", None)
        try:
            return float(response.headers["retry-after"]) if response is not None else 0.0
        except (KeyError, ValueError):
            return 0.0

    def _gave_up(self, error: Exception, waited: float, asked: float) -> RunError:
        retry_after = f"; it asks to wait {asked:.0f} s, and judge.patience is {self.patience:g} s" if asked > 0 else ""
        return RunError(
            f"the judge's endpoint {self.url} did not answer for {waited:.0f} s ({self._reason(error)}){retry_after}; "
            "all its answers so far are kept: start it again, then go on with `sparring resume`, or the same command"
        )

    def _reason(self, error: BaseException) -> str:
        """What went wrong, in one line, without the key."""
        import openai

        # "Connection error." says nothing; its cause does.
        error = (isinstance(error, openai.APIConnectionError) and error.__cause__) or error
        return self._without_key(str(error).strip() or type(error).__name__).splitlines()[0][:300]

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text


def _count(tokens: object) -> int:
    """A number of tokens, 0 where the endpoint gives none."""
    return tokens if isinstance(tokens, int) else 0


def _retriable() -> tuple[type[Exception], ...]:
    import openai

    return (openai.APIError, JSONDecodeError, BadReplyError)
