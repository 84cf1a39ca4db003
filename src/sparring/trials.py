"""Trials of the user's own losses and opponents on made-up numbers, before a run; registered ones have tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from sparring.errors import InputError, did_you_mean
from sparring.log_ratios import PREFERENCE_FIELDS, TOKEN_FIELDS, LogRatios, MissingFieldError
from sparring.own_code import place
from sparring.policies import BASE
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.types import Objective, ObjectiveOutput, Opponent, OpponentSpec, Regularizer

_PROMPTS = 2
_NUMBERS = "made-up numbers"
_KNOWN = frozenset(field.name for field in fields(LogRatios))


def try_loss(
    kind: str, path: str, loss: Objective | Regularizer, samples: int, *, preferences: Sequence[float] = (0.5,)
) -> None:
    """Calls an objective or a regularizer: on log ratios of ½, and of 0, where every iteration starts.

    Args:
        kind: "objective" or "regularizer".
        path: Its import path.
        loss: The object.
        samples: K, the number of responses of each prompt.
        preferences: Values that the probability of a preference may have.

    Raises:
        InputError: It fails, requires an unknown field, or returns no loss `[B]` with a gradient; or one of the two is
            not finite where every iteration starts.
    """
    what = at(kind, path)
    try:
        requires = loss.requires
        output: object = loss(_made_up(requires, what, samples))
    except InputError:
        raise
    except Exception as error:  # it may fail in any way
        unread = "a field that `requires` leaves out is None: add it there" if _lacks_field(error) else None
        raise failed(kind, path, error, _NUMBERS, fix=unread) from error
    if not isinstance(output, ObjectiveOutput):
        problem = f"it returns {type(output).__name__}, not sparring.types.ObjectiveOutput"
        raise InputError(problem, where=what, fix="return ObjectiveOutput(loss=…, metrics={…})")
    values: dict[str, object] = {"loss": output.loss}
    values |= {f"metric '{name}'": value for name, value in output.metrics.items()}
    for name, value in values.items():
        if not isinstance(value, torch.Tensor) or value.shape != (_PROMPTS,):
            shape = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            problem = f"its {name} must be a tensor [B], one number a prompt; for {_PROMPTS} prompts it is {shape}"
            fix = "keep one value a prompt, and take no mean over prompts: training and games take it"
            if not isinstance(value, torch.Tensor):
                fix = "compute it with torch: a number, or an array of numpy, has no gradient"
            elif value.ndim > 1:
                fix = "average over the samples, with ratios.mean_over_samples"
            raise InputError(problem, where=what, fix=fix)
    if not output.loss.requires_grad:
        fix = "compute it from the required fields, without detach or item()"
        raise InputError("its loss has no gradient", where=what, fix=fix)
    for preference in preferences:
        _try_start(kind, path, loss, samples, preference)


def _lacks_field(error: Exception) -> bool:
    return isinstance(error, MissingFieldError) or "NoneType" in str(error)


def _try_start(kind: str, path: str, loss: Objective | Regularizer, samples: int, preference: float) -> None:
    """Raises InputError where a loss or its gradient is not finite at log ratios of 0."""
    what = at(kind, path)
    ratios = _made_up(loss.requires, what, samples, ratio=0.0, preference=preference)
    values = [each for each in ratios.present().values() if each.requires_grad]
    try:
        found = loss(ratios).loss
        gradients = torch.autograd.grad(found.sum(), values, allow_unused=True)
    except Exception as error:  # it may fail in any way
        raise failed(kind, path, error, _NUMBERS) from error
    if all(bool(each.isfinite().all()) for each in (found, *gradients) if each is not None):
        return
    where = "where all log ratios are 0, as every iteration starts"
    if preference != 0.5 and loss.requires & PREFERENCE_FIELDS:
        where += f", and a preference is {preference:g}, as a judge may give it"
    fix = "keep roots, logarithms and divisions away from 0, for example with clamp or a small constant inside"
    raise InputError(f"its loss or its gradient is not finite {where}", where=what, fix=fix)


def _made_up(requires: object, what: str, samples: int, *, ratio: float = 0.5, preference: float = 0.5) -> LogRatios:
    """Made-up log ratios with every required field; log-probs and log ratios have a gradient."""
    if not isinstance(requires, frozenset | set):
        problem, fix = f"its requires is {requires!r}", 'write frozenset({"expert", "generated"}), say'
        raise InputError(f"{problem}, not a set of fields", where=what, fix=fix)
    for name in requires:
        if name not in _KNOWN:
            fix = did_you_mean(str(name), _KNOWN)
            raise InputError(f"it requires '{name}', which is no field of LogRatios", where=what, fix=fix)
    values: dict[str, Any] = {}
    for name in requires:
        shape = LogRatios.shape(name, prompts=_PROMPTS, samples=samples)
        if name in PREFERENCE_FIELDS:
            value = _preferences(shape, preference)
        elif name.endswith(("weight", "length")):
            value = torch.full(shape, 0.5)
        else:
            log_prob = name.startswith("policy_") or name in TOKEN_FIELDS
            value = torch.full(shape, -1.0 if log_prob else ratio, requires_grad=True)
        values[name] = value if name not in TOKEN_FIELDS else _of_tokens(name, value)
    return LogRatios(**values or {"expert": torch.zeros(_PROMPTS)})


def _preferences(shape: tuple[int, ...], preference: float) -> torch.Tensor:
    """`[B, K]` P(y_k ≻ π_o), or `[B, K, K]` P(y_i ≻ y_j) for i < j, with P_ij + P_ji = 1."""
    value = torch.full(shape, preference)
    return value if value.ndim == 2 else value.triu(1) + (1.0 - value).tril(-1) + 0.5 * torch.eye(shape[-1])


def _of_tokens(name: str, value: torch.Tensor) -> TokenLogProbs | NextTokenLogProbs:
    if name == "generated_next_tokens":
        return NextTokenLogProbs.unpadded(value, torch.full_like(value, -1.0))
    return TokenLogProbs.unpadded(value)


def try_opponent(path: str, opponent: Opponent) -> None:
    """Asks an opponent for its first two iterations.

    Raises:
        InputError: It fails, or names policies that do not exist.
    """
    what = at("opponent", path)
    for iteration in (0, 1):
        try:
            spec: object = opponent.spec(iteration)
            scorers = _checked(spec, iteration, what).scorers
            combined: object = opponent.combine(iteration, dict.fromkeys(scorers, torch.full((_PROMPTS, 2), -1.0)))
        except InputError:
            raise
        except Exception as error:  # it may fail in any way
            raise failed("opponent", path, error, _NUMBERS) from error
        if not isinstance(combined, torch.Tensor) or combined.shape != (_PROMPTS, 2):
            fix = "return one log-prob for each response"
            raise InputError("combine returns another shape than that of the scorers' log-probs", where=what, fix=fix)


def _checked(spec: object, iteration: int, what: str) -> OpponentSpec:
    if not isinstance(spec, OpponentSpec):
        problem = f"its spec is {type(spec).__name__}, not sparring.types.OpponentSpec"
        raise InputError(problem, where=what, fix="return OpponentSpec(generators=…, scorers=…)")
    policies = {BASE, *range(iteration + 1)}
    if not spec.generators or not spec.scorers or not policies.issuperset((*spec.generators, *spec.scorers)):
        problem = f"at iteration {iteration} its generators are {spec.generators}, its scorers {spec.scorers}"
        fix = f"name at least one each, among 0 to {iteration} and sparring.policies.BASE ({BASE})"
        raise InputError(problem, where=what, fix=fix)
    return spec


def at(kind: str, path: str, error: BaseException | None = None) -> str:
    """The place of a component's source, for messages; of an error in it, the line."""
    return f"{kind} '{path}' ({place(path, error)})"


def failed(kind: str, path: str, error: BaseException, on: str, fix: str | None = None) -> InputError:
    """The error for a component that fails on some input."""
    problem = f"it fails on {on} ({type(error).__name__}: {error})"
    fix = fix or "mend it; docs/your-own.md says how to try it"
    return InputError(problem, where=at(kind, path, error), fix=fix)
