"""Can the judges judge, and what?"""

from __future__ import annotations

from collections.abc import Sequence

from sparring.data import Dataset, Encoded
from sparring.errors import InputError
from sparring.judges import Expert, Pairwise, RewardModel, VerifierJudge
from sparring.judges.protocol import JudgeSettings
from sparring.models import resolve
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import Phase, naming

_JUDGE_MODEL = "give a folder that `save_pretrained` wrote, or a Hugging Face id (owner/model)"


def able_to_judge(config: SelfPlayConfig, judge: JudgeSettings | None, data: Dataset) -> JudgeSettings | None:
    """The judge of held-out responses, or None where it compares with the expert's, and none is held out.

    Raises:
        InputError: It was asked for.
    """
    if judge is None or not judge.needs_expert or (data.held_out and data.held_out[0].response is not None):
        return judge
    if config.evaluation.judge is not None and data.held_out:
        problem = "it compares with the expert's response, and no held-out row has one"
        raise InputError(problem, where="evaluation.judge", fix="take another judge, or hold out rows that have one")
    return None


def check_judges(config: SelfPlayConfig, phases: Sequence[Phase]) -> None:
    """Raises InputError where a judge's model is not there, or its rule cannot be imported."""
    for phase in phases:
        with naming(config, phase.number):
            if isinstance(phase.judge, VerifierJudge):
                phase.judge.check_import()
            elif isinstance(phase.judge, RewardModel | Pairwise):
                try:
                    resolve(phase.judge.model)
                except InputError as error:
                    raise InputError(error.problem, where="judge.model", fix=_JUDGE_MODEL) from error


def check_experts(config: SelfPlayConfig, phases: Sequence[Phase], train: Encoded) -> None:
    """Raises InputError where a judge would compare with expert responses that tell it nothing, or not what trains."""
    if config.data.teacher is not None:
        # It writes them later.
        return
    for phase in phases:
        experts = [item for item in phase.prompts(train.examples) if item.response is not None]
        judge = phase.judge
        with naming(config, phase.number):
            if isinstance(judge, VerifierJudge) and not any(
                judge.finds_answer(item.response or "") for item in experts
            ):
                problem = f"'{judge.rule}' finds no answer in any expert response, such as {experts[0].response!r}"
                raise InputError(problem, where="judge.rule", fix="take a rule, or a pattern, that fits the data")
            cut = sum(item.expert_ids[-1] not in train.stop_ids for item in experts)
            if phase.expert_plays and not isinstance(judge, Expert) and cut:
                raise InputError(
                    f"the expert plays, and {cut} of its responses are cut at data.max_response_tokens: what the judge "
                    "sees whole would be trained on in part",
                    where="judge.expert_plays",
                    fix="raise data.max_response_tokens, or set data.overlong_response: drop",
                )
