"""Every objective against its formula, worked out by hand or in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.log_ratios import LogRatios
from sparring.objectives import FDivergence, Renyi, Sft, Space, Spif, Spin, TSpin

POINTS = settings(max_examples=25, deadline=None)
nats = st.floats(-5, 5, allow_nan=False)


def ratios(expert: float, *generated: float) -> LogRatios:
    return LogRatios(
        expert=torch.tensor([expert], dtype=torch.float64), generated=torch.tensor([generated], dtype=torch.float64)
    )


LINKS = {
    "logistic": lambda t: math.log1p(math.exp(-t)),
    "hinge": lambda t: max(0.0, 1.0 - t),
    "exponential": lambda t: math.exp(-t),
    "linear": lambda t: -t,
    "squared": lambda t: (t - 1.0) ** 2 / 2.0,
}


@pytest.mark.parametrize("link", LINKS)
@POINTS
@given(expert=nats, first=nats, second=nats)
def test_spin(link: str, expert: float, first: float, second: float) -> None:
    output = Spin(beta=0.5, link=link)(ratios(expert, first, second))
    expected = sum(LINKS[link](0.5 * (expert - value)) for value in (first, second)) / 2
    assert output.loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_spin_exponential_goes_on_by_its_tangent() -> None:
    delta = torch.tensor([-60.0], dtype=torch.float64, requires_grad=True)
    loss = Spin(link="exponential")(LogRatios(expert=delta, generated=torch.zeros(1, 1, dtype=torch.float64))).loss
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.exp(50.0) * 11.0)
    assert delta.grad.item() == pytest.approx(-math.exp(50.0))


@POINTS
@given(expert=nats, first=nats, second=nats, bound=st.floats(0.1, 10))
def test_spif_is_least_squares(expert: float, first: float, second: float, bound: float) -> None:
    loss = Spif(beta=0.5, reward_bound=bound)(ratios(expert, first, second)).loss.item()
    r, rewards = 0.5 * expert, (0.5 * first, 0.5 * second)
    bracket = r - sum(rewards) / 2 - (r**2 + sum(value**2 for value in rewards) / 2) / (2 * bound)
    squares = ((r - bound) ** 2 + sum((value + bound) ** 2 for value in rewards) / 2) / (2 * bound) - bound
    assert loss == pytest.approx(-bracket, rel=1e-9, abs=1e-9)
    assert loss == pytest.approx(squares, rel=1e-9, abs=1e-9)


def test_spif_counts_rewards_past_the_bound() -> None:
    output = Spif(beta=1.0, reward_bound=1.0)(ratios(1.5, 0.5, -2.0))
    assert output.metrics["rewards/past_bound"].item() == pytest.approx(0.5 * (1.0 + 0.5))


@POINTS
@given(expert=nats, first=nats, second=nats, mu=st.floats(0.1, 10))
def test_space(expert: float, first: float, second: float, mu: float) -> None:
    def log_sigma(mu: float, t: float) -> float:
        return -math.log1p(mu * math.exp(-t))

    loss = Space(beta=0.5, mu=mu)(ratios(expert, first, second)).loss.item()
    against = sum(log_sigma(1.0 / mu, -0.5 * value) for value in (first, second)) / 2
    assert loss == pytest.approx(-log_sigma(mu, 0.5 * expert) - mu * against, rel=1e-9, abs=1e-9)


# f'(u) and f*(f'(u)) = u f'(u) − f(u), written out from f alone.
F = {
    "kl": (lambda u: u * math.log(u), lambda u: math.log(u) + 1),
    "reverse_kl": (lambda u: -math.log(u), lambda u: -1 / u),
    "js": (
        lambda u: 0.5 * (u * math.log(u) - (1 + u) * math.log((1 + u) / 2)),
        lambda u: 0.5 * math.log(2 * u / (1 + u)),
    ),
    "pearson": (lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1)),
    "neyman": (lambda u: (1 - u) ** 2 / u, lambda u: 1 - 1 / u**2),
    "squared_hellinger": (lambda u: 0.5 * (math.sqrt(u) - 1) ** 2, lambda u: 0.5 * (1 - 1 / math.sqrt(u))),
}


@pytest.mark.parametrize("name", F)
@POINTS
@given(expert=nats, first=nats, second=nats)
def test_f_divergence(name: str, expert: float, first: float, second: float) -> None:
    value, slope = F[name]
    loss = FDivergence(beta=0.5, divergence=name)(ratios(expert, first, second)).loss.item()
    conjugates = [u * slope(u) - value(u) for u in (math.exp(0.5 * first), math.exp(0.5 * second))]
    assert loss == pytest.approx(-slope(math.exp(0.5 * expert)) + sum(conjugates) / 2, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", F)
@pytest.mark.parametrize("edge", [-20.0, 20.0])
def test_f_divergence_goes_on_by_its_tangents(name: str, edge: float) -> None:
    objective = FDivergence(divergence=name)

    def at(distance: float) -> torch.Tensor:
        far = edge + math.copysign(distance, edge)
        point = torch.tensor([far], dtype=torch.float64, requires_grad=True)
        out = torch.cat(
            [
                objective(LogRatios(expert=point, generated=torch.zeros(1, 1, dtype=torch.float64))).loss,
                objective(LogRatios(expert=torch.zeros(1, dtype=torch.float64), generated=point[None])).loss,
            ]
        )
        slopes = [torch.autograd.grad(value, point, retain_graph=True)[0] for value in out]
        return torch.stack([*out.detach(), *torch.cat(slopes)])

    inside, outside, farther = at(0.0), at(5.0), at(10.0)
    assert torch.allclose(inside[2:], outside[2:], rtol=1e-12)
    assert torch.allclose(farther[:2] - outside[:2], outside[:2] - inside[:2], rtol=1e-9)


def test_js_is_half_of_space() -> None:
    batch = ratios(0.7, -0.2, 1.1)
    space = Space()(batch).loss.item()
    assert FDivergence(divergence="js")(batch).loss.item() == pytest.approx(0.5 * space - math.log(2))


def test_renyi_is_a_value_of_the_batch() -> None:
    batch = LogRatios(expert=torch.tensor([0.3, -0.1]), generated=torch.tensor([[0.5, -0.5], [0.0, 1.0]]))
    loss = Renyi(alpha=2.0, beta=2.0)(batch).loss
    expert = math.log((math.exp(0.6) + math.exp(-0.2)) / 2)
    generated = math.log(sum(math.exp(2 * r) for r in (1.0, -1.0, 0.0, 2.0)) / 4) / 2
    assert loss.tolist() == pytest.approx([generated - expert] * 2)


def test_t_spin() -> None:
    batch = LogRatios(
        policy_expert=torch.tensor([-1.0]),
        policy_generated=torch.tensor([[-2.0, -4.0]]),
        policy_initial=torch.tensor([[-5.0, -6.0]]),
    )
    output = TSpin(beta=0.5, history_weight=0.3)(batch)
    current, historical = 0.5 * (-1.0 + 3.0), 0.5 * (-3.0 + 5.5)
    expected = LINKS["logistic"](current) + 0.3 * LINKS["logistic"](historical)
    assert output.loss.item() == pytest.approx(expected)
    assert output.metrics["rewards/historical_margins"].item() == pytest.approx(historical)
    assert TSpin(beta=0.5, history_weight=0)(batch).loss.item() == pytest.approx(LINKS["logistic"](current))


def test_t_spin_trains_at_iteration_0_as_published_without_the_second_term() -> None:
    def gradient(objective: TSpin) -> tuple[torch.Tensor, ...]:
        expert, generated = torch.tensor([-1.0], requires_grad=True), torch.tensor([[-2.0, -4.0]], requires_grad=True)
        batch = LogRatios(policy_expert=expert, policy_generated=generated, policy_initial=generated)
        return torch.autograd.grad(objective(batch).loss.sum(), (expert, generated))

    assert TSpin() == TSpin(beta=1.0, history_weight=0.1)
    for with_term, without in zip(gradient(TSpin()), gradient(TSpin(history_weight=0)), strict=True):
        assert torch.allclose(with_term, without, rtol=1e-6)


def test_sft() -> None:
    output = Sft()(LogRatios(policy_expert=torch.tensor([-3.0, -1.0])))
    assert output.loss.tolist() == [3.0, 1.0]
    assert output.metrics["log_likelihood/expert"].tolist() == [-3.0, -1.0]


def test_reward_metrics() -> None:
    metrics = Spin(beta=2.0)(ratios(0.5, 1.0, -1.0)).metrics
    assert metrics["rewards/expert"].item() == 1.0
    assert metrics["rewards/generated"].item() == 0.0
    assert metrics["rewards/margins"].item() == 1.0
    assert metrics["rewards/accuracies"].item() == 0.5
