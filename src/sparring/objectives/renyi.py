"""The variational bound of the Rényi divergence, over a whole batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.log_ratios import LogRatios
from sparring.objectives.rewards import density_ratio_rewards, implicit_rewards, require_stake, reward_metrics
from sparring.types import Objective, ObjectiveOutput, StabilityNumber

ADAPTIVE = "adaptive"
_NEAREST = 0.01
# The variance of the rewards' own noise, nats²: far above fp32's rounding, far below what samples differ by. It decides
# where all rewards are equal, and every α with them.
_NOISE = 1e-4
_BISECTIONS = 30


@dataclass(frozen=True, kw_only=True)
class Renyi(Objective):
    """Minus the variational bound on the Rényi divergence: −1/(α−1) log E_E[e^{(α−1)r}] + 1/α log E_o[e^{αr}], r = βΔ.

    The expectations run over the whole batch: over the prompts for π_E, over prompts and samples for π_o; every entry
    of the loss `[B]` holds the one value. At α = 1 and α = 0 the term that would divide by zero is its limit, the mean
    of r: α = 1 is the Donsker–Varadhan bound −E_E[r] + log E_o[e^r] of KL(π_E‖π_o), α = 0 the same of KL(π_o‖π_E).

    `divergence_estimate` = −loss bounds R_α = log Σ π_E^α π_o^{1−α} / (α(α−1)) from below; the Rényi divergence as
    most write it is α R_α. The optimum is r* = log π_E/π_o plus any constant, for every α.

    Source: Birrell et al., "Variational representations and neural network estimation of Rényi divergences", SIAM J.
    Math. Data Sci. 2021, for the bound. That self-play on it is the regime of IRIS (arXiv 2604.20933) is our reading
    of that paper's abstract. Its schedule for α, by the gap between the two distributions, could not be read; the
    `adaptive` α here is another one, derived here.

    With alpha `adaptive` every batch has its own α: the one at which the weights e^{(α−1)r} of the expert's responses
    and e^{αr} of the generated ones are equally concentrated, see `balanced_alpha`. No gradient flows through it, and
    the metric `alpha` reports it. Every α has the same optimum, so the exact iteration and its rate stay as they are.
    Only the gradient is taken at the chosen α: the value, and with it `divergence_estimate`, is that at α = ½, so that
    the values of different batches can be compared. In play on samples it was not seen to do better than a fixed ½,
    which is also what it comes to at the optimum.

    Since a constant is free, a policy attains the optimum at any β: π_{t+1} ∝ π_t (π_E/π_t)^{1/β} exactly. It
    converges for β > ½, in one step at β = 1, and diverges for β < ½.

    Degenerate cases: a logarithm of a mean over few samples is biased, so the loss of a batch is not the mean of the
    losses of its halves: gradient accumulation and several devices change the objective, and a batch of one prompt
    with K = 1 gives r_k − r_E whatever α is. For α outside [0, 1] the loss is not convex in r.

    Attributes:
        beta: β, the scale of the implicit reward r = βΔ.
        alpha: α, or `adaptive`. The default ½ treats both sides alike, is convex, and has the smallest exponents.

    Raises:
        ValueError: β is not a finite positive number; α is not finite, or so near to 0 or 1 without being it that the
            division loses its digits.
    """

    beta: float = 1.0
    alpha: float | str = 0.5

    requires: ClassVar[frozenset[str]] = frozenset({"expert", "generated"})

    def __post_init__(self) -> None:
        require_stake(self.beta)
        if self.alpha == ADAPTIVE:
            return
        if not isinstance(self.alpha, int | float) or isinstance(self.alpha, bool) or not math.isfinite(self.alpha):
            raise ValueError(f"alpha must be a finite number or '{ADAPTIVE}', got {self.alpha!r}")
        for limit in (0, 1):
            if 0 < abs(self.alpha - limit) < _NEAREST:
                raise ValueError(
                    f"alpha {self.alpha!r} is so near {limit} that dividing by the difference loses digits; "
                    f"take {limit}, the limit"
                )

    @property
    def couples_prompts(self) -> bool:
        """The expectations run over the whole batch."""
        return True

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The batch's loss, `[B]` times the same, and its metrics; see the class."""
        expert, generated = implicit_rewards(ratios, self.beta)
        of_prompt = torch.full_like(expert, 1.0 / len(expert)) if ratios.expert_weight is None else ratios.expert_weight
        of_sample = ratios.generated_weight
        if of_sample is None:
            of_sample = torch.full_like(generated, 1.0 / generated.shape[-1])
        joint = of_prompt.unsqueeze(-1) * of_sample

        def value(alpha: float) -> Tensor:
            return _cumulant(alpha, generated, joint) - _cumulant(alpha - 1.0, expert, of_prompt)

        if isinstance(self.alpha, str):
            alpha = balanced_alpha(expert, of_prompt, generated, joint)
            chosen = value(alpha)
            loss = (chosen + (value(0.5) - chosen).detach()).expand(len(expert))
        else:
            alpha, loss = self.alpha, value(self.alpha).expand(len(expert))
        metrics = {"alpha": torch.full_like(expert, alpha).detach(), "divergence_estimate": -loss.detach()}
        return ObjectiveOutput(loss=loss, metrics=reward_metrics(ratios, expert, generated) | metrics)

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """r* = u, for every α. The logarithm of a mean makes the estimate biased, by O(1/n) in the batch of n."""
        return density_ratio_rewards(density_ratios, self.beta)

    @property
    def stability(self) -> StabilityNumber:
        """β and its step exponent 1/β."""
        return StabilityNumber(symbol="β", value=self.beta, step_exponent=1.0 / self.beta, cure="raise β")


