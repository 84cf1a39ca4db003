"""The latest policy scores, and it and the one before it generate half of the samples each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparring.types import Opponent, OpponentSpec


@dataclass(frozen=True, kw_only=True)
class PreviousTwo(Opponent):
    """The last two policies answer half of the prompts each, all scored under the latest: log π_o = log π_t.

    Half of the samples are not π_o's own, so the step is measured from halfway between the last two policies. To
    first order in the error e of log π the exact iteration of `spin` is e_{t+1} = (1 − c) e_t − c e_{t−1}, c = 1/(2β):
    it converges for β > ½ as with `previous`, but at β = 1 by a factor √½ an iteration rather than in one step
    (derived here).

    Source: what the released training of SPIN (arXiv 2401.01335) did with the data of two iterations.

    Degenerate case: at iteration 0 there is no policy before, and it is the opponent `previous`.
    """

    def spec(self, iteration: int) -> OpponentSpec:
        """Policies t and t − 1 generate, policy t scores."""
        generators = (iteration,) if iteration == 0 else (iteration, iteration - 1)
        return OpponentSpec(generators=generators, scorers=(iteration,))

    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o = log π_t."""
        return log_probs[iteration]
