"""A client of OpenAI-compatible endpoints: retries, and a bounded wait for an endpoint that is down."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2

from sparring import web
from sparring.consent import is_loopback
from sparring.errors import InputError, RunError, in_a_line
from sparring.inputs import is_text
from sparring.judges.dialect import Dialect
from sparring.judges.replies import Reply
from sparring.judges.waiting import Outage, RateLimit
from sparring.pauses import Pauses
from sparring.web import BadAnswerError, NoAnswerError

_PAUSES = Pauses(first_s=1.0, longest_s=30.0)
_RETRIED = frozenset({408, 409, 425, 429})
# HTTP statuses for which the prompt itself may be the reason: too long for the model, or stopped by a filter.
_OF_ONE_PROMPT = frozenset({400, 413, 422})
# Attempts at an unreadable answer: a model at temperature 0 repeats itself, but a proxy in between may recover.
_BAD_ANSWERS = 6
# Finish reasons of replies that are no replies: the server, or one behind it, failed.
_BROKEN_OFF = ("abort", "error")
# Finish reasons of replies that were cut.
_CUT = ("length", "content_filter")


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
        """The prompt as chat turns."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]


# A harmless prompt: an endpoint that refuses it refuses everything.
_HARMLESS = Prompt("Answer with the one word tie.")


class _BusyError(NoAnswerError):
    """The endpoint says that it cannot answer now.

    Args:
        reason: Its message.
        asked: The seconds that it asks to wait; 0 if it does not ask.
    """

    def __init__(self, reason: str, asked: float) -> None:
        super().__init__(reason)
        self.asked = asked


@dataclass(frozen=True, kw_only=True)
class ChatEndpoint:
    """Chat completions of one model.

    Attributes:
        url: Its address.
        key: The key, which is removed from everything that the server sends; empty if it needs none.
        model: The model's name there.
        timeout: Seconds for one request.
        max_tokens: Limit of a reply.
        patience: Seconds to wait for an endpoint that answers no request; then the run fails, to be resumed.
        limit: The rate limit that all threads share.
        outage: Reports that the endpoint is down.
        dialect: The form of request that the model accepts.
    """

    url: str
    key: str = field(repr=False)
    model: str
    timeout: float
    max_tokens: int
    patience: float
    limit: RateLimit
    outage: Outage = field(repr=False)
    dialect: Dialect = field(repr=False)

    def open(self) -> httpx2.Client:
        """A client, whose connections are open within `with`.

        Raises:
            InputError: The environment names a proxy of an unknown kind.
        """
        return web.client(self.url, key=self.key, seconds=self.timeout, proxies=not is_loopback(self.url))

    def ask(self, client: httpx2.Client, prompt: Prompt, stop: threading.Event) -> Reply:
        """The endpoint's answer to one prompt, at temperature 0 if its model has one; or the fact that it has none.

        An endpoint may refuse one prompt (too long, or stopped by a filter) or every prompt (the account is empty, the
        model's name is wrong); it may fail at one prompt, or be down. A harmless prompt tells which: if it is answered,
        the prompt itself is at fault, and has no answer.

        Args:
            client: From `open`.
            prompt: The prompt.
            stop: Set when another request failed for good, so that this one stops waiting.

        Raises:
            InputError: The endpoint refuses: the key, the model's name or the request is wrong.
            RunError: It answered no request for `patience` seconds.
        """
        trial: _Trial | None = None
        while True:
            if self.limit.wait(stop):
                raise RunError("another request to the judge's endpoint failed for good")
            # The time that the rate limit takes does not count as waiting for the endpoint.
            trial = trial or _Trial(since=time.monotonic(), patience=self.patience)
            try:
                return self._once(client, prompt)
            except (NoAnswerError, BadAnswerError) as error:
                trial.failed(error)
                if trial.doubtful and self._answers(client):
                    if trial.ended:
                        return _none(f"this prompt alone has no answer: {self._reason(error)}")
                    trial.asked = 0.0
                elif trial.doubtful and trial.silence(self.outage.heard) > self.patience:
                    raise self._gave_up(error, trial) from None
                self.outage.failed(self._reason(error), max(0.0, self.patience - trial.waited))
                if stop.wait(trial.wait):
                    raise self._gave_up(error, trial) from None

    def _answers(self, client: httpx2.Client) -> bool:
        """Whether the endpoint answers a harmless prompt.

        Raises:
            InputError: The endpoint refuses it.
        """
        try:
            self._once(client, _HARMLESS)
        except (NoAnswerError, BadAnswerError):
            return False
        return True

    def _once(self, client: httpx2.Client, prompt: Prompt) -> Reply:
        body = {
            "model": self.model,
            "messages": prompt.messages(),
            **self.dialect.settings(self.max_tokens),
        }
        answer = web.ask(client, "POST", "/chat/completions", body)
        if 200 <= answer.status < 300:
            return self._read(answer.json())
        reason = f"status {answer.status}: {self._without_key(answer.text)}"
        if answer.status in _RETRIED or answer.status >= 500:
            raise _BusyError(reason, answer.retry_after)
        if answer.status == 400 and self.dialect.learns(answer, body):
            return self._once(client, prompt)
        if answer.status in _OF_ONE_PROMPT and prompt != _HARMLESS:
            self._once(client, _HARMLESS)
            return _none(in_a_line(reason))
        if answer.status < 400:
            to = self._without_key(answer.headers.get("location", "nowhere"))
            reason = f"status {answer.status}: it sends us to {to}"
            if self.outage.heard > -math.inf or (prompt != _HARMLESS and self._answers(client)):
                raise BadAnswerError(reason)
        raise InputError(
            f"the endpoint refuses every request ({in_a_line(reason)})",
            where="judge",
            fix="check the judge's base_url, its model, its max_tokens, the key in the variable that api_key_env "
            "names, and the account",
        )

    def _read(self, reply: Any) -> Reply:
        """A chat completion; any field may be missing or of another type."""
        match reply:
            case {"choices": [{"message": {} as message} as choice, *_]}:
                content = message.get("content")
            case _:
                raise BadAnswerError(f"the reply is no chat completion: {json.dumps(reply)}")
        if (reason := choice.get("finish_reason")) in _BROKEN_OFF:
            raise BadAnswerError(f"the server broke off its reply (finish_reason: {reason})")
        if isinstance(content, list):
            content = "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
        if not isinstance(content, str | None):
            raise BadAnswerError("the reply is no chat completion")
        if not is_text(content or ""):
            raise BadAnswerError("the reply holds half a character")
        self.outage.answered()
        usage = reply.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        return Reply(
            text=self._without_key(content or ""),
            prompt_tokens=_count(counts.get("prompt_tokens")),
            completion_tokens=_count(counts.get("completion_tokens")),
            cut=reason in _CUT,
        )

    def _gave_up(self, error: Exception, trial: _Trial) -> RunError:
        asked, waited = trial.asked, trial.waited
        retry_after = f"; it asks to wait {asked:.0f} s, and judge.patience is {self.patience:g} s" if asked > 0 else ""
        return RunError(
            f"the judge's endpoint {self.url} did not answer for {waited:.0f} s ({self._reason(error)}){retry_after}; "
            "all its answers so far are kept: start it again, then go on with `sparring resume`, or the same command"
        )

    def _reason(self, error: BaseException) -> str:
        """What went wrong, in one line, without the key."""
        return in_a_line(self._without_key(str(error)))

    def _without_key(self, text: str) -> str:
        return web.without_key(text, self.key)


