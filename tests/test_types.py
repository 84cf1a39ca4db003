"""What flows between the layers: shapes and dtypes are checked once, and every message names the field."""

from __future__ import annotations

import pytest
import torch

from sparring.log_ratios import LogRatios
from sparring.objectives import Spif, Spin
from sparring.types import Objective, StabilityNumber


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"expert": [1.0]}, r"LogRatios.expert must be a tensor of shape \[B\], got list"),
        ({"expert": torch.zeros(2, 1)}, r"LogRatios.expert must have shape \[B\], got \[2, 1\]"),
        ({"generated": torch.zeros(2)}, r"LogRatios.generated must have shape \[B, K\], got \[2\]"),
        ({"expert": torch.zeros(2, dtype=torch.long)}, r"LogRatios.expert must be floating point, got torch.int64"),
        (
            {"expert": torch.zeros(2), "generated": torch.zeros(3, 1)},
            r"LogRatios.generated has number of prompts B 3, but LogRatios.expert has 2",
        ),
        (
            {"generated": torch.zeros(2, 1), "policy_generated": torch.zeros(2, 3)},
            r"LogRatios.policy_generated has number of samples K 3, but LogRatios.generated has 1",
        ),
        (
            {"expert": torch.zeros(2), "generated": torch.zeros(2, 1, dtype=torch.float64)},
            r"LogRatios.generated has dtype torch.float64, but LogRatios.expert has torch.float32",
        ),
        ({}, r"LogRatios.*needs at least one prompt \(B ≥ 1\)"),
        ({"expert": torch.zeros(0)}, r"LogRatios.*needs at least one prompt \(B ≥ 1\)"),
    ],
)
def test_log_ratios_reject_what_does_not_fit(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        LogRatios(**fields)  # type: ignore[arg-type]


def test_a_missing_field_is_named_with_its_shape() -> None:
    ratios = LogRatios(expert=torch.zeros(2))
    with pytest.raises(ValueError, match=r"LogRatios.generated \[B, K\].*missing$"):
        ratios.require("generated")
    assert ratios.require("expert") is ratios.expert
    assert list(ratios.present()) == ["expert"]


def test_means_are_weighted_where_weights_are_given() -> None:
    value = torch.tensor([[1.0, 2.0], [3.0, 7.0]])
    plain = LogRatios(generated=value)
    assert plain.mean_over_samples(value).tolist() == [1.5, 5.0]
    weighted = LogRatios(
        generated=value,
        generated_weight=torch.tensor([[0.25, 0.75], [1.0, 0.0]]),
    )
    assert weighted.mean_over_samples(value).tolist() == [1.75, 3.0]


@pytest.mark.parametrize(
    ("exponent", "factor", "verdict"),
    [
        (1.0, 0.0, "converges"),
        (0.5, 0.5, "converges"),
        (1.9, 0.9, "converges"),
        (2.0, 1.0, "at the edge"),
        (10.0, 9.0, "overshoots"),
        (float("inf"), float("inf"), "overshoots"),
    ],
)
def test_the_stability_number_says_what_the_exact_iteration_does(exponent: float, factor: float, verdict: str) -> None:
    number = StabilityNumber(symbol="β", value=1.0, step_exponent=exponent, cure="raise β")
    assert number.contraction_factor == pytest.approx(factor)
    assert number.verdict.startswith(verdict)


@pytest.mark.parametrize(
    ("objective", "cure"),
    [
        (Spif(reward_bound=9.0), "raise β or lower the reward bound"),
        (Spin(beta=0.1), "raise β"),
        (Spin(link="hinge"), "take a link that is curved at 0 (logistic, exponential, squared)"),
    ],
    ids=["spif", "spin", "hinge"],
)
def test_an_objective_says_itself_what_to_change(objective: Objective, cure: str) -> None:
    assert objective.stability is not None
    assert objective.stability.verdict.endswith(f"; {cure}")
