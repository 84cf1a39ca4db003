"""Trials of the user's own losses and opponents on made-up numbers, before a run; registered ones have tests."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from sparring.errors import InputError, did_you_mean
from sparring.log_ratios import TOKEN_FIELDS, LogRatios
from sparring.own_code import place
from sparring.policies import BASE
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.types import Objective, ObjectiveOutput, Opponent, OpponentSpec, Regularizer

_PROMPTS = 2
_NUMBERS = "made-up numbers"
_KNOWN = frozenset(field.name for field in fields(LogRatios))


def try_loss(kind: str, path: str, loss: Objective | Regularizer, samples: int) -> None:
    """Calls an objective or a regularizer once.

    Args:
        kind: "objective" or "regularizer".
        path: Its import path.
        loss: The object.
        samples: K, the number of responses of each prompt.

    Raises:
        InputError: It fails, requires an unknown field, or returns no loss `[B]` with a gradient.
    """
    what = at(kind, path)
    try:
        requires = loss.requires
        output: object = loss(_made_up(requires, what, samples))
    except InputError:
        raise
    except Exception as error:  # it may fail in any way
        raise failed(kind, path, error, _NUMBERS) from error
    if not isinstance(output, ObjectiveOutput):
        problem = f"it returns {type(output).__name__}, not sparring.types.ObjectiveOutput"
        raise InputError(problem, where=what, fix="return ObjectiveOutput(loss=…, metrics={…})")
    for name, value in {
        "loss": output.loss,
        **{f"metric '{key}'": value for key, value in output.metrics.items()},
    }.items():
        if not isinstance(value, torch.Tensor) or value.shape != (_PROMPTS,):
            shape = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            problem = f"its {name} must be a tensor [B], one number a prompt; for {_PROMPTS} prompts it is {shape}"
            fix = "keep one value a prompt, and take no mean over prompts: training and games take it"
            if isinstance(value, torch.Tensor) and value.ndim > 1:
                fix = "average over the samples, with ratios.mean_over_samples"
            raise InputError(problem, where=what, fix=fix)
    if not output.loss.requires_grad:
        fix = "compute it from the required fields, without detach or item()"
        raise InputError("its loss has no gradient", where=what, fix=fix)


def _made_up(requires: object, what: str, samples: int) -> LogRatios:
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
        value = torch.full(shape, 0.5)
        log_prob = name not in {"preference", "pairwise"} and not name.endswith(("weight", "length"))
        value.requires_grad_(log_prob)
        values[name] = value if name not in TOKEN_FIELDS else _of_tokens(name, value)
    return LogRatios(**values or {"expert": torch.zeros(_PROMPTS)})


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


def failed(kind: str, path: str, error: BaseException, on: str) -> InputError:
    """The error for a component that fails on some input."""
    problem = f"it fails on {on} ({type(error).__name__}: {error})"
    return InputError(problem, where=at(kind, path, error), fix="mend it; docs/your-own.md says how to try it")