@torch.no_grad()
def balanced_alpha(expert: Tensor, of_expert: Tensor, generated: Tensor, of_generated: Tensor) -> float:
    """The α in (0, 1) at which both sides keep the same effective share of their samples.

    With weights e^{s r} of mean one under p, Kish's effective share is 1/E[(weight)²] = E[e^{sr}]²/E[e^{2sr}]; its
    logarithm, 2 K(s) − K(2s) with the convex K(s) = log E[e^{sr}], falls with |s|. On the generated side s = α, on the
    expert's s = α − 1: the first falls in α, the second rises, so they meet once, and there the smaller of the two is
    largest. For small rewards that is at α = σ_E/(σ_E + σ_o), with the standard deviations of the rewards; at the
    optimum, r = log π_E/π_o + const, it is ½ for any two distributions, as e^{−r} π_E and e^r π_o then sum to the same.

    Args:
        expert: Rewards of the expert's responses, any shape.
        of_expert: Their probability weights.
        generated: Rewards of the generated ones, any shape.
        of_generated: Their probability weights.
    """
    expert, generated = expert.double(), generated.double()
    low, high = _NEAREST, 1.0 - _NEAREST
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        ahead = _effective(middle, generated, of_generated) - _effective(middle - 1.0, expert, of_expert)
        low, high = (middle, high) if ahead + _NOISE * (1.0 - 2.0 * middle) > 0.0 else (low, middle)
    return high


def _effective(scale: float, reward: Tensor, weight: Tensor) -> float:
    """Log of the effective share of samples under the weights e^{s r}, at most 0."""
    log_weight = weight.double().log()
    single, double = ((s * reward + log_weight).flatten().logsumexp(0) for s in (scale, 2.0 * scale))
    return float(2.0 * single - double)


def _cumulant(scale: float, reward: Tensor, weight: Tensor) -> Tensor:
    """1/s log E[e^{s r}] over all entries, a scalar; E[r] at s = 0, its limit. Weights of zero drop out."""
    if scale == 0.0:
        return (weight * reward).sum()
    return (scale * reward + weight.log()).flatten().logsumexp(0) / scale
