from __future__ import annotations

import pytest
import torch

from sparring.log_ratios import LogRatios
from sparring.objectives import Sppo


def ratios(delta: list[float], preference: list[float], weight: list[float] | None = None) -> LogRatios:
    row = {"generated": delta, "preference": preference} | ({} if weight is None else {"generated_weight": weight})
    return LogRatios(**{name: torch.tensor([values], dtype=torch.float64) for name, values in row.items()})


def test_is_the_regression_of_the_log_ratio_on_the_win_rate() -> None:
    output = Sppo(eta=2.0)(ratios([0.1, -0.3], [0.9, 0.2]))
    # residuals 0.1 − 0.8 and −0.3 + 0.6
    assert output.loss.item() == pytest.approx(0.5 * (0.7**2 + 0.3**2) / 2)
    assert output.metrics["residuals/generated"].item() == pytest.approx(0.5)
    assert output.metrics["preferences/generated"].item() == pytest.approx(0.55)


def test_best_worst_takes_the_highest_and_the_lowest_preference() -> None:
    everything = Sppo(pairs="best-worst")(ratios([1.0, 5.0, -2.0], [0.6, 0.5, 0.1]))
    assert everything.loss.item() == pytest.approx(0.5 * (0.9**2 + 1.6**2) / 2)


def test_best_worst_shares_a_place_among_ties_and_skips_what_is_never_drawn() -> None:
    tied = Sppo(pairs="best-worst")(ratios([1.0, 3.0, 0.0], [0.5, 0.5, 0.5]))
    assert tied.loss.item() == pytest.approx(Sppo()(ratios([1.0, 3.0, 0.0], [0.5, 0.5, 0.5])).loss.item())
    without = Sppo(pairs="best-worst")(ratios([1.0, -2.0], [0.6, 0.1]))
    never = Sppo(pairs="best-worst")(ratios([9.0, 1.0, -2.0], [0.9, 0.6, 0.1], [0.0, 0.5, 0.5]))
    assert never.loss.item() == pytest.approx(without.loss.item())


def test_has_no_gradient_against_an_equal_opponent() -> None:
    delta = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    output = Sppo()(LogRatios(generated=delta, preference=torch.full_like(delta, 0.5).detach()))
    output.loss.sum().backward()
    assert torch.equal(delta.grad, torch.zeros_like(delta))


def test_minimiser_over_distributions_obeys_its_fixed_point_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    opponent = torch.rand(6, generator=generator, dtype=torch.float64).softmax(0)
    preference = torch.rand(6, generator=generator, dtype=torch.float64)
    logits = opponent.log().clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [logits], lr=1, max_iter=500, tolerance_grad=1e-14, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    objective = Sppo(eta=3.0)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        delta = logits.log_softmax(0) - opponent.log()
        loss = objective(
            LogRatios(generated=delta[None], generated_weight=opponent[None], preference=preference[None])
        ).loss.sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    delta = (logits.log_softmax(0) - opponent.log()).detach()
    # Δ + ν e^Δ = η(P − ½), and the multiplier ν is the same for every outcome.
    multiplier = (3.0 * (preference - 0.5) - delta) / delta.exp()
    assert multiplier.max() - multiplier.min() < 1e-6


@pytest.mark.parametrize("pairs", ["all", "best-worst"])
@pytest.mark.parametrize("eta", [0.5, 1000.0])
def test_normalized_loss_is_one_where_nothing_is_known_and_zero_at_the_target(eta: float, pairs: str) -> None:
    decided = [1.0, 0.0, 0.0]
    objective = Sppo(eta=eta, pairs=pairs)
    assert objective(ratios([0.0, 0.0, 0.0], decided)).metrics["loss/normalized"].item() == pytest.approx(1.0)
    target = [eta * (p - 0.5) for p in decided]
    assert objective(ratios(target, decided)).metrics["loss/normalized"].item() == pytest.approx(0.0)
    start = objective(ratios([0.0, 0.0, 0.0], [0.75, 0.5, 0.25])).metrics
    expected = (0.25 + 0.25) / (3 if pairs == "all" else 2)
    assert start["preferences/decided"].item() == pytest.approx(expected)
    assert start["loss/normalized"].item() == pytest.approx(expected)
