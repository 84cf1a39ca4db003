"""A policy's responses to the held-out set, and estimates over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over held-out prompts.

    Attributes:
        mean: The mean.
        standard_error: Sample standard deviation / √n; 0 for n = 1.
        n: The number of prompts.
    """

    mean: float
    standard_error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The estimate from one value for each prompt."""
        n = len(values)
        mean = math.fsum(values) / n
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
        return cls(mean=mean, standard_error=math.sqrt(variance / n), n=n)

    def to_json(self) -> dict[str, float]:
        """The estimate as plain numbers."""
        return {"mean": self.mean, "standard_error": self.standard_error, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response to a held-out prompt.

    Attributes:
        text: The response.
        tokens: Its length.
        finish_reason: As in `Sample`.
        log_prob: log π(y|x) under the policy, nats, where known.
        log_prob_base: The same under the base model.
        log_prob_expert: The same under a teacher.
        right: The verifier's verdict, where the data have a verifier.
    """

    text: str
    tokens: int
    finish_reason: str
    log_prob: float | None = None
    log_prob_base: float | None = None
    log_prob_expert: float | None = None
    right: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Duel:
    """A policy's response beside a rival's to the same prompt.

    Attributes:
        preference: P(the policy's is better), ½ for a tie; None without a verdict.
        length: Characters of the policy's response.
        rival_length: Characters of the rival's.
    """

    preference: float | None
    length: int
    rival_length: int


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """N held-out prompts, with a policy's responses to them.

    Attributes:
        expert: N expert responses, scored under the policy; none where the data have none.
        greedy: N greedy responses.
        sampled: N lists of sampled responses, scored under the policy and the base.
        duels: By rival, N lists of the sampled responses beside the rival's, with a judge's preference.
        embed: Sentence embeddings of some texts, where there is an embedder.
    """

    expert: Sequence[Response]
    greedy: Sequence[Response]
    sampled: Sequence[Sequence[Response]]
    duels: Mapping[str, Sequence[Sequence[Duel]]] = field(default_factory=dict)
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None

    def over_samples(self, value: Callable[[Response], float]) -> Estimate:
        """The mean over prompts of each prompt's mean over its samples, which are not independent."""
        return Estimate.of([math.fsum(map(value, samples)) / len(samples) for samples in self.sampled])