@dataclass(kw_only=True)
class _Trial:
    """The requests for one prompt so far.

    Attributes:
        since: The time of the first request.
        patience: Seconds after which a prompt without an answer is given up.
        failures: The number of requests that failed.
        bad: The number of requests with an unreadable answer.
        asked: The seconds that the endpoint asked to wait, after the last request.
    """

    since: float
    patience: float
    failures: int = 0
    bad: int = 0
    asked: float = 0.0

    def failed(self, error: Exception) -> None:
        """Counts a failure."""
        self.failures += 1
        self.bad += isinstance(error, BadAnswerError)
        self.asked = error.asked if isinstance(error, _BusyError) else 0.0

    @property
    def waited(self) -> float:
        """Seconds since the first request."""
        return time.monotonic() - self.since

    @property
    def wait(self) -> float:
        """Seconds until the next request."""
        return min(max(_PAUSES.after(self.failures), self.asked), self.patience)

    @property
    def ended(self) -> bool:
        """Whether the prompt is to be given up, whatever the endpoint asks for."""
        return self.bad >= _BAD_ANSWERS or self.waited + _PAUSES.after(self.failures) > self.patience

    @property
    def doubtful(self) -> bool:
        """Whether it is time to try if the endpoint answers a harmless prompt."""
        return self.ended or self.waited + self.asked > self.patience

    def silence(self, heard: float) -> float:
        """Seconds since the endpoint's last answer (`heard`) at the time of the next request."""
        asked = 0.0 if heard > self.since else self.asked
        return time.monotonic() - max(self.since, heard) + max(_PAUSES.after(self.failures), asked)


def _none(reason: str) -> Reply:
    """No answer to a prompt."""
    return Reply(text="", prompt_tokens=0, completion_tokens=0, refusal=reason)


def _count(tokens: object) -> int:
    """A number of tokens; 0 if the endpoint gives none, or an impossible one."""
    return tokens if type(tokens) is int and 0 <= tokens < 2**31 else 0
