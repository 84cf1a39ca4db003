"""The imitation game as training plays it: finite samples, gradient steps, and prompts that share parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.games.players import opponent_of, opponent_policy
from sparring.games.simplex import distribution, kl_divergence, total_variation
from sparring.log_ratios import LogRatios
from sparring.registry import require_positive
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.types import Objective, Opponent, per_prompt


@dataclass(frozen=True, kw_only=True)
class Training:
    """The amount of data and of optimisation in a play that is not exact.

    Attributes:
        examples: Expert demonstrations, drawn once: prompts uniformly, responses from π_E.
        samples: K, responses generated to each example in each iteration.
        steps: Gradient steps an iteration, with Adam, whose state starts afresh every iteration.
        batch: Examples a step, drawn without replacement.
        learning_rate: Adam's.
        seed: The seed of all random draws.

    Raises:
        ValueError: A count or the learning rate is not positive, or the batch exceeds the examples.
    """

    examples: int = 256
    samples: int = 1
    steps: int = 100
    batch: int = 64
    learning_rate: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("examples", "samples", "steps", "batch", "learning_rate"):
            require_positive(name, getattr(self, name), "without it nothing is learnt")
        if self.batch > self.examples:
            raise ValueError(f"batch must be at most examples, got {self.batch} > {self.examples}")


@dataclass(frozen=True, kw_only=True)
class StochasticPlay:
    """A play, iteration by iteration; policy 0 is the initial one.

    Attributes:
        expert: `[X, n]` π_E of each prompt.
        log_policies: `[T+1, X, n]` log π_t, nats.
        weights: `[T+1, d]` w of each policy.
    """

    expert: Tensor
    log_policies: Tensor
    weights: Tensor

    @property
    def kl(self) -> Tensor:
        """`[T+1]` KL(π_E‖π_t), mean over prompts, nats: against the true expert, not the sample of it."""
        return kl_divergence(self.expert.log(), self.log_policies).mean(-1)

    @property
    def total_variation(self) -> Tensor:
        """`[T+1]` ½ Σ |π_E − π_t|, mean over prompts."""
        return total_variation(self.expert.log(), self.log_policies).mean(-1)


@dataclass(frozen=True, kw_only=True)
class StochasticGame:
    """X prompts, n outcomes each, and a softmax policy log π(y|x) = features[x, y] · w − log Z whose w is shared.

    `torch.eye(X * n).reshape(X, n, X * n)` unties the prompts: the tabular policy.

    Attributes:
        expert: `[X, n]` π_E of each prompt, positive everywhere. The features need not be able to express it.
        features: `[X, n, d]`.
        initial: `[d]` w of π_0.

    Raises:
        ValueError: A row of `expert` is no distribution with full support, or shapes disagree.
    """

    expert: Tensor
    features: Tensor
    initial: Tensor

    def __post_init__(self) -> None:
        rows = [distribution(f"expert[{index}]", row) for index, row in enumerate(self.expert)]
        object.__setattr__(self, "expert", torch.stack(rows))
        for name in ("features", "initial"):
            object.__setattr__(self, name, getattr(self, name).detach().to(torch.float64))
        wanted = (*self.expert.shape, *self.initial.shape)
        if self.initial.ndim != 1 or self.features.shape != wanted:
            raise ValueError(f"features must have shape [X, n, d] = {list(wanted)}, got {list(self.features.shape)}")

    def log_policy(self, weights: Tensor) -> Tensor:
        """Log π `[X, n]` of parameters `[d]`, differentiable."""
        return torch.log_softmax(self.features @ weights, dim=-1)

    def play(
        self,
        objective: Objective,
        opponent: Opponent | str = "previous",
        iterations: int = 10,
        training: Training | None = None,
    ) -> StochasticPlay:
        """Plays as a language model is trained: generate, score, take gradient steps from the last weights.

        Args:
            objective: The very object that trains language models.
            opponent: An opponent object, or the name of one with its default settings.
            iterations: T.
            training: Sizes, learning rate and seed; the defaults where None.
        """
        training, player = training or Training(), opponent_of(opponent)
        generator = torch.Generator().manual_seed(training.seed)
        prompts = torch.randint(len(self.expert), (training.examples,), generator=generator)
        responses = torch.multinomial(self.expert[prompts], 1, generator=generator).squeeze(-1)
        weights = [self.initial]
        log_policies = [self.log_policy(self.initial)]
        for iteration in range(iterations):
            log_opponent, drawn = opponent_policy(player, iteration, log_policies)
            generated = torch.multinomial(drawn[prompts], training.samples, replacement=True, generator=generator)
            current = weights[-1].clone().requires_grad_()
            optimizer = torch.optim.Adam([current], lr=training.learning_rate)
            for _ in range(training.steps):
                chosen = torch.randperm(training.examples, generator=generator)[: training.batch]
                ratios = self._ratios(current, log_opponent, prompts[chosen], responses[chosen], generated[chosen])
                optimizer.zero_grad()
                per_prompt(objective(ratios), len(chosen)).mean().backward()
                optimizer.step()
            weights.append(current.detach())
            log_policies.append(self.log_policy(weights[-1]))
        return StochasticPlay(expert=self.expert, log_policies=torch.stack(log_policies), weights=torch.stack(weights))

    def _ratios(
        self, weights: Tensor, log_opponent: Tensor, prompts: Tensor, responses: Tensor, generated: Tensor
    ) -> LogRatios:
        """The log ratios of a batch: prompts `[B]`, expert responses `[B]`, generated ones `[B, K]`."""
        policy = self.log_policy(weights)
        ratio, reference = policy - log_opponent, policy - self.log_policy(self.initial)
        lengths = torch.ones(generated.shape, dtype=torch.float64)

        def expert(table: Tensor) -> Tensor:
            return table[prompts, responses]

        def samples(table: Tensor) -> Tensor:
            return table[prompts].gather(-1, generated)

        def outcomes(table: Tensor) -> Tensor:
            return table[prompts][:, None, None].expand(*generated.shape, 1, -1)

        return LogRatios(
            expert=expert(ratio),
            generated=samples(ratio),
            reference_expert=expert(reference),
            reference_generated=samples(reference),
            policy_expert=expert(policy),
            policy_generated=samples(policy),
            expert_tokens=TokenLogProbs.unpadded(expert(policy).unsqueeze(-1)),
            generated_next_tokens=NextTokenLogProbs.unpadded(outcomes(policy), outcomes(self.expert.log())),
            expert_length=lengths[:, 0],
            generated_length=lengths,
        )
