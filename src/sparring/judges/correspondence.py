"""Sends many prompts to an endpoint, several at a time, and none of them twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, runtime_checkable

import httpx2

from sparring.judges.chat import ChatEndpoint, Prompt
from sparring.judges.replies import Replies, Reply


class Bill(TypedDict):
    """The cost of some replies.

    Attributes:
        prompt_tokens: Tokens that the endpoint read.
        completion_tokens: Tokens that it wrote.
        cost: Their price.
    """

    prompt_tokens: int
    completion_tokens: int
    cost: float


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """An endpoint and its replies so far.

    Attributes:
        endpoint: The endpoint.
        kept: Its replies on disk.
        concurrency: The number of requests at a time.
    """

    endpoint: ChatEndpoint
    kept: Replies
    concurrency: int

    def replies(self, prompts: Iterable[Prompt], *, on_reply: Callable[[], None] = _nothing) -> dict[Prompt, Reply]:
        """Each prompt's reply: from disk, or requested, and kept as soon as it arrives.

        Args:
            prompts: The prompts; a repeated one is asked once.
            on_reply: Called once for each different prompt, when its reply has arrived.

        Raises:
            InputError: The endpoint refuses the requests.
            RunError: It cannot be reached; its replies so far are kept.
        """
        prompts = list(dict.fromkeys(prompts))
        replies = {prompt: reply for prompt in prompts if (reply := self.kept.get(self._request(prompt)))}
        for _ in replies:
            on_reply()
        missing = [prompt for prompt in prompts if prompt not in replies]
        if missing:
            with self.endpoint.open() as client:
                self._fetch(client, missing, replies, on_reply)
        return replies

    def _fetch(
        self,
        client: httpx2.Client,
        prompts: Sequence[Prompt],
        replies: dict[Prompt, Reply],
        on_reply: Callable[[], None],
    ) -> None:
        stop = threading.Event()

        def fetch(prompt: Prompt) -> None:
            replies[prompt] = self.endpoint.ask(client, prompt, stop)
            self.kept.put(self._request(prompt), replies[prompt])

        pool = ThreadPoolExecutor(self.concurrency)
        try:
            for done in as_completed([pool.submit(fetch, prompt) for prompt in prompts]):
                done.result()
                on_reply()
        finally:
            # After the first failure, or an interrupt, the other requests stop waiting for the server.
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        """All fields that decide a reply; the address does not."""
        request = {
            "model": self.endpoint.model,
            "max_tokens": self.endpoint.max_tokens,
            "prompt": prompt.user,
        }
        return request | ({"system": prompt.system} if prompt.system else {})


@runtime_checkable
class Correspondent(Protocol):
    """The settings of a judge that writes replies, so that it can answer any prompt."""

    @property
    def template(self) -> str | None:
        """The file with the prompt for comparing two responses; None for the built-in one."""
        ...

    def connect(self, cache: Path) -> Correspondence:
        """The endpoint, with its key, and its replies so far.

        Raises:
            InputError: A package, the key or a setting is missing or wrong.
        """
        ...

    def bill(self, replies: Iterable[Reply]) -> Bill:
        """The cost of some replies, whether they were paid for now or earlier."""
        ...
