"""The explicit reward player: it learns to tell the expert's responses from generated ones, by Bradley–Terry."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_expit

from sparring.metrics.logistic import Array, fit_logistic

# Prior standard deviations of a margin, nats, each of which sets a ridge. With the smallest, P stays near ½.
_SPREADS = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The responses to one prompt, as features.

    Attributes:
        prompt: The prompt's name. A head that was trained on a prompt judges no prompt of the same name.
        generated: `[K, F]` features of the generated responses.
        expert: `[F]` features of the expert's response; None where the prompt has none.
        told_apart: Which of the K differ from the expert's response, and so make a pair with it.
    """

    prompt: str
    generated: Any
    expert: Any | None = None
    told_apart: Sequence[bool] = ()

    def margins(self) -> Array:
        """`[P, F]` φ(y) − φ(y') of each pair of the expert's response y and a generated one y'."""
        generated = np.asarray(self.generated, dtype=np.float64)
        if self.expert is None:
            return generated[:0]
        margins: Array = np.asarray(self.expert, dtype=np.float64) - generated[np.asarray(self.told_apart, dtype=bool)]
        return margins


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The learnt reward: a head for each fold, trained on the prompts outside of it.

    Attributes:
        heads: `[N, F]` the weights of D(x, y) = w·φ(x, y).
        fold_of: The fold of each prompt that had an expert's response.
        pairs: The number of pairs of responses.
        accuracy: The share of pairs in which a head that had not seen the prompt takes the right response for the
            expert's; a tie counts half. None without pairs.
        log_loss: The mean of −log σ(D(x, y) − D(x, y')) over these pairs, nats; log 2 for guesses at random.
    """

    heads: Array
    fold_of: dict[str, int]
    pairs: int
    accuracy: float | None
    log_loss: float | None

    def rewards(self, prompt: str, features: Any) -> Array:
        """`[n]` rewards D(x, y) of responses to a prompt: the mean over heads that have not seen its expert's response.

        Args:
            prompt: As in `Lesson`.
            features: `[n, F]`.
        """
        fold = self.fold_of.get(prompt)
        head = self.heads.mean(axis=0) if fold is None else self.heads[fold]
        rewards: Array = np.asarray(features, dtype=np.float64) @ head
        return rewards


@dataclass(frozen=True, kw_only=True)
class RewardPlayer:
    """Learns D(x, y) = w·φ(x, y) by Bradley–Terry, min −log σ(D(x, y) − D(x, y')), y the expert's, y' generated.

    Over all of Y, with y ~ π_E and y' ~ π_o, the minimum is at D* = log π_E − log π_o + c(x): of an unordered pair
    {a, b} the expert's is a with probability π_E(a) π_o(b) / (π_E(a) π_o(b) + π_E(b) π_o(a)) = σ(D*(a) − D*(b)), so one
    D is best for every pair at once. Pairs of equal responses cost log 2 whatever D is, and are left out. The same
    minimum over the policy's log ratio, D = βΔ, is SPIN's: its player is implicit, and this one is explicit.

    Source: arXiv 2511.10643 (GAD) for the loss; there D is a copy of the policy with a head, here a head on features of
    the frozen policy. The minimum is derived here, as that of noise-contrastive ranking.

    A head that has seen a prompt's expert knows it by heart, so it must not judge that prompt: prompts are dealt into
    folds by the digests of their names, and each fold is judged by a head that was trained on the others; prompts
    without an expert are judged by the mean of all heads. All heads have the same ridge: the one, of a few, with the
    least log loss on the pairs that each head has not seen. (So this one number depends on all pairs, which flatters
    `log_loss` and `accuracy` a little.) The features are divided by their root mean square over the pairs.

    Degenerate case: where there is no pair outside of a fold, its head is 0, and everything ties.

    Attributes:
        folds: N ≥ 2.
    """

    folds: int = 5

    def learn(self, lessons: Iterable[Lesson]) -> Learned:
        """Trains a head for each fold; the same lessons in the same order give the same bits."""
        lessons = list(lessons)
        fold_of = self._deal(lesson.prompt for lesson in lessons if lesson.expert is not None)
        margins = np.concatenate([lesson.margins() for lesson in lessons])
        folds = np.array([fold_of[lesson.prompt] for lesson in lessons for _ in lesson.margins()], dtype=int)
        scale = np.sqrt((margins**2).mean(axis=0)) if len(margins) else np.ones(margins.shape[1])
        # A feature that is equal within every pair is left out.
        scale[scale == 0.0] = math.inf
        candidates = [self._heads(margins / scale, folds, spread) for spread in _SPREADS]
        unseen = [np.einsum("pf,pf->p", margins / scale, heads[folds]) for heads in candidates]
        losses = [float(-log_expit(each).mean()) if len(margins) else 0.0 for each in unseen]
        best = int(np.argmin(losses))
        right = (unseen[best] > 0) + 0.5 * (unseen[best] == 0)
        return Learned(
            heads=candidates[best] / scale,
            fold_of=fold_of,
            pairs=len(margins),
            accuracy=float(right.mean()) if len(margins) else None,
            log_loss=losses[best] if len(margins) else None,
        )

    def _deal(self, prompts: Iterable[str]) -> dict[str, int]:
        ordered = sorted(set(prompts), key=lambda prompt: hashlib.sha256(prompt.encode()).digest())
        return {prompt: place % self.folds for place, prompt in enumerate(ordered)}

    def _heads(self, margins: Array, folds: Any, spread: float) -> Array:
        """`[N, F]` a head for each fold, with the ridge of this prior standard deviation of a margin."""
        count = margins.shape[1]
        heads = [
            fit_logistic(part, np.ones(len(part)), ridge=count / spread**2) if len(part) else np.zeros(count)
            for part in (margins[folds != fold] for fold in range(self.folds))
        ]
        return np.stack(heads)
