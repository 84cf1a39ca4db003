"""What the adaptive α of `renyi` brings where expectations are samples: KL to the expert beside that of fixed α.

    python benchmarks/renyi_alpha.py        # prints a table; two to four minutes on one core

Four prompts, five outcomes and six shared weights; 200 demonstrations, batches of 50, 40 Adam steps an iteration,
β = 1. The same seeds play every α, so differences are within pairs: the mean over seeds, and its standard error.
"""

from __future__ import annotations

import torch

from sparring.games import StochasticGame, Training
from sparring.log_ratios import LogRatios
from sparring.objectives import Renyi
from sparring.types import Objective, ObjectiveOutput

SEEDS = range(8)
ITERATIONS = 3
ALPHAS: tuple[float | str, ...] = (0.5, 0.0, 1.0, "adaptive")
# Standard deviation of the expert's weights, which are zero at the start.
GAPS = {"near": 0.7, "far": 2.0}


class Watched(Objective):
    """An objective that keeps the α of every step."""

    def __init__(self, objective: Renyi) -> None:
        self.alphas: list[float] = []
        self._objective = objective

    @property
    def requires(self) -> frozenset[str]:
        """As the objective's."""
        return self._objective.requires

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The objective's output."""
        output = self._objective(ratios)
        self.alphas.append(float(output.metrics["alpha"][0]))
        return output


def game(gap: float) -> StochasticGame:
    """An expert that the features can express, `gap` away from the start."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 5, 6, dtype=torch.float64, generator=generator)
    expert = gap * torch.randn(6, dtype=torch.float64, generator=generator)
    return StochasticGame(expert=torch.softmax(features @ expert, -1), features=features, initial=torch.zeros(6))


def plays(gap: float, samples: int, alpha: float | str) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(π_E‖π_t) `[seeds, 2]` after the first and the last iteration, and the mean α of each iteration."""
    ends, alphas = [], []
    for seed in SEEDS:
        watched = Watched(Renyi(alpha=alpha))
        training = Training(examples=200, samples=samples, steps=40, batch=50, learning_rate=0.1, seed=seed)
        kl = game(gap).play(watched, iterations=ITERATIONS, training=training).kl
        ends.append(kl[[1, -1]])
        alphas.append(torch.tensor(watched.alphas).reshape(ITERATIONS, -1).mean(1))
    return torch.stack(ends), torch.stack(alphas).mean(0)


def main() -> None:
    """Prints a row for each gap, number of samples and α."""
    torch.set_num_threads(1)
    for name, gap in GAPS.items():
        for samples in (1, 4):
            played = {alpha: plays(gap, samples, alpha) for alpha in ALPHAS}
            half = played[0.5][0]
            for alpha, (ends, chosen) in played.items():
                columns = []
                for value in (ends, ends - half):
                    error = value.std(0) / len(SEEDS) ** 0.5
                    columns += [f"{m:+.4f} ± {e:.4f}" for m, e in zip(value.mean(0), error, strict=True)]
                used = ", ".join(f"{value:.2f}" for value in chosen)
                print(f"{name} K={samples} α={alpha}: KL {' | '.join(columns)} (minus α = ½), α used {used}")


if __name__ == "__main__":
    main()
