"""What every opponent must do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from conformance.rows import Row, cases
from sparring.policies import BASE
from sparring.types import Opponent

every_opponent = pytest.mark.parametrize(("build", "settings", "row"), cases("opponent"))


def log_probs(policies: tuple[int, ...], *shape: int, dtype: torch.dtype = torch.float64) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {policy: -torch.rand(*shape, generator=generator, dtype=dtype) for policy in policies}


@every_opponent
def test_opponents_name_policies_that_exist_once_each(build: type, settings: dict[str, Any], row: Row) -> None:
    for iteration in range(6):
        spec = build(**settings).spec(iteration)
        for policies in (spec.generators, spec.scorers):
            assert policies
            assert len(set(policies)) == len(policies)
            assert set(policies) <= {BASE, *range(iteration + 1)}
        assert 0.0 <= build(**settings).spec(iteration).base_share < 1.0


@every_opponent
def test_opponents_combine_response_by_response(build: type, settings: dict[str, Any], row: Row) -> None:
    opponent: Opponent = build(**settings)
    for iteration in (0, 1, 4):
        scored = log_probs(opponent.spec(iteration).scorers, 2, 3)
        together = opponent.combine(iteration, scored)
        assert together.shape == (2, 3)
        for row_index in range(2):
            alone = opponent.combine(iteration, {policy: value[row_index] for policy, value in scored.items()})
            assert torch.equal(together[row_index], alone)


@every_opponent
def test_policies_that_agree_are_their_own_opponent(build: type, settings: dict[str, Any], row: Row) -> None:
    opponent: Opponent = build(**settings)
    same = torch.tensor([-1e4, -3.0, -0.1], dtype=torch.float32)
    for iteration in (0, 4):
        combined = opponent.combine(iteration, dict.fromkeys(opponent.spec(iteration).scorers, same))
        assert combined.dtype == torch.float32
        assert torch.allclose(combined, same, rtol=1e-6, atol=1e-6)


@every_opponent
def test_opponents_lie_between_their_scorers_and_have_at_most_mass_one(
    build: type, settings: dict[str, Any], row: Row
) -> None:
    opponent: Opponent = build(**settings)
    generator = torch.Generator().manual_seed(2)
    scored = {
        policy: (3.0 * torch.randn(6, generator=generator, dtype=torch.float64)).log_softmax(0)
        for policy in opponent.spec(4).scorers
    }
    combined, stacked = opponent.combine(4, scored), torch.stack(list(scored.values()))
    assert (combined >= stacked.amin(0) - 1e-12).all()
    assert (combined <= stacked.amax(0) + 1e-12).all()
    assert combined.exp().sum() <= 1.0 + 1e-12
