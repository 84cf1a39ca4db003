"""Draws tokens: one random number for each, and the inverse of the distribution function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from sparring.errors import RunError
from sparring.generation.config import GenerationConfig
from sparring.generation.rows import SampledRow
from sparring.seeding import uniform

# Tokens in a block: the square root of a vocabulary of 65,536, so that there are about as many blocks as tokens in one.
_BLOCK = 256


class Draws:
    """Draws the next token of rows: greedy, or from the softmax of their logits after temperature and truncation.

    The random number of a token depends only on the seed, the prompt's index, the sample's number and the token's
    position: not on what else is decoded, when, or where.

    Args:
        config: Temperature, top-k and top-p, applied in this order, as in transformers.
        seed: The seed.
        index: Returns the index of the prompt that a row answers.
    """

    def __init__(self, config: GenerationConfig, seed: int, index: Callable[[SampledRow], int]) -> None:
        self._greedy, self._seed, self._index = config.top_k == 1, seed, index
        self._law = LogitsProcessorList(
            [
                *([TemperatureLogitsWarper(config.temperature)] if config.temperature != 1.0 else []),
                *([TopKLogitsWarper(config.top_k)] if config.top_k else []),
                *([TopPLogitsWarper(config.top_p)] if config.top_p < 1.0 else []),
            ]
        )

    def __call__(self, rows: Sequence[SampledRow], logits: Tensor) -> list[int]:
        """One token for each of the rows from their logits `[R, n]`.

        Raises:
            RunError: The greatest logit of a row is NaN or infinite, so no token can be drawn.
        """
        best = logits.max(dim=-1)
        self._check(rows, best.values)
        if self._greedy:
            return best.indices.tolist()
        scores = self._law(None, logits.float())
        return draw(scores, [uniform(self._seed, self._index(row), row.sample, len(row.tokens)) for row in rows])

    def _check(self, rows: Sequence[SampledRow], greatest: Tensor) -> None:
        broken = (~greatest.isfinite()).nonzero()
        if len(broken):
            row = rows[int(broken[0])]
            raise RunError(
                f"the prompt of row {self._index(row)}: no next token can be drawn, for the model's logits are NaN or "
                "infinite\n"
                "  fix: compute in float32 (model.dtype, without fp16), or take another model; a policy that was "
                "trained here has diverged: start another run with a lower learning rate"
            )


class DrawsByKind:
    """Draws the next token of each row with the sampling settings of its `kind`.

    Args:
        kinds: The draws of each kind, by its number.
    """

    def __init__(self, kinds: Sequence[Draws]) -> None:
        self._kinds = kinds

    def __call__(self, rows: Sequence[SampledRow], logits: Tensor) -> list[int]:
        """See `Draws`."""
        tokens = [0] * len(rows)
        for kind, draws in enumerate(self._kinds):
            places = [place for place, row in enumerate(rows) if row.kind == kind]
            if places:
                own = logits if len(places) == len(rows) else logits[places]
                drawn = draws([rows[place] for place in places], own)
                for place, token in zip(places, drawn, strict=True):
                    tokens[place] = token
        return tokens


def draw(logits: Tensor, uniforms: Sequence[float]) -> list[int]:
    """One token for each row, drawn from softmax(logits) by inverting its distribution function.

    Token j is drawn where F(j − 1) ≤ u < F(j), with F the cumulative sum of the probabilities in the order of the
    vocabulary. It is found in two steps, first its block and then the token in it, since a cumulative sum over the
    whole vocabulary would take most of the time. Exact up to rounding: each exponential is off by at most a few parts
    in 10⁷ (fp32), all sums are taken in fp64, and u has 53 bits. A token of probability zero is never drawn.

    Args:
        logits: `[R, n]`, fp32, the greatest of each row finite; −∞ for a token that is ruled out.
        uniforms: R random numbers u in [0, 1).
    """
    rows, size = logits.shape
    weights = torch.nn.functional.pad((logits - logits.amax(dim=-1, keepdim=True)).exp_(), (0, -size % _BLOCK)).view(
        rows, -1, _BLOCK
    )
    numbers = torch.tensor(uniforms, dtype=torch.float64).to(logits.device)
    block, numbers = _inverse(weights.sum(dim=-1, dtype=torch.float64), numbers)
    within, _ = _inverse(weights[torch.arange(rows, device=logits.device), block].double(), numbers)
    tokens: list[int] = (block * _BLOCK + within).tolist()
    return tokens


def _inverse(weights: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Inverts the distribution functions of weights `[R, m]` at numbers `[R]` in [0, 1).

    Returns:
        The index of the weight on which each number falls, and how far into that weight it falls, in [0, 1). Given the
        index, the latter is uniform again, and so can decide a draw within.
    """
    sums = weights.cumsum(dim=-1)
    total = sums[:, -1:].contiguous()
    target = numbers[:, None] * total
    # A target that is rounded up to the total would lie past the end; the first index with the total as its sum is that
    # of the last weight above zero.
    place = torch.searchsorted(sums, target, right=True).minimum(torch.searchsorted(sums, total))
    weight = weights.gather(-1, place)
    into = ((target - (sums.gather(-1, place) - weight)) / weight).clamp(0.0, 1.0 - 2.0**-53)
    return place.squeeze(-1), into.squeeze(-1)
