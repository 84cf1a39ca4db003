"""Tries the user's own components on made-up numbers or on responses of the data, before anything expensive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sparring.errors import InputError, RunError
from sparring.judges import JudgeSettings, Question, Verdict
from sparring.judges.rules import ReturnError
from sparring.own_code import is_own
from sparring.regularizers import split_regularizers
from sparring.selfplay.config.schema import PhaseConfig
from sparring.trials import at, failed, try_loss, try_opponent
from sparring.types import Objective, Opponent

_LONGEST = 200  # characters of what somebody returned
# A verifier is certain.
_PREFERENCES = (0.5, 0.0, 1.0)


def check_own(config: PhaseConfig, objective: Objective, opponent: Opponent) -> None:
    """Calls each of the user's own components once; the registered ones have tests.

    Raises:
        InputError: It fails, or returns something that the loop cannot use.
    """
    samples = config.generation.samples_per_prompt + (config.judge is not None and config.judge.expert_plays)
    alone, penalties = split_regularizers(objective)
    if is_own(config.objective.name):
        try_loss("objective", config.objective.name, alone, samples, preferences=_PREFERENCES)
    for named, penalty in zip(config.regularizers, penalties, strict=True):
        if is_own(named.name):
            try_loss("regularizer", named.name, penalty, samples, preferences=_PREFERENCES)
    if is_own(config.opponent.name):
        try_opponent(config.opponent.name, opponent)


def try_judge(name: str, judge: JudgeSettings, questions: Sequence[Question]) -> None:
    """Starts a judge that runs the user's own code, and asks it; not one whose verdicts may be billed.

    Args:
        name: Its name in the configuration.
        judge: Its settings, as a run has them.
        questions: The questions.

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
        # The error of a failing rule ends with how to resume a run, which does not apply here.
        reason = error.__cause__ if isinstance(error, RunError) and error.__cause__ is not None else error
        if isinstance(reason, ReturnError):
            fix = "return whether the response is right, or a score, of which the higher wins; None abstains"
            raise InputError(str(reason), where=at("judge", path), fix=fix) from error
        raise failed("judge", path, reason, "responses of the data") from error
    fix = "return one sparring.judges.protocol.Verdict for each question, with a row and a column for each response"
    asked = _counted(len(questions), "question")
    if not isinstance(verdicts, list | tuple):
        raise InputError(f"for {asked} it returns {_shown(verdicts)}", where=at("judge", path), fix=fix)
    if len(verdicts) != len(questions):
        problem = f"for {asked} it returns {_counted(len(verdicts), 'verdict')}"
        raise InputError(problem, where=at("judge", path), fix=fix)
    for question, verdict in zip(questions, verdicts, strict=True):
        problem = f"its verdict on {_counted(len(question.responses), 'response')}"
        if not isinstance(verdict, Verdict):
            raise InputError(f"{problem} is {_shown(verdict)}", where=at("judge", path), fix=fix)
        if len(verdict.pairwise) != len(question.responses):
            problem += f" has {_counted(len(verdict.pairwise), 'row')}"
            raise InputError(problem, where=at("judge", path), fix=fix)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _shown(value: object) -> str:
    """A returned value as text, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
