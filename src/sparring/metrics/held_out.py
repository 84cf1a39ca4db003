"""What is known of a policy on the held-out set, and how a mean over it is stated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over n held-out prompts and its standard error (sample standard deviation / √n; 0 for n = 1)."""

    mean: float
    standard_error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The estimate from one value a prompt."""
        n = len(values)
        mean = math.fsum(values) / n
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
        return cls(mean=mean, standard_error=math.sqrt(variance / n), n=n)

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return {"mean": self.mean, "standard_error": self.standard_error, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response to a held-out prompt.

    `log_prob`, `log_prob_base` and `log_prob_expert` are log π(y|x) under the policy, the base model and a teacher,
    nats, where known; `right` is the verifier's verdict, where the data have a verifier.
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

    `preference` is P(the policy's is better), ½ for a tie and None without a verdict; lengths are in characters.
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
        duels: By rival, N lists of the sampled responses beside the rival's, with a judge's word on each.
        embed: Sentence embeddings of some texts, where there is an embedder.
    """

    expert: Sequence[Response]
    greedy: Sequence[Response]
    sampled: Sequence[Sequence[Response]]
    duels: Mapping[str, Sequence[Sequence[Duel]]] = field(default_factory=dict)
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None

    def over_samples(self, value: Callable[[Response], float]) -> Estimate:
        """The mean over prompts of the mean over each prompt's samples: samples of a prompt are not independent."""
        return Estimate.of([math.fsum(map(value, samples)) / len(samples) for samples in self.sampled])
