"""An OpenAI-compatible endpoint, asked with patience: retries, a rate limit, a bounded wait for one that is down."""

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
_TELL_EVERY_S = 30.0
_RETRIED = frozenset({408, 409, 425, 429})
# What a prompt of its own can bring about: too long for the model, or stopped by a filter.
_OF_ONE_PROMPT = frozenset({400, 413, 422})


@dataclass(frozen=True)
class Prompt:
    """What is asked: the user's turn, and the system's where there is one."""

    user: str
    system: str = ""

    def messages(self) -> list[dict[str, str]]:
        """As chat turns."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]


# Whoever refuses this refuses everything.
_HARMLESS = Prompt("Answer with the one word tie.")


class BadReplyError(Exception):
    """The endpoint said 200 and sent no chat completion."""


class RateLimit:
    """Hands out starting times, at most `per_minute` a minute, evenly spaced; None does not limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 0.0 if per_minute is None else 60.0 / per_minute
        self._next, self._lock = 0.0, threading.Lock()

    def wait(self, stop: threading.Event) -> bool:
        """Sleeps until the caller's turn; true when `stop` was set, and nobody need ask any more."""
        with self._lock:
            start = max(time.monotonic(), self._next)
            self._next = start + self._interval
        return stop.wait(max(0.0, start - time.monotonic()))


class Outage:
    """Tells a person that the endpoint is away, now and then while it is, and when it is back; all threads share it."""

    def __init__(self, url: str) -> None:
        self._url, self._lock = url, threading.Lock()
        self._since: float | None = None
        self._told_at, self._told = -math.inf, False

    def goes_on(self, words: str, left: float) -> None:
        """A request failed, and is tried again for `left` more seconds."""
        with self._lock:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            if now - self._told_at < _TELL_EVERY_S:
                return
            self._told_at, self._told, lasted = now, True, now - self._since
        console.print(
            f"judge: no answer from {self._url} for {lasted:.0f} s ({words}). Asking again for {left:.0f} s more: "
            "start or mend the server, or wait. All answers so far are kept.",
        )

    def ends(self) -> None:
        """A request was answered."""
        with self._lock:
            since, told = self._since, self._told
            self._since, self._told = None, False
        if since is not None and told:
            console.print(f"judge: {self._url} answers again, after {time.monotonic() - since:.0f} s")


@dataclass(frozen=True, kw_only=True)
class ChatEndpoint:
    """Chat completions of one model; a client is open within `with`.

    Attributes:
        url: Its address.
        key: The key, which is also taken out of whatever the server says; empty where it needs none.
        model: The model's name there.
        timeout: Seconds for one request.
        max_tokens: Limit of a reply.
        patience: Seconds to keep trying one request; then the run fails, to be resumed.
        limit: The rate limit that all threads share.
        outage: Who says that it is away.
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
        """Connections for a while."""
        import openai

        # It would retry by itself a fixed number of times; here patience is a matter of time.
        with openai.OpenAI(
            base_url=self.url, api_key=self.key or "none", timeout=self.timeout, max_retries=0
        ) as client:
            yield client

    def ask(self, client: Client, prompt: Prompt, stop: threading.Event) -> Reply:
        """The answer to one prompt, at temperature 0, or its refusal of this one.

        A prompt may be refused for what it is, being too long or stopped by a filter, or because nothing would be
        answered, the account being empty or the model's name wrong. A harmless prompt tells: where that is answered,
        the refused one is at fault itself.

        Args:
            client: What `open` gave.
            prompt: What is asked.
            stop: Set when another request failed for good, so that this one need not go on waiting.

        Raises:
            InputError: The endpoint refuses: the key, the model's name or the request is wrong.
            RunError: It was not to be had for `patience` seconds.
        """
        since, failures = None, 0
        while True:
            if self.limit.wait(stop):
                raise RunError("another request to the judge's endpoint failed for good")
            # That it had to wait for its turn is not the endpoint's fault.
            since = time.monotonic() if since is None else since
            try:
                return self._once(client, prompt)
            except _retriable() as error:
                failures += 1
                waited, asked = time.monotonic() - since, self._asked_to_wait(error)
                wait = max(_PAUSES.after(failures), asked)
                if waited + wait > self.patience:
                    raise self._gave_up(error, waited, asked) from None
                self.outage.goes_on(self._words(error), self.patience - waited)
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
                return Reply(text="", prompt_tokens=0, completion_tokens=0, refusal=self._words(error))
            raise InputError(
                f"the endpoint refuses ({self._words(error)})",
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
        # The client takes what comes: no field need be there, nor be of its type.
        choices, usage = getattr(reply, "choices", None), getattr(reply, "usage", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        content = getattr(message, "content", None)
        if isinstance(content, list):
            content = "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
        if message is None or not isinstance(content, str | None):
            raise BadReplyError("the reply is no chat completion")
        self.outage.ends()
        return Reply(
            text=self._without_key(content or ""),
            prompt_tokens=_count(getattr(usage, "prompt_tokens", 0)),
            completion_tokens=_count(getattr(usage, "completion_tokens", 0)),
            cut=getattr(choice, "finish_reason", None) == "length",
        )

    def _asked_to_wait(self, error: Exception) -> float:
        """Retry-After, in seconds, where the server says so."""
        response = getattr(error, "response", None)
        try:
            return float(response.headers["retry-after"]) if response is not None else 0.0
        except (KeyError, ValueError):
            return 0.0

    def _gave_up(self, error: Exception, waited: float, asked: float) -> RunError:
        also = f"; it asks to wait {asked:.0f} s, and judge.patience is {self.patience:g} s" if asked > 0 else ""
        return RunError(
            f"the judge's endpoint {self.url} was not to be had for {waited:.0f} s ({self._words(error)}){also}; every "
            "answer that it gave is kept: start it again, then `sparring resume`, or the same command, goes on"
        )

    def _words(self, error: BaseException) -> str:
        """What went wrong, in one line, without the key."""
        import openai

        # "Connection error." says nothing; what it came from does.
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
