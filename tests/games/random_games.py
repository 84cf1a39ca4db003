"""Random games, by seed, so that hypothesis shrinks to a small one that anyone can rebuild."""

from __future__ import annotations

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from sparring.games import ImitationGame

# The same games every time: a rate that fails one day in ten teaches nothing.
FEW = settings(max_examples=6, deadline=None, derandomize=True)

ROCK_PAPER_SCISSORS = torch.tensor([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]], dtype=torch.float64)


def distribution(n: int, seed: int, spread: float = 1.0) -> Tensor:
    """A softmax of `n` normal logits."""
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(spread * torch.randn(n, dtype=torch.float64, generator=generator), 0)


def preference_table(n: int, seed: int) -> Tensor:
    """Uniform win rates above the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(n, n, dtype=torch.float64, generator=generator).triu(1)
    lower = torch.ones(n, n, dtype=torch.float64).tril(-1) - upper.T
    return upper + lower + 0.5 * torch.eye(n, dtype=torch.float64)


@st.composite
def imitation_games(draw: st.DrawFn) -> ImitationGame:
    """Two to six outcomes, expert and initial policy drawn apart."""
    n, seed = draw(st.integers(2, 6)), draw(st.integers(0, 10_000))
    return ImitationGame(expert=distribution(n, 2 * seed), initial=distribution(n, 2 * seed + 1))
