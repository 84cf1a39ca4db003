"""Checks that the judges have everything that they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

from sparring.data import CALLED, Clock, Dataset, Encoded
from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.judges import JudgeSettings, Question
from sparring.selfplay.checks.own import try_judge
from sparring.selfplay.config.schema import Component, SelfPlayConfig
from sparring.selfplay.phases import Phase, errors_name_phase
from sparring.work import processes

_TRIED = 2  # prompts


def usable_judge(config: SelfPlayConfig, judge: JudgeSettings | None, data: Dataset) -> JudgeSettings | None:
    """The judge of held-out answers; None without answers, or if it needs right answers and no held-out row has one.

    Raises:
        InputError: The configuration asks for a judge that cannot be used.
    """
    if not config.evaluation.answers:
        return None
    if judge is None or not judge.needs_reference_answer or _answered(data):
        return judge
    if config.evaluation.judge is not None and data.held_out:
        problem = f"the judge compares with {CALLED['reference_answer']}, and no held-out row has one"
        raise InputError(problem, where="evaluation.judge", fix="take another judge, or hold out rows that have one")
    return None


def _answered(data: Dataset) -> bool:
    return bool(data.held_out) and data.held_out[0].reference_answer is not None


def check_judges(config: SelfPlayConfig, phases: Sequence[Phase], of_held_out: JudgeSettings | None) -> None:
    """Raises InputError if something that a judge needs on this machine is missing, such as its model or rule."""
    for phase in phases:
        if phase.judge is not None:
            with errors_name_phase(config, phase.number):
                phase.judge.check()
    if of_held_out is not None and isinstance(config.evaluation.judge, Component):
        with _errors_of_held_out():
            of_held_out.check()


@contextmanager
def _errors_of_held_out() -> Iterator[None]:
    """Within, errors say that the judge is the evaluation's."""
    try:
        yield
    except InputError as error:
        raise InputError(error.problem, where=f"evaluation.{error.where}", fix=error.fix) from error


def check_own_judges(
    config: SelfPlayConfig,
    phases: Sequence[Phase],
    of_held_out: JudgeSettings | None,
    train: Sequence[EncodedExample],
    clock: Clock,
) -> None:
    """Asks each judge that runs the user's own code about responses of the data, in the main process alone.

    A judge that compares with responses which a teacher has yet to write is left out.

    Raises:
        InputError: A judge fails, or returns something that the loop cannot use.
    """
    for phase in phases:
        if phase.judge is not None and phase.config.judge is not None:
            with errors_name_phase(config, phase.number):
                questions = _made_up(phase, phase.prompts(train))
                _try(config, phase.config.judge.name, phase.judge, questions, clock)
    if of_held_out is not None and isinstance(config.evaluation.judge, Component):
        fitting = [item for item in train if item.reference_answer or not of_held_out.needs_reference_answer]
        with _errors_of_held_out():
            _try(config, config.evaluation.judge.name, of_held_out, _asked(fitting, 2), clock)


def _try(config: SelfPlayConfig, name: str, judge: JudgeSettings, questions: Sequence[Question], clock: Clock) -> None:
    if judge.needs_reference_answer and config.data.teacher is not None:
        return
    told = judge.in_run(config.data.template_options, clock)
    processes.on_main(lambda: try_judge(name, told, questions))


def _made_up(phase: Phase, prompts: Sequence[EncodedExample]) -> list[Question]:
    """Questions as the phase asks them; facts that are known only once a policy has answered are made up."""
    n = phase.samples + phase.expert_plays
    numbers = tuple(0.1 * place for place in range(n))
    known: dict[str, Any] = {}
    if phase.judge is not None and phase.judge.reads_log_ratios:
        known |= {"log_ratios": numbers, "lengths": tuple(range(1, n + 1))}
    if phase.reward_player is not None:
        known |= {"rewards": numbers}
    return [replace(each, **known) for each in _asked(prompts, phase.samples, expert_plays=phase.expert_plays)]


def _asked(prompts: Sequence[EncodedExample], count: int, *, expert_plays: bool = False) -> list[Question]:
    """Questions about the first prompts, with as many texts of the data in place of generated responses."""
    texts = [item.response or item.reference_answer or item.prompt for item in prompts[:count]]
    generated = list(islice(cycle(texts), count))
    return [Question.about(item, generated, expert_plays=expert_plays) for item in prompts[:_TRIED]]


def check_answers(config: SelfPlayConfig, phases: Sequence[Phase], train: Encoded) -> None:
    """Raises InputError if a judge cannot use the reference answers, or reads more of a response than is trained on."""
    if config.data.teacher is not None:
        # A teacher writes the answers later.
        return
    for phase in phases:
        judge = phase.judge
        if judge is None:
            continue
        prompts = phase.prompts(train.examples)
        with errors_name_phase(config, phase.number):
            if judge.needs_reference_answer:
                judge.check_answers([item.reference_answer for item in prompts if item.reference_answer is not None])
            cut = phase.expert_plays and sum(item.expert_ids[-1] not in train.stop_ids for item in prompts)
            if judge.reads_text and cut:
                raise InputError(
                    f"the expert plays, and {cut} of its responses are cut at data.max_response_tokens: the judge "
                    "reads them whole, but only a part is trained on",
                    where="judge.expert_plays",
                    fix="raise data.max_response_tokens, or set data.overlong_response: drop",
                )
