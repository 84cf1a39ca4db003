"""Evaluate: measures a policy on the held-out set, and the last iteration's objective on its prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypedDict

from sparring.data import is_right
from sparring.digests import DamagedError
from sparring.examples import EncodedExample
from sparring.files import remove, write_json
from sparring.judges import Verdict
from sparring.metrics import Estimate, HeldOut, Preferences, Response, measure
from sparring.policies import BASE, TEACHER, Drawn
from sparring.progress import console
from sparring.run_files import read_evaluation
from sparring.selfplay.run import Run
from sparring.selfplay.stages.answers import answer_rows
from sparring.selfplay.stages.compare import compare
from sparring.selfplay.stages.held_out import By, held_out_experts, held_out_samples, held_out_scores, score_files_of
from sparring.selfplay.stages.score import Scores
from sparring.selfplay.stages.tracked import track
from sparring.selfplay.stages.unseen import game_on_held_out, responses_in_game
from sparring.shard_files import read_columns, remove_damaged, write_shard
from sparring.shards import AnswerRow, LogRatioRow, ResponseKey, SampleRow, answers_path, log_ratios_path
from sparring.work import processes


def evaluated(run: Run, policy: int) -> dict[str, Estimate] | None:
    """What was measured of a policy before; None where nothing was, or what was kept of it is damaged or missing."""
    values = processes.on_main(lambda: _kept(run, policy))
    return None if values is None else _estimates(values)


def _kept(run: Run, policy: int) -> dict[str, Any] | None:
    stage = run.directory.stage(policy)
    if not stage.evaluation.exists():
        return None
    try:
        values = read_evaluation(stage.evaluation)
        # Others' too: what is missing there may be what this measurement scored. The rest is not made again.
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

    It takes greedy responses, and responses sampled from the policy itself (temperature 1, no truncation), so that the
    KL estimate is unbiased; neither where `evaluation.answers` is false. Every policy sees the same prompts in the same
    batches with the same seeds.
    """
    known = evaluated(run, policy)
    if known is not None:
        return known
    stage = run.directory.stage(policy)
    estimates: dict[str, Estimate] = {}
    if run.held_out:
        held_out = _held_out(run, policy)
        _keep_answers(run, policy, held_out)
        estimates = measure(held_out)
    if policy > 0 and run.held_out:
        estimates |= game_on_held_out(run, policy - 1)
    track(run, policy, estimates)
    values = {name: estimate.to_json() for name, estimate in estimates.items()}
    # Others' too: their policies scored these responses.
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
        teacher: Under the teacher, of the expert's and the sampled responses; nothing without one.
    """

    own: Mapping[By, Scores]
    base: Mapping[By, Scores]
    teacher: Mapping[By, Scores]

    def of(self, by: By, key: ResponseKey) -> _LogProbs:
        """Those of one response, as `Response` has them."""
        expert = self.teacher[by][key] if by in self.teacher else None
        return {"log_prob": self.own[by][key], "log_prob_base": self.base[by][key], "log_prob_expert": expert}


def _held_out(run: Run, policy: int) -> HeldOut:
    drawn = _drawn(run, policy)
    written = {by: held_out_samples(run, by) for by in drawn.values()}
    scored = _scored(run, policy)
    answers = {kind: _answers(run, by, written[by], scored) for kind, by in drawn.items()}
    return HeldOut(
        expert=_experts(run, scored),
        greedy=[answer for (answer,) in answers.get("greedy", [])],
        sampled=answers.get("sampled", []),
        duels=compare(run, policy, lambda number: held_out_samples(run, Drawn(number, "sampled"))),
        compared=_preferences(run, scored),
        embed=run.embed,
    )


def _scored(run: Run, policy: int) -> _Scored:
    # One policy after the other, since each change may load weights; what the game reads is scored in the same rows.
    kinds, drawn = _kinds(run, policy), _drawn(run, policy)
    game = responses_in_game(run, policy - 1) if policy > 0 else []
    own = held_out_scores(run, policy, *kinds.values(), *game)
    base = held_out_scores(run, BASE, *drawn.values()) | held_out_scores(run, BASE, "expert", "data")
    taught = [by for kind, by in kinds.items() if run.teacher is not None and kind in {"expert", "sampled"}]
    return _Scored(own, base, {by: held_out_scores(run, TEACHER, by)[by] for by in taught})


def _answers(run: Run, by: Drawn, written: Mapping[int, Sequence[SampleRow]], scored: _Scored) -> list[list[Response]]:
    """A policy's own responses to each held-out prompt, in their order."""
    return [
        [
            Response(
                text=row["text"],
                tokens=len(row["response_ids"]),
                finish_reason=row["finish_reason"],
                right=is_right(run.prepared.verifier, row["text"], example.reference_answer),
                **scored.of(by, (example.index, row["sample"])),
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


def _kinds(run: Run, policy: int) -> dict[str, By]:
    """The held-out responses that are measured for a policy, by their name in the report."""
    return {"expert": "expert", **_drawn(run, policy), "data": "data"}


def _drawn(run: Run, policy: int) -> dict[str, Drawn]:
    """Those of them that the policy gives itself."""
    answered = run.config.evaluation.answers
    return {"greedy": Drawn(policy, "greedy"), "sampled": Drawn(policy, "sampled")} if answered else {}


def _keep_answers(run: Run, policy: int, held_out: HeldOut) -> None:
    """Writes the held-out responses that the report shows."""
    path = answers_path(run.directory.stage(policy))
    processes.on_main(lambda: remove_damaged(path))
    if processes.on_main(path.exists):
        return
    given = list(zip(run.held_out, held_out.greedy, held_out.sampled, strict=True)) if held_out.sampled else []
    answered = held_out_experts(run)
    responses: dict[str, dict[ResponseKey, Response]] = {
        "expert": {(each.index, None): expert for each, expert in zip(answered, held_out.expert, strict=True)},
        "greedy": {(example.index, 0): greedy for example, greedy, _ in given},
        "sampled": {(each.index, k): answer for each, _, answers in given for k, answer in enumerate(answers)},
    }
    log_probs = held_out_scores(run, policy, "data")["data"]
    responses["data"] = {
        (each.index, k): _compared(run, each, k, log_probs[each.index, k])
        for each in run.held_out
        for k in range(len(each.compared_ids))
    }
    preferences = {
        (each.index, k): rate
        for each in run.held_out
        if each.comparison is not None
        for k, rate in enumerate(Verdict(pairwise=each.comparison.pairwise).win_rates())
    }
    asked = {example.index: example for example in run.held_out}
    kinds = _kinds(run, policy)
    own, base = ({k: score_files_of(run, who, by) for k, by in kinds.items()} for who in (policy, BASE))

    def write() -> None:
        told: dict[str, Any] = {"examples": asked, "tokenizer": run.policy.tokenizer, "preferences": preferences}
        rows = (answer_rows(k, responses[k], own=own[k], base=base[k], **told) for k in kinds)
        write_shard(path, chain.from_iterable(rows))

    processes.on_main(write)


def _compared(run: Run, example: EncodedExample, number: int, log_prob: float) -> Response:
    """A response that the data compare with others."""
    assert example.comparison is not None  # noqa: S101 - it has token ids
    text, ids = example.comparison.responses[number], example.compared_ids[number]
    right = is_right(run.prepared.verifier, text, example.reference_answer)
    return Response(text=text, tokens=len(ids), finish_reason=run.finish_reason(ids), log_prob=log_prob, right=right)
