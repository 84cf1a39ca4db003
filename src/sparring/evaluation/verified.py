"""The rate of a model's right answers to prompts, by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparring.data import Verifier, is_right
from sparring.evaluation.answering import LoadedModel, answer
from sparring.examples import Example
from sparring.generation import generation_config
from sparring.metrics import Estimate


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The verdicts of a rule on one greedy answer to each prompt.

    Attributes:
        right: The rate of right answers, with its Wilson interval.
        cut: The share of answers that were cut at the limit.
    """

    right: Estimate
    cut: float


def verify(
    loaded: LoadedModel, examples: Sequence[Example], verifier: Verifier, *, max_tokens: int, title: str
) -> Verified:
    """Answers each prompt greedily, and compares with its reference answer.

    Args:
        loaded: The model.
        examples: N ≥ 1 prompts, each with a reference answer.
        verifier: The rule.
        max_tokens: The limit of an answer, in tokens.
        title: Names the model while it answers.

    Raises:
        InputError: As `answer`.
    """
    prompts = [example.prompt if example.messages is None else example.messages for example in examples]
    samples = answer(loaded, prompts, generation_config().greedy(), max_tokens=max_tokens, seed=0, title=title)
    verdicts = [
        bool(is_right(verifier, sample.text, example.reference_answer))
        for sample, example in zip(samples, examples, strict=True)
    ]
    cut = sum(sample.finish_reason != "stop" for sample in samples)
    return Verified(right=Estimate.of_rate(verdicts), cut=cut / len(samples))
