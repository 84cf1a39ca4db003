"""A language model behind an OpenAI-compatible endpoint, asked in both orders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from sparring.consent import sends_key
from sparring.judges.chat import ChatEndpoint, Prompt
from sparring.judges.correspondence import Bill, Correspondence
from sparring.judges.dialect import Dialect
from sparring.judges.protocol import Judge, JudgeSettings, Question, Verdict, pairs, verdict_of_pairs
from sparring.judges.replies import Replies, Reply
from sparring.judges.template import ask, read_template, read_verdict
from sparring.judges.waiting import Outage, RateLimit
from sparring.registry import require_positive
from sparring.web import check_address, read_key


@dataclass(frozen=True, kw_only=True)
class Llm(JudgeSettings):
    """Asks a language model behind an endpoint which response is better, about every pair in both orders.

    P(y_i ≻ y_j) = ½[v(i, j) + 1 − v(j, i)], v = 1 for "Verdict: A", 0 for "Verdict: B", ½ for a tie, so a mere
    preference for a position becomes ½. An answer without a verdict is counted as unparsable, and its pair stays
    unknown. A prompt that the endpoint refuses (too long for the model, or stopped by a filter) while it answers a
    harmless one is an abstention; so is a prompt whose answer is unreadable six times, or does not come within
    `patience` seconds. Equal responses tie without a request.

    Every answer is kept on disk under its request (model, prompt, limit), so a resumed run pays for none twice, even if
    the model is then served at another address. The key is read from an environment variable, and neither kept nor
    shown.

    Source: language models as judges with swapped positions, arXiv 2306.05685.

    Attributes:
        model: The model's name at the endpoint.
        base_url: The endpoint, e.g. `http://127.0.0.1:8000/v1` of a local vLLM server.
        api_key_env: The *name* of the environment variable that holds the key; None where the endpoint needs none.
        template: A text file with `{prompt}`, `{first}` and `{second}`, which asks for a line `Verdict: A`, `B` or
            `tie`; None for the built-in one.
        max_tokens: Limit of an answer; a verdict beyond it is lost, so leave room for the reasoning.
        concurrency: The number of requests at a time.
        requests_per_minute: The rate limit; None for none.
        timeout: Seconds for one request.
        patience: Seconds to wait for an endpoint that answers no request; then the run fails, to be resumed.
        prompt_price: Price of a million tokens of prompt, in any currency, for the cost that is reported.
        completion_price: Price of a million tokens of answer.

    Raises:
        ValueError: A number is not positive, `base_url` is no URL, or a setting that is kept on disk holds a secret.
        InputError: The template cannot be read.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str | None = "OPENAI_API_KEY"
    template: str | None = None
    max_tokens: int = 1024
    concurrency: int = 4
    requests_per_minute: float | None = None
    timeout: float = 120.0
    patience: float = 600.0
    prompt_price: float = 0.0
    completion_price: float = 0.0

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = True
    reached_by: ClassVar[tuple[str, ...]] = (
        *("base_url", "api_key_env", "concurrency", "requests_per_minute"),
        *("timeout", "patience"),
    )
    private: ClassVar[tuple[str, ...]] = ("template",)

    def __post_init__(self) -> None:
        check_address(self.base_url)
        # The value is not shown: it may be the key itself.
        if self.api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env):
            raise ValueError("api_key_env must be the name of an environment variable, such as OPENAI_API_KEY")
        for name in ("max_tokens", "concurrency"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        for name in ("max_tokens", "concurrency", "timeout", "patience"):
            require_positive(name, getattr(self, name), "at 0 nothing would be asked")
        if self.requests_per_minute is not None:
            require_positive("requests_per_minute", self.requests_per_minute, "null does not limit")
        for name in ("prompt_price", "completion_price"):
            if getattr(self, name) != 0:
                require_positive(name, getattr(self, name), "it is the price of a million tokens")
        read_template(self.template)

    def needs_consent(self) -> Iterator[str]:
        """The key leaves this machine."""
        yield from sends_key(self.api_key_env, self.base_url)

    def on_this_machine(self) -> Iterator[str]:
        """The template's text."""
        yield read_template(self.template)

    def start(self, cache: Path) -> Judge:
        """The judge, with its key.

        Raises:
            InputError: As `connect`.
        """
        return _AskingJudge(self, self.connect(cache), read_template(self.template))

    def connect(self, cache: Path) -> Correspondence:
        """The endpoint, with its key, and its replies so far.

        Raises:
            InputError: The key's variable is not set, or holds no key; or the environment names a proxy of an unknown
                kind.
        """
        endpoint = ChatEndpoint(
            url=self.base_url,
            key=read_key(self.api_key_env, where="judge.api_key_env"),
            model=self.model,
            timeout=self.timeout,
            max_tokens=self.max_tokens,
            patience=self.patience,
            limit=RateLimit(self.requests_per_minute),
            outage=Outage(self.base_url),
            dialect=Dialect(self.model),
        )
        # Checked here, before anything expensive.
        endpoint.open().close()
        return Correspondence(endpoint=endpoint, kept=Replies(cache), concurrency=self.concurrency)

    def bill(self, replies: Iterable[Reply]) -> Bill:
        """The cost of some replies at the prices of the settings, whether they were paid for now or earlier."""
        replies = list(replies)
        prompt_tokens = sum(reply.prompt_tokens for reply in replies)
        completion_tokens = sum(reply.completion_tokens for reply in replies)
        cost = (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6
        return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "cost": cost}


@dataclass(frozen=True)
class _AskingJudge:
    """The judge at work.

    Attributes:
        settings: Its settings.
        correspondence: The endpoint.
        template: The prompt.
    """

    settings: Llm
    correspondence: Correspondence
    template: str

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        prompts = [prompt for question in questions for pair in self._prompts(question).values() for prompt in pair]
        replies = self.correspondence.replies(prompts)
        return [self._verdict(question, replies) for question in questions]

    def _prompts(self, question: Question) -> dict[tuple[int, int], tuple[Prompt, Prompt]]:
        """Each pair of different responses, asked about in both orders."""
        texts = question.responses
        return {
            (i, j): (
                Prompt(ask(self.template, question, texts[i], texts[j])),
                Prompt(ask(self.template, question, texts[j], texts[i])),
            )
            for i, j in pairs(len(texts))
            if texts[i] != texts[j]
        }

    def _verdict(self, question: Question, replies: Mapping[Prompt, Reply]) -> Verdict:
        n, prompts = len(question.responses), self._prompts(question)
        read = {pair: [_read(replies, prompt) for prompt in both] for pair, both in prompts.items()}
        better: dict[tuple[int, int], float | None] = dict.fromkeys(pairs(n), 0.5)
        for pair, (one, other) in read.items():
            better[pair] = None if one is None or other is None else 0.5 * (one + 1.0 - other)
        # Equal responses share their comparisons.
        asked = list(dict.fromkeys(prompt for both in prompts.values() for prompt in both))
        return replace(
            verdict_of_pairs(n, better),
            abstentions=sum(any(replies[prompt].refusal for prompt in both) for both in prompts.values()),
            unparsable=sum(not replies[prompt].refusal and _read(replies, prompt) is None for prompt in asked),
            **self.settings.bill(replies[prompt] for prompt in asked),
        )


def _read(replies: Mapping[Prompt, Reply], prompt: Prompt) -> float | None:
    return read_verdict(replies[prompt], prompt.user)
