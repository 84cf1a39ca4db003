"""Trials of the user's own components on made-up numbers, judges on the data's responses, before anything expensive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from sparring.errors import InputError, RunError, did_you_mean
from sparring.judges import JudgeSettings, Question, Verdict
from sparring.judges.rules import ReturnError
from sparring.log_ratios import TOKEN_FIELDS, LogRatios
from sparring.own_code import is_own, place
from sparring.policies import BASE
from sparring.regularizers import split_regularizers
from sparring.selfplay.config.schema import PhaseConfig
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.types import Objective, ObjectiveOutput, Opponent, OpponentSpec, Regularizer

_PROMPTS = 2
_NUMBERS = "made-up numbers"
_LONGEST = 200  # characters of what somebody returned
_KNOWN = frozenset(field.name for field in fields(LogRatios))


def check_own(config: PhaseConfig, objective: Objective, opponent: Opponent) -> None:
    """Calls each component of the user's own once; the registered ones have tests.

    Raises:
        InputError: It fails, or returns something that the loop cannot use.
    """
    samples = config.generation.samples_per_prompt + (config.judge is not None and config.judge.expert_plays)
    alone, penalties = split_regularizers(objective)
    if is_own(config.objective.name):
        _try_loss("objective", config.objective.name, alone, samples)
    for named, penalty in zip(config.regularizers, penalties, strict=True):
        if is_own(named.name):
            _try_loss("regularizer", named.name, penalty, samples)
    if is_own(config.opponent.name):
        _try_opponent(config.opponent.name, opponent)


def try_judge(name: str, judge: JudgeSettings, questions: Sequence[Question]) -> None:
    """Starts a judge that runs code of the user's own, and asks it; not one whose verdicts may be billed.

    Args:
        name: Its name in the configuration.
        judge: Its settings, as a run has them.
        questions: What it is asked.

    Raises:
        InputError: It fails, or returns something that the loop cannot use.
    """
    path = next((each for each in (name, *judge.imports()) if is_own(each)), None)
    if path is None or judge.may_cost_money:
        return
    try:
        with TemporaryDirectory() as answers:
            verdicts: object = judge.start(Path(answers))(questions)
    except InputError:
        raise
    except Exception as error:  # it may fail in any way
        # Where a rule failed, its judge says how a run goes on.
        reason = error.__cause__ if isinstance(error, RunError) and error.__cause__ is not None else error
        if isinstance(reason, ReturnError):
            fix = "return whether the response is right, or a score, of which the higher wins; None abstains"
            raise InputError(str(reason), where=_at("judge", path), fix=fix) from error
        raise _failed("judge", path, reason, "responses of the data") from error
    fix = "return one sparring.judges.protocol.Verdict for each question, with a row and a column for each response"
    asked = _counted(len(questions), "question")
    if not isinstance(verdicts, list | tuple):
        raise InputError(f"for {asked} it returns {_shown(verdicts)}", where=_at("judge", path), fix=fix)
    if len(verdicts) != len(questions):
        problem = f"for {asked} it returns {_counted(len(verdicts), 'verdict')}"
        raise InputError(problem, where=_at("judge", path), fix=fix)
    for question, verdict in zip(questions, verdicts, strict=True):
        problem = f"its verdict on {_counted(len(question.responses), 'response')}"
        if not isinstance(verdict, Verdict):
            raise InputError(f"{problem} is {_shown(verdict)}", where=_at("judge", path), fix=fix)
        if len(verdict.pairwise) != len(question.responses):
            problem += f" has {_counted(len(verdict.pairwise), 'row')}"
            raise InputError(problem, where=_at("judge", path), fix=fix)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _try_loss(kind: str, path: str, loss: Objective | Regularizer, samples: int) -> None:
    what = _at(kind, path)
    try:
        requires = loss.requires
        output: object = loss(_made_up(requires, what, samples))
    except InputError:
        raise
    except Exception as error:  # it may fail in any way
        raise _failed(kind, path, error, _NUMBERS) from error
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
            raise InputError(problem, where=what, fix="average over the samples, with ratios.mean_over_samples")
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


def _try_opponent(path: str, opponent: Opponent) -> None:
    what = _at("opponent", path)
    for iteration in (0, 1):
        try:
            spec: object = opponent.spec(iteration)
            scorers = _checked(spec, iteration, what).scorers
            combined: object = opponent.combine(iteration, dict.fromkeys(scorers, torch.full((_PROMPTS, 2), -1.0)))
        except InputError:
            raise
        except Exception as error:  # it may fail in any way
            raise _failed("opponent", path, error, _NUMBERS) from error
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


def _at(kind: str, path: str, error: BaseException | None = None) -> str:
    return f"{kind} '{path}' ({place(path, error)})"


def _shown(value: object) -> str:
    """What somebody returned, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _failed(kind: str, path: str, error: BaseException, on: str) -> InputError:
    problem = f"it fails on {on} ({type(error).__name__}: {error})"
    return InputError(problem, where=_at(kind, path, error), fix="mend it; docs/your-own.md says how to try it")
