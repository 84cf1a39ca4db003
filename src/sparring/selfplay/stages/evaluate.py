"""Evaluate: measures a policy on the held-out prompts. `held_out.py` tells which module does what part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from sparring.data import is_right
from sparring.digests import DamagedError
from sparring.files import remove, write_json
from sparring.metrics import Estimate, HeldOut, Preferences, Response, measure
from sparring.policies import BASE, TEACHER, Author, Drawn
from sparring.progress import console
from sparring.run_files import read_evaluation
from sparring.selfplay.run import Run
from sparring.selfplay.stages.answers import keep_answers
from sparring.selfplay.stages.compare import compare
from sparring.selfplay.stages.held_out import answers_of, authors_measured, held_out_samples, held_out_scores
from sparring.selfplay.stages.held_out_objective import authors_read, objective_on_held_out
from sparring.selfplay.stages.score import Scores
from sparring.selfplay.stages.tracked import track
from sparring.shard_files import read_columns
from sparring.shards import AnswerRow, LogRatioRow, ResponseKey, SampleRow, answers_path, log_ratios_path
from sparring.work import processes


def evaluated(run: Run, policy: int) -> dict[str, Estimate] | None:
    """The estimates of a policy that was measured before; None where they are missing, or their files are damaged."""
    values = processes.on_main(lambda: _kept(run, policy))
    return None if values is None else _estimates(values)


def _kept(run: Run, policy: int) -> dict[str, Any] | None:
    stage = run.directory.stage(policy)
    if not stage.evaluation.exists():
        return None
    try:
        values = read_evaluation(stage.evaluation)
        # Held-out files of other stages too, since this measurement may have written log-probs there. Training samples
        # (`folders`) are left out: a measurement does not make them again.
        for each in run.directory.stages():
            if each == stage or each.evaluation.exists():
                each.check_inventory(fix="", folders=())
        for shard, row in ((answers_path(stage), AnswerRow), (log_ratios_path(stage), LogRatioRow)):
            if shard.exists():
                read_columns(shard, row)
    except DamagedError as error:
        console.print(f"{error.where}: {error.problem}; the policy is measured again")
        remove(stage.evaluation)
        return None
    return values


def evaluate(run: Run, policy: int) -> dict[str, Estimate]:
    """Measures a policy on the held-out set, and writes the estimates to the stage's `evaluation.json`.

    The policy gives a greedy response to each prompt, and responses sampled from the policy itself (temperature 1, no
    truncation), so that the KL estimate is unbiased; neither if `evaluation.answers` is off. Every policy sees the same
    prompts in the same batches with the same seeds.
    """
    known = evaluated(run, policy)
    if known is not None:
        return known
    stage = run.directory.stage(policy)
    estimates: dict[str, Estimate] = {}
    if run.held_out:
        held_out = _held_out(run, policy)
        keep_answers(run, policy, held_out)
        estimates = measure(held_out)
    if policy > 0 and run.held_out:
        estimates |= objective_on_held_out(run, policy - 1)
    track(run, policy, estimates)
    values = {name: estimate.to_json() for name, estimate in estimates.items()}
    # Of every stage, since its policy may have scored responses of this one.
    for each in processes.on_main(run.directory.stages):
        processes.on_main(each.take_inventory)
    processes.on_main(lambda: write_json(stage.evaluation, values))
    processes.wait_for_files([stage.evaluation])
    return _estimates(values)


def _estimates(values: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate.from_json(value) for name, value in values.items()}


class _LogProbs(TypedDict):
    log_prob: float
    log_prob_base: float
    log_prob_expert: float | None


@dataclass(frozen=True)
class _Scored:
    """Log-probs of held-out responses, by their author.

    Attributes:
        own: Under the policy that is measured.
        base: Under the base model.
        teacher: Under the teacher, of the expert's and the sampled responses; empty without a teacher.
    """

    own: Mapping[Author, Scores]
    base: Mapping[Author, Scores]
    teacher: Mapping[Author, Scores]

    def of(self, author: Author, key: ResponseKey) -> _LogProbs:
        """The log-probs of one response, named as the attributes of `Response`."""
        expert = self.teacher[author][key] if author in self.teacher else None
        return {"log_prob": self.own[author][key], "log_prob_base": self.base[author][key], "log_prob_expert": expert}


def _held_out(run: Run, policy: int) -> HeldOut:
    """The responses that a policy is measured by, with their log-probs and verdicts."""
    answers = answers_of(run, policy)
    written = {author: held_out_samples(run, author) for author in answers.values()}
    scored = _scored(run, policy)
    responses = {kind: _responses(run, author, written[author], scored) for kind, author in answers.items()}
    return HeldOut(
        expert=_experts(run, scored),
        greedy=[response for (response,) in responses.get("greedy", [])],
        sampled=responses.get("sampled", []),
        duels=compare(run, policy, lambda number: held_out_samples(run, Drawn(number, "sampled"))),
        compared=_preferences(run, scored),
        embed=run.embed,
    )


def _scored(run: Run, policy: int) -> _Scored:
    """Scores policy by policy, since each change may load weights, and all responses of a policy in the same rows."""
    authors, answers = authors_measured(run, policy), answers_of(run, policy)
    further = authors_read(run, policy - 1) if policy > 0 else []
    own = held_out_scores(run, policy, *authors.values(), *further)
    base = held_out_scores(run, BASE, *answers.values()) | held_out_scores(run, BASE, "expert", "data")
    taught = [author for kind, author in authors.items() if run.teacher is not None and kind in {"expert", "sampled"}]
    return _Scored(own, base, {author: held_out_scores(run, TEACHER, author)[author] for author in taught})


def _responses(
    run: Run, author: Drawn, written: Mapping[int, Sequence[SampleRow]], scored: _Scored
) -> list[list[Response]]:
    """A policy's own responses to each held-out prompt, in their order."""
    return [
        [
            Response(
                text=row["text"],
                tokens=len(row["response_ids"]),
                finish_reason=row["finish_reason"],
                right=is_right(run.prepared.verifier, row["text"], example.reference_answer),
                **scored.of(author, (example.index, row["sample"])),
            )
            for row in written[example.index]
        ]
        for example in run.held_out
    ]


def _experts(run: Run, scored: _Scored) -> list[Response]:
    return [
        Response(
            text=example.response,
            tokens=len(example.expert_ids),
            finish_reason=run.finish_reason(example.expert_ids),
            **scored.of("expert", (example.index, None)),
        )
        for example in run.held_out
        if example.response is not None
    ]


def _preferences(run: Run, scored: _Scored) -> list[Preferences]:
    own, base = scored.own["data"], scored.base["data"]
    return [
        Preferences(
            log_ratios=[own[example.index, k] - base[example.index, k] for k in range(len(example.compared_ids))],
            pairwise=example.comparison.pairwise,
        )
        for example in run.held_out
        if example.comparison is not None
    ]
