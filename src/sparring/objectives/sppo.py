"""SPPO: self-play on a judge's preferences, by multiplicative weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.objectives.pairs import PAIRS
from sparring.preferred import best_and_worst
from sparring.registry import require_one_of, require_positive
from sparring.types import Objective, ObjectiveOutput


@dataclass(frozen=True, kw_only=True)
class Sppo(Objective):
    """Regression of the log ratio on the win rate: ½ mean_k (Δ_k − η(P_k − ½))², with P_k = P(y_k ≻ π_o | x).

    In the game of two policies with pay-off P(π ≻ π'), multiplicative weights play π_{t+1} ∝ π_t exp(η P(·≻π_t)),
    that is Δ(y) = η P(y) − log Z; the loss takes log Z ≈ η/2. Over all distributions its minimiser solves
    Δ(y) + ν e^{Δ(y)} = η(P(y) − ½) with one multiplier ν for the normalisation.

    Source: SPPO, arXiv 2405.00675, equation 4.4; `best-worst` as its released code trains.

    There is no expert, hence no stability number. A fixed point has P(y) = ½ for every response, but where
    preferences are cyclic (rock–paper–scissors) the last iterate spirals out and only the average converges; a
    `reverse-kl` regularizer cures that (RSPO, arXiv 2503.00030). Where all P_k are ½ the loss only holds the policy
    at π_o, and at Δ = 0 its gradient is zero.

    Attributes:
        eta: η, the step: one exact iteration moves a response's Δ by at most η/2 nats from the mean, and so the log
            ratio of two responses by at most η. The published run takes η = 1000 and stops long before it gets there;
            the default 1 is a step that an iteration can finish, and at which RSPO's last iterate converges.
        pairs: `all` averages over every sample, `best-worst` over the two with the highest and the lowest P; samples
            that tie share the place, those of weight zero have none.

    Raises:
        ValueError: η is not a finite positive number, or `pairs` is unknown.
    """

    eta: float = 1.0
    pairs: str = "all"

    requires: ClassVar[frozenset[str]] = frozenset({"generated", "preference"})

    def __post_init__(self) -> None:
        require_positive("eta", self.eta, "η is the step towards the preferred responses")
        require_one_of("pairs", self.pairs, PAIRS)

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss `[B]` and its metrics: means over the samples of Δ, of P, and of |Δ − η(P − ½)|.

        `loss/normalized` is the loss over ½(η/2)², its value at Δ = 0 where every P is 0 or 1: a number that η does not
        change. With decided preferences it is 1 before anything is learnt, and 0 at the target. With undecided ones
        there is less to learn: at Δ = 0 it equals `preferences/decided`, mean_k (2P_k − 1)² over the samples of the
        loss.
        """
        log_ratio, preference = ratios.require("generated"), ratios.require("preference")
        residual = log_ratio - self.eta * (preference - 0.5)
        loss = self._mean(ratios, 0.5 * residual.square())
        metrics = {
            "loss/normalized": 8.0 * loss.detach() / self.eta**2,
            "preferences/decided": self._mean(ratios, (2.0 * preference.detach() - 1.0).square()),
            "log_ratios/generated": ratios.mean_over_samples(log_ratio.detach()),
            "preferences/generated": ratios.mean_over_samples(preference.detach()),
            "residuals/generated": ratios.mean_over_samples(residual.detach().abs()),
        }
        return ObjectiveOutput(loss=loss, metrics=metrics)

    def _mean(self, ratios: LogRatios, value: Tensor) -> Tensor:
        """The mean over the samples that `pairs` takes: `[B, K]` → `[B]`."""
        if self.pairs == "all":
            return ratios.mean_over_samples(value)
        best, worst = best_and_worst(ratios)
        return (0.5 * (best + worst) * value).sum(dim=-1)
