"""Statement 6: self-play on an imitation objective is the reward player's move in adversarial imitation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games.random_games import FEW, distribution, imitation_games
from sparring.games import ImitationGame
from sparring.games.adversarial import PAYOFFS, free_value, policy_value
from sparring.games.players import best_response, expected_loss
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES

# Objective, settings of its divergence, and c in loss = constant − c · payoff.
GAMES = [
    ("spin", {"link": "logistic"}, 1.0),
    ("spin", {"link": "exponential"}, 1.0),
    ("spin", {"link": "squared"}, 0.5),
    ("spif", {"reward_bound": 0.5}, 0.5),
    ("spif", {"reward_bound": 3.0}, 3.0),
    ("space", {"mu": 1.0}, 2.0),
    ("space", {"mu": 0.3}, 1.3),
    *[
        ("f-divergence", {"divergence": name}, 1.0)
        for name in ("kl", "reverse_kl", "js", "pearson", "neyman", "squared_hellinger")
    ],
    ("renyi", {"alpha": 0.5}, 1.0),
    ("renyi", {"alpha": 2.0}, 1.0),
]
ALL_GAMES = pytest.mark.parametrize(("name", "options", "scale"), GAMES)
P, Q = distribution(4, 10), distribution(4, 11)


def kl(p, q):
    return float((p * (p / q).log()).sum())


def pairs(p, q):
    return p.outer(q).flatten(), q.outer(p).flatten()


def mixture(p, q):
    return 0.5 * (p + q)


def exact_divergence(name, options, p, q):
    """The divergence that each game's value is known to be, from its textbook definition."""
    a, b = pairs(p, q)
    table = {
        "logistic": lambda: kl(a, mixture(a, b)),  # the pairs' two halves mirror each other, so KL(P‖M) is JS
        "exponential": lambda: 0.5 * float((a.sqrt() - b.sqrt()).square().sum()),
        "squared": lambda: float(((a - mixture(a, b)).square() / mixture(a, b)).sum()),
        "kl": lambda: kl(p, q),
        "reverse_kl": lambda: kl(q, p),
        "js": lambda: 0.5 * kl(p, mixture(p, q)) + 0.5 * kl(q, mixture(p, q)),
        "pearson": lambda: float(((p - q).square() / q).sum()),
        "neyman": lambda: float(((p - q).square() / p).sum()),
        "squared_hellinger": lambda: 0.5 * float((p.sqrt() - q.sqrt()).square().sum()),
    }
    if name == "spif":
        return float(((p - mixture(p, q)).square() / mixture(p, q)).sum())
    if name == "space":
        mu = options["mu"]
        mixed = (p + mu * q) / (1 + mu)
        return (kl(p, mixed) + mu * kl(q, mixed)) / (1 + mu)
    if name == "renyi":
        alpha = options["alpha"]
        return float((p**alpha * q ** (1 - alpha)).sum().log()) / (alpha * (alpha - 1))
    return table[options.get("link", options.get("divergence"))]()


@ALL_GAMES
def test_over_free_rewards_the_value_is_the_exact_divergence(name, options, scale):
    value = free_value(PAYOFFS[name](**options), P, Q).value
    if options.get("link") == "squared":
        # The optimal t = tanh((u(y) − u(y'))/2), u = log π_E/π_o, is no difference of rewards: a bound, not reached.
        assert 0.9 < value / exact_divergence(name, options, P, Q) < 1 - 1e-4
        return
    assert value == pytest.approx(exact_divergence(name, options, P, Q), rel=1e-9)


@ALL_GAMES
def test_the_objective_reaches_that_value_at_the_reward_players_optimum(name, options, scale):
    """Fed r*/β as if it were a log ratio, the objective certifies the whole divergence, and cannot be lowered."""
    game, beta, n = free_value(PAYOFFS[name](**options), P, Q), 0.7, len(P)
    ratio = (game.reward / beta).requires_grad_()
    output = OBJECTIVES[name](beta=beta, **options)(
        LogRatios(expert=ratio, generated=ratio.expand(n, n), expert_weight=P, generated_weight=Q.expand(n, n))
    )
    assert float(P @ output.metrics["divergence_estimate"]) == pytest.approx(game.value, rel=1e-9)
    (gradient,) = torch.autograd.grad(P @ output.loss, ratio)
    assert gradient.abs().max() < 1e-11


@ALL_GAMES
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_self_play_reaches_the_value_over_the_rewards_that_a_policy_can_be(name, options, scale, beta):
    constrained = policy_value(PAYOFFS[name](**options), P, Q, beta)
    play = ImitationGame(expert=P, initial=Q).play(OBJECTIVES[name](beta=beta, **options), iterations=1)
    assert float(play.metrics["divergence_estimate"][0]) == pytest.approx(constrained.value, rel=1e-9)
    assert torch.allclose(beta * (play.log_policies[1] - Q.log()), constrained.reward, atol=1e-8)


@ALL_GAMES
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_bound_is_tight_exactly_where_the_optimal_reward_is_a_normalised_log_ratio(name, options, scale, beta):
    payoff = PAYOFFS[name](**options)
    free, constrained = free_value(payoff, P, Q).value, policy_value(payoff, P, Q, beta).value
    shift_free = name in {"spin", "renyi"}  # a constant added to r changes nothing: any reward can be normalised
    tight = shift_free or (name in {"space", "f-divergence"} and beta == 1.0)
    assert (free - constrained < 1e-10) == tight
    assert free - constrained > -1e-12


@ALL_GAMES
def test_the_gradients_agree_at_the_implicit_reward(name, options, scale):
    beta = 0.6
    logits = distribution(4, 12).log().requires_grad_()
    log_policy = torch.log_softmax(logits, -1)
    game = ImitationGame(expert=P, initial=Q)
    loss = expected_loss(game, OBJECTIVES[name](beta=beta, **options), game.ratios(log_policy, Q.log(), Q))
    value = PAYOFFS[name](**options)(beta * (log_policy - Q.log()), P, Q)
    (of_loss,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (of_value,) = torch.autograd.grad(value, logits)
    assert torch.allclose(of_loss, -scale * of_value, atol=1e-12, rtol=0)
    assert of_loss.abs().max() > 1e-4


@FEW
@given(imitation_games(), st.floats(0.1, 5.0))
def test_training_the_reward_is_the_policy_players_move(game, beta):
    """The policy that maximises E_π[r] − β KL(π‖π_o) is π_o e^{r/β}, whose implicit reward is r again."""
    reward = 2.0 * distribution(len(game.expert), 3)
    log_opponent = game.initial.log()

    def loss(log_policy):
        policy = log_policy.exp()
        return -(policy * reward).sum() + beta * (policy * (log_policy - log_opponent)).sum()

    best = best_response(loss, log_opponent)
    implied = beta * (best - log_opponent) - reward
    assert implied.max() - implied.min() < 1e-8
