"""A local language model that prefers A or B, asked in both orders."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sparring import models
from sparring.data import PromptTemplate
from sparring.examples import Example
from sparring.judges.local import LocalModel, check_known
from sparring.judges.protocol import Judge, Question, Verdict, pairs, verdict_of_pairs
from sparring.judges.template import ask, read_template


@dataclass(frozen=True, kw_only=True)
class Pairwise(LocalModel):
    """Compares two responses by a local model's probability of A against B after "Verdict:", in both orders.

    P(y_i ≻ y_j) = ½[p(A | i, j) + p(B | j, i)]. Language models favour a position, the first or the second; averaged
    over both orders, a mere preference for a position becomes ½.

    Reading probabilities takes one forward pass for each order, and no answer is unreadable. The judge abstains from a
    comparison that is longer than `max_tokens`, or whose probability is not a number.

    Source: language models as judges with swapped positions, arXiv 2306.05685; reading the two tokens' probabilities
    is a common variant of it.

    Attributes:
        model: A local folder or a Hugging Face id of a causal language model.
        revision: Branch, tag or commit of a Hugging Face id.
        template: A text file with `{prompt}`, `{first}` and `{second}`; by default the one of the judge `llm`.
        max_tokens: The longest comparison that is read, if the model's context is not shorter.
        dtype: Number format of the weights: `float32`, `bfloat16`, `float16`, or `auto` as they were saved.
        device: `auto`, `cpu`, `cuda` or `mps`.
        template_options: Variables of the model's chat template; in a run, those of `data.template_options` that it
            reads are set too.
        time: The time that the chat template sees, in ISO 8601; None for the run's own, or the time of rendering.

    Raises:
        ValueError: `max_tokens` is not positive, or the dtype or device is unknown.
        InputError: The template cannot be read.
    """

    template: str | None = None
    max_tokens: int = 4096

    private: ClassVar[tuple[str, ...]] = ("template",)

    def __post_init__(self) -> None:
        super().__post_init__()
        read_template(self.template)

    def on_this_machine(self) -> Iterator[str]:
        """The template's text, and the model's folder."""
        yield read_template(self.template)
        yield from super().on_this_machine()

    def start(self, cache: Path) -> Judge:
        """The judge, with the model loaded."""
        tokenizer = models.load_tokenizer(self.source)
        model = models.load_model(self.source)
        a, b = (tokenizer(f"Verdict: {letter}", add_special_tokens=False).input_ids for letter in "AB")
        common = next(k for k, (one, other) in enumerate(zip(a, b, strict=False)) if one != other)
        return _ComparingJudge(
            limit=self.limit(model, tokenizer),
            model=model,
            chat=self.chat(tokenizer),
            opening=a[:common],
            letters=[a[common], b[common]],
            template=read_template(self.template),
        )


@dataclass(frozen=True, kw_only=True)
class _ComparingJudge:
    """The judge at work.

    Attributes:
        limit: The longest comparison, in tokens.
        model: The model.
        chat: The model's chat template.
        opening: The token ids that the model's answer is made to begin with.
        letters: The tokens A and B that may follow.
        template: The prompt.
    """

    limit: int
    model: Any
    chat: PromptTemplate
    opening: list[int]
    letters: list[int]
    template: str

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        return [self._verdict(question) for question in questions]

    def _verdict(self, question: Question) -> Verdict:
        n = len(question.responses)
        better = {(i, j): self._prefers(question, *(question.responses[k] for k in (i, j))) for i, j in pairs(n)}
        return verdict_of_pairs(n, better)

    def _prefers(self, question: Question, one: str, other: str) -> float | None:
        if one == other:
            return 0.5
        shown_first, shown_second = self._first_wins(question, one, other), self._first_wins(question, other, one)
        return None if shown_first is None or shown_second is None else 0.5 * (shown_first + 1.0 - shown_second)

    def _first_wins(self, question: Question, first: str, second: str) -> float | None:
        """The probability of A against B as the next token."""
        import torch

        asked = self._encode(ask(self.template, question, first, second))
        if asked is None or len(asked) + len(self.opening) > self.limit:
            return None
        ids = [*asked, *self.opening]
        check_known(self.model, self.chat.tokenizer, ids)
        with torch.inference_mode():
            logits = self.model(torch.tensor([ids], device=self.model.device), logits_to_keep=1).logits[0, -1]
        probability: float = logits[self.letters].float().softmax(0)[0].item()
        # A model whose numbers overflow gives no verdict.
        return None if math.isnan(probability) else probability

    def _encode(self, text: str) -> list[int] | None:
        """The prompt; None where the text of a special token in it cannot be told from the token itself."""
        written = self.chat.render([{"role": "user", "content": text}]) if self.chat.chat else f"{text}\n"
        return self.chat.prompt_ids([Example(index=0, prompt=text)], [written])[0]
