"""The loop of best responses in an exact game, and what an opponent is in it, where every policy is known in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sparring.games.newton import NoMinimiserError, minimise
from sparring.log_ratios import LogRatios
from sparring.mixture import geometric_mixture
from sparring.opponents import OPPONENTS
from sparring.policies import BASE
from sparring.registry import build
from sparring.types import Objective, Opponent, per_prompt

# An outcome of probability 1e-10 has curvature of that order, against rounding errors of 1e-17 in the gradient from the
# other outcomes: its best log-prob is resolved to 1e-7 nats. Below, a best response is no longer exact.
LOWEST_PROBABILITY = 1e-10


class ExactGame(Protocol):
    """A game on n outcomes, which turns policies into log ratios; its expectations are sums."""

    @property
    def initial(self) -> Tensor:
        """`[n]` π_0, which is also π_ref."""
        ...

    @property
    def prompt_weight(self) -> Tensor:
        """`[B]` weights of the entries of an objective's loss; they sum to one."""
        ...

    def ratios(self, log_policy: Tensor, log_opponent: Tensor, drawn: Tensor, team: Tensor | None = None) -> LogRatios:
        """The log ratios that an objective reads, differentiable in all of them, `[n]`; of a team `[J, n]`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Play:
    """A play, iteration by iteration; policy 0 is the initial one.

    Attributes:
        log_policies: `[T+1, n]` log π_t, nats.
        loss: `[T]` expected loss at each best response.
        metrics: The objective's metrics at each best response, `[T]` each, in expectation.
        stopped: Why the play ended before all its iterations, or None.
    """

    log_policies: Tensor
    loss: Tensor
    metrics: dict[str, Tensor]
    stopped: str | None

    @property
    def policies(self) -> Tensor:
        """`[T+1, n]` π_t."""
        return self.log_policies.exp()


def opponent_of(opponent: Opponent | str) -> Opponent:
    """The opponent itself, or the one of that name with its default settings."""
    return build(OPPONENTS, "opponent", opponent, {}) if isinstance(opponent, str) else opponent


def opponent_policy(opponent: Opponent, iteration: int, log_policies: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The opponent's log-probs and the distribution of its samples, from policies 0 … t, each `[n]` or `[X, n]`.

    Policy 0 is also the base model: a game has no warm-up.

    Returns:
        Log π_o as the log ratios use it (a geometric mixture leaves it unnormalised, as in training), and the
        distribution of the opponent's samples: the mean over the policies that generate, each mixed with the base model
        where the opponent asks for it. A response is one token here, so a mixture of tokens is one of responses.
    """
    spec = opponent.spec(iteration)
    known = dict(enumerate(log_policies)) | {BASE: log_policies[0]}
    scored = opponent.combine(iteration, {number: known[number] for number in spec.scorers})
    generated = [geometric_mixture(known[number], known[BASE], spec.base_share) for number in spec.generators]
    return scored, torch.stack(generated).exp().mean(0)


def team_policies(opponent: Opponent, log_policies: Sequence[Tensor]) -> Tensor | None:
    """`[J, n]` log π_j of the members of a team, from policies 0 … t; None where the opponent is one policy."""
    members = opponent.spec(len(log_policies) - 1).team
    return torch.stack([log_policies[member] for member in members]) if members else None


def expected_loss(game: ExactGame, objective: Objective, ratios: LogRatios) -> Tensor:
    """The population loss, a scalar: the weighted mean of the objective's loss over the game's prompts."""
    weight = game.prompt_weight
    return (weight * per_prompt(objective(ratios), len(weight))).sum()


def best_response(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The distribution `[n]` that minimises `loss(log π)`, as log-probabilities.

    The n − 1 coordinates are the log odds against the likeliest outcome of `start`: softmax logits without their flat
    direction. Where the loss is not convex it is the minimiser that descent from `start` reaches.

    Raises:
        NoMinimiserError: There is none.
    """
    pivot = int(start.argmax())
    odds = minimise(lambda point: loss(from_odds(point, pivot)), to_odds(start, pivot))
    return from_odds(odds, pivot)


def to_odds(log_policy: Tensor, pivot: int) -> Tensor:
    """Log odds `[n−1]` against the outcome `pivot`, from log-probabilities `[n]`."""
    return torch.cat([log_policy[:pivot], log_policy[pivot + 1 :]]) - log_policy[pivot]


def from_odds(odds: Tensor, pivot: int) -> Tensor:
    """Log-probabilities `[n]` from log odds `[n−1]` against the outcome `pivot`."""
    return torch.log_softmax(torch.cat([odds[:pivot], odds.new_zeros(1), odds[pivot:]]), dim=-1)


def play_rounds(game: ExactGame, objective: Objective, opponent: Opponent | str, iterations: int) -> Play:
    """T best responses; each descent starts from the policy before, as training does.

    Raises:
        NoMinimiserError: The first expected loss has no minimiser. A later one ends the play.
    """
    player = opponent_of(opponent)
    log_policies, stopped = [game.initial.log()], None
    losses: list[Tensor] = []
    metrics: list[dict[str, Tensor]] = []
    while len(losses) < iterations and stopped is None:
        against = (*opponent_policy(player, len(losses), log_policies), team_policies(player, log_policies))

        def loss(log_policy: Tensor, against: tuple[Tensor, Tensor, Tensor | None] = against) -> Tensor:
            return expected_loss(game, objective, game.ratios(log_policy, *against))

        try:
            best = best_response(loss, log_policies[-1])
        except NoMinimiserError as error:
            if not losses:
                raise
            stopped = f"iteration {len(losses)} has no best response: {error}"
            break
        output = objective(game.ratios(best, *against))
        log_policies.append(best)
        losses.append((game.prompt_weight * output.loss).sum())
        metrics.append({name: (game.prompt_weight * value).sum() for name, value in output.metrics.items()})
        lowest = float(best.exp().min())
        if lowest < LOWEST_PROBABILITY:
            stopped = f"an outcome's probability fell to {lowest:.0e}; below 1e-10 a best response is not resolved"
    return Play(
        log_policies=torch.stack(log_policies),
        loss=torch.stack(losses) if losses else torch.empty(0, dtype=torch.float64),
        metrics={name: torch.stack([values[name] for values in metrics]) for name in (metrics[0] if metrics else {})},
        stopped=stopped,
    )
