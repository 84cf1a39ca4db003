"""Whether the judges have what they need."""

from __future__ import annotations

from collections.abc import Sequence

from sparring.data import CALLED, Dataset, Encoded
from sparring.errors import InputError
from sparring.judges import JudgeSettings
from sparring.selfplay.config.schema import Component, SelfPlayConfig
from sparring.selfplay.phases import Phase, errors_name_phase


def usable_judge(config: SelfPlayConfig, judge: JudgeSettings | None, data: Dataset) -> JudgeSettings | None:
    """The judge of held-out responses; None where it needs reference answers and no held-out row has one.

    Raises:
        InputError: The configuration asks for a judge that cannot be used.
    """
    if judge is None or not judge.needs_reference_answer or _answered(data):
        return judge
    if config.evaluation.judge is not None and data.held_out:
        problem = f"the judge compares with {CALLED['reference_answer']}, and no held-out row has one"
        raise InputError(problem, where="evaluation.judge", fix="take another judge, or hold out rows that have one")
    return None


def _answered(data: Dataset) -> bool:
    return bool(data.held_out) and data.held_out[0].reference_answer is not None


def check_judges(config: SelfPlayConfig, phases: Sequence[Phase], of_held_out: JudgeSettings | None) -> None:
    """Raises InputError where something that a judge needs on this machine is missing, such as its model or rule."""
    for phase in phases:
        if phase.judge is not None:
            with errors_name_phase(config, phase.number):
                phase.judge.check()
    if of_held_out is not None and isinstance(config.evaluation.judge, Component):
        try:
            of_held_out.check()
        except InputError as error:
            raise InputError(error.problem, where=f"evaluation.{error.where}", fix=error.fix) from error


def check_answers(config: SelfPlayConfig, phases: Sequence[Phase], train: Encoded) -> None:
    """Raises InputError where a judge cannot use the reference answers, or reads more of a response than is trained."""
    if config.data.teacher is not None:
        # The teacher writes them later.
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
