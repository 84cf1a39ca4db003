"""Length-controlled win rates: the win rates if the answers were as long as the baseline's.

Judges prefer long answers. Dubois et al. 2024 (arXiv 2404.04475) model the verdict as

    P(model ≻ baseline | x) = σ(θ + φ · tanh(d_x / std d) + ψ · γ_x)

with d_x the model's length less the baseline's on instruction x, θ the model's ability, φ the judge's preference for
length, γ_x how well models do on x, and ψ how far that holds for this model (all relative to the baseline). The
length-controlled win rate is the mean over x of the prediction without the middle term.

γ is unknown. It is estimated from a pool of other models that the same judge compared with the same baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit

from sparring.errors import InputError
from sparring.evaluation.annotations import Annotations
from sparring.evaluation.win_rate import WinRate
from sparring.metrics.logistic import RIDGE, Array, Regression, fit_logistic, length_feature
from sparring.registry import require_positive

# How much the anchor's rows weigh beside the model's: `regularize_to_baseline_lambda` of alpaca_eval.
_ANCHOR_WEIGHT = 0.2


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The φ and ψ towards which a fit is drawn where its data say little, as where all answers are shorter.

    Attributes:
        length: φ.
        difficulty: ψ.
    """

    length: float
    difficulty: float


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Facts about the instructions and the judge, from the verdicts on other models.

    Attributes:
        difficulty: γ_x of each instruction, log odds, of mean about 0; the higher, the better models do.
        anchor: The mean φ and ψ of the pool's models, each fitted by itself.
    """

    difficulty: Mapping[str, float]
    anchor: Anchor

    @classmethod
    def fit(cls, annotations: Sequence[Annotations], *, of: Annotations, precision: float = 0.1) -> Pool:
        """The pool of one model: γ and anchor from the verdicts on all *other* models.

        γ comes from one regression over all of them, with θ and φ for each model and ψ = 1.

        Args:
            annotations: The pool, which may hold `of` as well.
            of: The model that is left out.
            precision: 1/variance of the normal prior of γ; the result hardly depends on it (docs/evaluation.md).

        Raises:
            ValueError: `precision` is not above 0.
            InputError: No other model in `annotations` was compared with the same baseline.
        """
        require_positive("precision", precision, "instructions that all models win or lose would be infinitely hard")
        others = [
            item.with_verdict()
            for item in annotations
            if item.baseline == of.baseline and item.model not in {of.model, of.baseline}
        ]
        if not others:
            problem = f"the pool has no model other than '{of.model}' that is compared with '{of.baseline}'"
            raise InputError(problem, where="pool", fix="add the annotations of other models, or go without a pool")
        difficulty = _fit_difficulty(others, precision)
        fits = np.mean([_rows(*_features(item, difficulty), item.preference, None).fitted for item in others], axis=0)
        return cls(difficulty=difficulty, anchor=Anchor(length=float(fits[1]), difficulty=float(fits[2])))


def length_controlled_win_rate(
    annotations: Annotations,
    *,
    difficulty: Mapping[str, float] | None = None,
    anchor: Anchor | None = None,
    seed: int = 0,
) -> WinRate:
    """The length-controlled win rate: the mean of σ(θ + ψ γ_x), fitted to the rows with a verdict.

    Args:
        annotations: The model's verdicts.
        difficulty: γ_x of each instruction, as `Pool` has it. None leaves γ out; on AlpacaEval that was further from
            the published rates than the plain win rate is (docs/evaluation.md).
        anchor: φ and ψ towards which the fit is drawn, by rows of weight 0.2 at the model's own lengths with the
            verdicts of a model as able as the baseline (θ = 0). None adds no rows.
        seed: The seed of the bootstrap. The error is that of the model's own verdicts: γ and anchor are taken as known.

    Raises:
        InputError: Fewer than two rows have a verdict, an instruction has no difficulty, or the two lengths differ by
            the same everywhere, so that their effect cannot be told from ability.
    """
    annotations = annotations.with_verdict()
    length, gamma = _features(annotations, difficulty)
    controlled = np.stack([np.ones(len(gamma)), np.zeros(len(gamma)), gamma], axis=1)
    rate, influence = _rows(length, gamma, annotations.preference, anchor).mean_at(controlled)
    return WinRate.of(rate, influence, seed=seed)


def _rows(length: Array, gamma: Array, preference: Array, anchor: Anchor | None) -> Regression:
    """The regression on (θ, φ, ψ): n rows of the model and, with an anchor, n of the anchor."""
    n = len(preference)
    features = np.stack([np.ones(n), length, gamma], axis=1)
    if anchor is None:
        return Regression(n=n, features=features, target=preference, weight=np.ones(n))
    equal = expit(anchor.length * length + anchor.difficulty * gamma)
    return Regression(
        n=n,
        features=np.concatenate([features, features * [0.0, 1.0, 1.0]]),
        target=np.concatenate([preference, equal]),
        weight=np.repeat([1.0, _ANCHOR_WEIGHT], n),
    )


def _fit_difficulty(pool: Sequence[Annotations], precision: float) -> dict[str, float]:
    numbers = {text: number for number, text in enumerate(dict.fromkeys(x for item in pool for x in item.instructions))}
    models = np.concatenate([np.full(len(item.preference), number) for number, item in enumerate(pool)])
    instructions = np.array([numbers[text] for item in pool for text in item.instructions])
    length = np.concatenate([_length(item) for item in pool])
    rows, columns = np.arange(len(models)), np.array([0, len(pool), 2 * len(pool)])
    entries = (np.ones(len(rows)), length, np.ones(len(rows)))
    indices = np.stack([models, models, instructions]) + columns[:, None]
    features = sparse.csr_array((np.concatenate(entries), (np.tile(rows, 3), indices.ravel())))
    ridge = np.concatenate([np.full(2 * len(pool), RIDGE), np.full(len(numbers), precision)])
    fitted = fit_logistic(features, np.concatenate([item.preference for item in pool]), ridge=ridge)
    return dict(zip(numbers, fitted[2 * len(pool) :].tolist(), strict=True))


def _features(annotations: Annotations, difficulty: Mapping[str, float] | None) -> tuple[Array, Array]:
    """The features tanh(d/std d) and γ, `[N]` each."""
    if difficulty is None:
        return _length(annotations), np.zeros(len(annotations.preference))
    missing = [text for text in annotations.instructions if text not in difficulty]
    if missing:
        problem = f"{len(missing)} instructions have no difficulty, the first is {missing[0][:60]!r}"
        fix = "let some model of the pool answer them, or go without difficulties"
        raise InputError(problem, where=f"annotations of '{annotations.model}'", fix=fix)
    return _length(annotations), np.array([difficulty[text] for text in annotations.instructions])


def _length(annotations: Annotations) -> Array:
    difference = annotations.model_length - annotations.baseline_length
    if not difference.any():
        return difference
    if difference.std(ddof=1) == 0:
        problem = "the answers differ from the baseline's by the same length everywhere"
        fix = "use the plain win rate: the effect of length cannot be told from ability"
        raise InputError(problem, where=f"annotations of '{annotations.model}'", fix=fix)
    return length_feature(difference)
