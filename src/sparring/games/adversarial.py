"""The adversarial-imitation game that each imitation objective plays, written as the reward player sees it.

The reward player picks a reward r `[n]` and is paid `payoff(r)`; the value of the game at the opponent π_o is its
supremum over all rewards, a divergence between π_E and π_o. Nothing here calls an objective: payoffs are written
in terms of rewards and probabilities, so that comparing the two tests both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sparring.games.newton import NoMinimiserError, minimise

Payoff = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The payoff of a reward, from the reward, π_E and π_o, `[n]` each."""


def spin_payoff(link: str = "logistic") -> Payoff:
    """The payoff of `spin`: E g(r(y) − r(y')), y ~ π_E, y' ~ π_o, at most a divergence of (y, y') and (y', y).

    `logistic` g = log 2 + log σ(t), Jensen–Shannon; `exponential` g = 1 − e^−t, squared Hellinger; `squared`
    g = 1 − (t − 1)², χ² to the mixture of the two, not attained for n > 2: its optimal t is no difference of rewards.
    """
    gains: dict[str, Callable[[Tensor], Tensor]] = {
        "logistic": lambda t: functional.logsigmoid(t) + math.log(2.0),
        "exponential": lambda t: 1.0 - torch.exp(-t),
        "squared": lambda t: 1.0 - (t - 1.0).square(),
    }
    gain = gains[link]

    def payoff(reward: Tensor, expert: Tensor, opponent: Tensor) -> Tensor:
        return expert @ gain(reward.unsqueeze(1) - reward.unsqueeze(0)) @ opponent

    return payoff


def spif_payoff(reward_bound: float) -> Payoff:
    """The payoff of `spif`: (E_E[r] − E_o[r])/R − (E_E[r²] + E_o[r²])/(2R²), at most χ²(π_E ‖ ½(π_E + π_o))."""

    def payoff(reward: Tensor, expert: Tensor, opponent: Tensor) -> Tensor:
        scaled = reward / reward_bound
        return (expert - opponent) @ scaled - 0.5 * (expert + opponent) @ scaled.square()

    return payoff


def space_payoff(mu: float = 1.0) -> Payoff:
    """The payoff of `space`: a classifier's log-likelihood at prior odds 1 : μ, less that of chance.

    It is at most a weighted Jensen–Shannon divergence. The posterior that y is the expert's is D = 1/(1 + μe^−r).
    """
    share = 1.0 / (1.0 + mu)
    chance = share * math.log(share) + (1.0 - share) * math.log1p(-share)

    def payoff(reward: Tensor, expert: Tensor, opponent: Tensor) -> Tensor:
        logit = reward - math.log(mu)
        likelihood = expert @ functional.logsigmoid(logit) + mu * opponent @ functional.logsigmoid(-logit)
        return likelihood * share - chance

    return payoff


def f_divergence_payoff(divergence: str = "js") -> Payoff:
    """The payoff of `f-divergence`: E_E[f'(u)] − E_o[u f'(u) − f(u)] with u = e^r.

    It is Fenchel's bound of Σ π_o f(π_E/π_o) at the witness f'(u); f is that of the textbooks, with f(1) = 0.
    """
    functions: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "kl": (lambda u: u * u.log(), lambda u: 1.0 + u.log()),
        "reverse_kl": (lambda u: -u.log(), lambda u: -1.0 / u),
        "js": (
            lambda u: 0.5 * (u * u.log() - (1.0 + u) * (0.5 * (1.0 + u)).log()),
            lambda u: 0.5 * (2.0 * u / (1.0 + u)).log(),
        ),
        "pearson": (lambda u: (u - 1.0).square(), lambda u: 2.0 * (u - 1.0)),
        "neyman": (lambda u: (1.0 - u).square() / u, lambda u: 1.0 - u.pow(-2)),
        "squared_hellinger": (lambda u: 0.5 * (u.sqrt() - 1.0).square(), lambda u: 0.5 * (1.0 - u.rsqrt())),
    }
    f, slope = functions[divergence]

    def payoff(reward: Tensor, expert: Tensor, opponent: Tensor) -> Tensor:
        ratio = reward.exp()
        return expert @ slope(ratio) - opponent @ (ratio * slope(ratio) - f(ratio))

    return payoff


