"""A policy's responses to the held-out set, and estimates over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

NORMAL_QUANTILE = 1.959963984540054
"""z of a 95 % interval by the normal distribution: P(|Z| < z) = 0.95."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over held-out prompts.

    Attributes:
        mean: The mean.
        standard_error: Sample standard deviation / √n; 0 for n = 1.
        n: The number of prompts.
        interval: The 95 % interval of a rate; None for any other mean.
    """

    mean: float
    standard_error: float
    n: int
    interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The estimate from one value for each prompt."""
        n = len(values)
        mean = math.fsum(values) / n
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
        return cls(mean=mean, standard_error=math.sqrt(variance / n), n=n)

    @classmethod
    def of_rate(cls, values: Sequence[float]) -> Estimate:
        """The estimate of a rate, from one value in [0, 1] for each prompt, with its Wilson interval.

        With 0 right answers of 8 the standard error is 0, which tells nothing; the interval is [0, 0.32].
        """
        estimate = cls.of(values)
        return replace(estimate, interval=wilson(estimate.mean, estimate.n))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Estimate:
        """The estimate that `to_json` wrote."""
        ends = value.get("interval")
        interval = None if ends is None else (ends[0], ends[1])
        return cls(mean=value["mean"], standard_error=value["standard_error"], n=value["n"], interval=interval)

    def to_json(self) -> dict[str, Any]:
        """The estimate as plain numbers."""
        plain = {"mean": self.mean, "standard_error": self.standard_error, "n": self.n}
        return plain if self.interval is None else plain | {"interval": [*self.interval]}


def wilson(rate: float, n: int) -> tuple[float, float]:
    """The score interval at 95 % of a rate p over n prompts.

    With z = 1.96 it is

        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)

    It holds for values 0 and 1, such as right and wrong. Values between, such as a prompt's mean over its samples, have
    a variance of at most p(1 − p), so the interval is then wider than necessary.

    Source: Wilson 1927; the figures of Newcombe 1998 (Statistics in Medicine 17, table I, method 3).
    """
    share = NORMAL_QUANTILE**2 / n
    centre = rate + 0.5 * share
    half = math.sqrt(share * (rate * (1.0 - rate) + 0.25 * share))
    return max((centre - half) / (1.0 + share), 0.0), min((centre + half) / (1.0 + share), 1.0)


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
class Preferences:
    """Responses to a held-out prompt that the data bring, with the preferences among them.

    Attributes:
        log_ratios: `[K]` log π(y|x) − log π_base(y|x), nats.
        pairwise: `[K][K]` P_ij = P(y_i ≻ y_j | x).
    """

    log_ratios: Sequence[float]
    pairwise: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """N held-out prompts, with a policy's responses to them.

    Attributes:
        expert: N expert responses, scored under the policy; empty where the data have none.
        greedy: N greedy responses; empty where the policy does not answer held-out prompts.
        sampled: N lists of sampled responses, scored under the policy and the base model; empty like `greedy`.
        duels: By rival, N lists of a judge's preferences between the sampled responses and the rival's.
        compared: The responses with preferences that the data bring to some of the prompts.
        embed: Gives the sentence embeddings of texts; None without an embedder.
    """

    expert: Sequence[Response]
    greedy: Sequence[Response]
    sampled: Sequence[Sequence[Response]]
    duels: Mapping[str, Sequence[Sequence[Duel]]] = field(default_factory=dict)
    compared: Sequence[Preferences] = ()
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None

    def over_samples(self, value: Callable[[Response], float]) -> Estimate:
        """The mean over prompts of each prompt's mean over its samples, which are not independent."""
        return Estimate.of(self._means(value))

    def rate_over_samples(self, holds: Callable[[Response], bool]) -> Estimate:
        """The rate at which something holds: the mean over prompts of each prompt's share of samples."""
        return Estimate.of_rate(self._means(holds))

    def _means(self, value: Callable[[Response], float]) -> list[float]:
        return [math.fsum(map(value, samples)) / len(samples) for samples in self.sampled]
