"""Whether the judges have what they need."""

from __future__ import annotations

from collections.abc import Sequence

from sparring.data import Dataset, Encoded
from sparring.errors import InputError
from sparring.judges import JudgeSettings
from sparring.selfplay.config.schema import Component, SelfPlayConfig
from sparring.selfplay.phases import Phase, errors_name_phase


def usable_judge(config: SelfPlayConfig, judge: JudgeSettings | None, data: Dataset) -> JudgeSettings | None:
    """The judge of held-out responses; None where it needs expert responses and no held-out row has one.

    Raises:
        InputError: The configuration asks for a judge that cannot be used.
    """
    if judge is None or not judge.needs_expert or (data.held_out and data.held_out[0].response is not None):
        return judge
    if config.evaluation.judge is not None and data.held_out:
        problem = "the judge compares with the expert's response, and no held-out row has one"
        raise InputError(problem, where="evaluation.judge", fix="take another judge, or hold out rows that have one")
    return None


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


def check_experts(config: SelfPlayConfig, phases: Sequence[Phase], train: Encoded) -> None:
    """Raises InputError where a judge cannot use the expert responses, or reads more of them than is trained on."""
    if config.data.teacher is not None:
        # The teacher writes them later.
        return
    for phase in phases:
        judge = phase.judge
        if judge is None or not (judge.needs_expert or phase.expert_plays):
            continue
        experts = phase.prompts(train.examples)
        with errors_name_phase(config, phase.number):
            judge.check_experts([item.response for item in experts if item.response is not None])
            cut = sum(item.expert_ids[-1] not in train.stop_ids for item in experts)
            if phase.expert_plays and judge.reads_text and cut:
                raise InputError(
                    f"the expert plays, and {cut} of its responses are cut at data.max_response_tokens: the judge "
                    "reads them whole, but only a part is trained on",
                    where="judge.expert_plays",
                    fix="raise data.max_response_tokens, or set data.overlong_response: drop",
                )