def renyi_payoff(alpha: float = 0.5) -> Payoff:
    """The payoff of `renyi`: 1/(α−1) log E_E[e^{(α−1)r}] − 1/α log E_o[e^{αr}], α ∉ {0, 1}.

    It is at most log Σ π_E^α π_o^{1−α} / (α(α−1)).
    """

    def payoff(reward: Tensor, expert: Tensor, opponent: Tensor) -> Tensor:
        of_expert = (expert * ((alpha - 1.0) * reward).exp()).sum().log() / (alpha - 1.0)
        return of_expert - (opponent * (alpha * reward).exp()).sum().log() / alpha

    return payoff


PAYOFFS: dict[str, Callable[..., Payoff]] = {
    "spin": spin_payoff,
    "spif": spif_payoff,
    "space": space_payoff,
    "f-divergence": f_divergence_payoff,
    "renyi": renyi_payoff,
}


@dataclass(frozen=True, kw_only=True)
class GameValue:
    """The best payoff of the reward player.

    Attributes:
        value: The payoff.
        reward: `[n]`, a reward that earns it.
    """

    value: float
    reward: Tensor


def free_value(payoff: Payoff, expert: Tensor, opponent: Tensor) -> GameValue:
    """The supremum over all rewards `[n]`, by Newton's method from r = 0.

    Every payoff is concave in r, or in a monotone function of each r(y) (Fenchel's witness f'(e^r)), so that its only
    stationary point is the maximum; `renyi` is concave for 0 < α < 1.

    A payoff that ignores a constant in r gets the reward that is zero at the opponent's likeliest outcome.
    """
    pivot = int(opponent.argmax())
    ignores_constants = _ignores_constants(payoff, expert, opponent)

    def reward_of(point: Tensor) -> Tensor:
        return torch.cat([point[:pivot], point.new_zeros(1), point[pivot:]]) if ignores_constants else point

    size = len(expert) - 1 if ignores_constants else len(expert)
    start = torch.zeros(size, dtype=torch.float64)
    reward = reward_of(minimise(lambda point: -payoff(reward_of(point), expert, opponent), start))
    return GameValue(value=float(payoff(reward, expert, opponent)), reward=reward)


def _ignores_constants(payoff: Payoff, expert: Tensor, opponent: Tensor) -> bool:
    zero = torch.zeros_like(expert)
    difference = payoff(zero + 1.0, expert, opponent) - payoff(zero, expert, opponent)
    return abs(float(difference)) < 1e-12


def policy_value(payoff: Payoff, expert: Tensor, opponent: Tensor, beta: float) -> GameValue:
    """The supremum over the implicit rewards of policies: Σ π_o e^{r/β} = 1, so that π = π_o e^{r/β} is a distribution.

    The constraint is solved for the reward of one outcome, and Newton's method descends in the others, with no policy
    and no softmax. Outside the constraint's domain the logarithm is not a number, and the line search turns back. With
    β ≠ 1 `f-divergence` can have several local optima, so it starts both from the free optimum made feasible and from
    r = 0, where self-play starts, and keeps the better.

    Raises:
        NoMinimiserError: Neither start converges.
    """
    free = free_value(payoff, expert, opponent).reward
    feasible = free - beta * torch.logsumexp(opponent.log() + free / beta, dim=0)
    found: list[GameValue] = []
    for start in (feasible, torch.zeros_like(free)):
        try:
            reward = _best_feasible(payoff, expert, opponent, beta, start)
        except NoMinimiserError:
            continue
        found.append(GameValue(value=float(payoff(reward, expert, opponent)), reward=reward))
    if not found:
        raise NoMinimiserError("Newton's method found no best reward among the implicit rewards of policies")
    return max(found, key=lambda game: game.value)


def _best_feasible(payoff: Payoff, expert: Tensor, opponent: Tensor, beta: float, start: Tensor) -> Tensor:
    pivot = int((opponent.log() + start / beta).argmax())
    others = torch.cat([opponent[:pivot], opponent[pivot + 1 :]])

    def reward_of(point: Tensor) -> Tensor:
        left = 1.0 - (others * (point / beta).exp()).sum()
        return torch.cat([point[:pivot], beta * (left / opponent[pivot]).log().reshape(1), point[pivot:]])

    free_part = torch.cat([start[:pivot], start[pivot + 1 :]])
    return reward_of(minimise(lambda point: -payoff(reward_of(point), expert, opponent), free_part))
