"""Many prompts to an endpoint, a few at a time, none of them twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from sparring.judges.answers import Answer, Answers
from sparring.judges.endpoint import Client, Endpoint, Prompt


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """An endpoint and what it said before.

    Attributes:
        endpoint: Who is asked.
        kept: Its answers on disk.
        concurrency: Requests at once.
    """

    endpoint: Endpoint
    kept: Answers
    concurrency: int

    def answers(self, prompts: Iterable[Prompt], *, on_answer: Callable[[], None] = _nothing) -> dict[Prompt, Answer]:
        """Each prompt's answer: from disk, or asked for, and kept as soon as it is there.

        Args:
            prompts: What to ask; one that is there twice is asked once.
            on_answer: Called once for each different prompt, when its answer is there.

        Raises:
            InputError: The endpoint refuses.
            RunError: It was not to be had; what it said until then is kept.
        """
        prompts = list(dict.fromkeys(prompts))
        answers = {prompt: answer for prompt in prompts if (answer := self.kept.get(self._asked(prompt)))}
        for _ in answers:
            on_answer()
        missing = [prompt for prompt in prompts if prompt not in answers]
        if missing:
            with self.endpoint.open() as client:
                self._fetch(client, missing, answers, on_answer)
        return answers

    def _fetch(
        self, client: Client, prompts: Sequence[Prompt], answers: dict[Prompt, Answer], on_answer: Callable[[], None]
    ) -> None:
        stop = threading.Event()

        def fetch(prompt: Prompt) -> None:
            answers[prompt] = self.endpoint.ask(client, prompt, stop)
            self.kept.put(self._asked(prompt), answers[prompt])

        pool = ThreadPoolExecutor(self.concurrency)
        try:
            for done in as_completed([pool.submit(fetch, prompt) for prompt in prompts]):
                done.result()
                on_answer()
        finally:
            # After the first failure, or an interrupt, nobody goes on waiting for the server.
            stop.set()
            pool.shutdown(cancel_futures=True)

    def _asked(self, prompt: Prompt) -> dict[str, Any]:
        """All that decides an answer; the address does not."""
        asked = {
            "model": self.endpoint.model,
            "max_tokens": self.endpoint.max_tokens,
            "prompt": prompt.user,
        }
        return asked | ({"system": prompt.system} if prompt.system else {})
