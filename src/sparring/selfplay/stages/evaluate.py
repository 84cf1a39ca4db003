"""Evaluate: measures a policy on the held-out set, and the last iteration's objective on its prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

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
    KL estimate is unbiased. Every policy sees the same prompts in the same batches with the same seeds.
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


def _held_out(run: Run, policy: int) -> HeldOut:
    greedy, sampled = (held_out_samples(run, drawn) for drawn in (Drawn(policy, "greedy"), Drawn(policy, "sampled")))
    kinds = _kinds(policy)
    # One policy after the other, since each change may load weights; what the game reads is scored in the same rows.
    game = responses_in_game(run, policy - 1) if policy > 0 else []
    own = held_out_scores(run, policy, *kinds.values(), "data", *game)
    base = held_out_scores(run, BASE, kinds["greedy"], kinds["sampled"]) | held_out_scores(run, BASE, "expert", "data")
    teacher: Scores = {}
    if run.teacher is not None:
        for by in (kinds["expert"], kinds["sampled"]):
            teacher |= held_out_scores(run, TEACHER, by)[by]

    def responses(kind: str, example: EncodedExample, rows: Sequence[SampleRow]) -> list[Response]:
        return [
            Response(
                text=row["text"],
                tokens=len(row["response_ids"]),
                finish_reason=row["finish_reason"],
                log_prob=own[kinds[kind]][example.index, row["sample"]],
                log_prob_base=base[kinds[kind]][example.index, row["sample"]],
                log_prob_expert=teacher.get((example.index, row["sample"])) if kind == "sampled" else None,
                right=is_right(run.prepared.verifier, row["text"], example.reference_answer),
            )
            for row in rows
        ]

    return HeldOut(
        expert=[
            Response(
                text=example.response,
                tokens=len(example.expert_ids),
                finish_reason=run.finish_reason(example.expert_ids),
                log_prob=own["expert"][example.index, None],
                log_prob_base=base["expert"][example.index, None],
                log_prob_expert=teacher.get((example.index, None)),
            )
            for example in run.held_out
            if example.response is not None
        ],
        greedy=[responses("greedy", example, greedy[example.index])[0] for example in run.held_out],
        sampled=[responses("sampled", example, sampled[example.index]) for example in run.held_out],
        duels=compare(run, policy, lambda number: held_out_samples(run, Drawn(number, "sampled"))),
        compared=[
            Preferences(
                log_ratios=[
                    own["data"][example.index, k] - base["data"][example.index, k]
                    for k in range(len(example.compared_ids))
                ],
                pairwise=example.comparison.pairwise,
            )
            for example in run.held_out
            if example.comparison is not None
        ],
        embed=run.embed,
    )


def _kinds(policy: int) -> dict[str, By]:
    """The held-out responses that are measured for a policy, by their name in the report."""
    drawn: dict[str, By] = {"greedy": Drawn(policy, "greedy"), "sampled": Drawn(policy, "sampled")}
    return {"expert": "expert", **drawn, "data": "data"}


def _keep_answers(run: Run, policy: int, held_out: HeldOut) -> None:
    """Writes the held-out responses that the report shows."""
    path = answers_path(run.directory.stage(policy))
    processes.on_main(lambda: remove_damaged(path))
    if processes.on_main(path.exists):
        return
    examples = list(zip(run.held_out, held_out.greedy, held_out.sampled, strict=True))
    answered = held_out_experts(run)
    responses: dict[str, dict[ResponseKey, Response]] = {
        "expert": {(each.index, None): expert for each, expert in zip(answered, held_out.expert, strict=True)},
        "greedy": {(example.index, 0): greedy for example, greedy, _ in examples},
        "sampled": {(each.index, k): answer for each, _, answers in examples for k, answer in enumerate(answers)},
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
    own, base = ({k: score_files_of(run, who, by) for k, by in _kinds(policy).items()} for who in (policy, BASE))

    def write() -> None:
        told: dict[str, Any] = {"examples": asked, "tokenizer": run.policy.tokenizer, "preferences": preferences}
        kinds = (answer_rows(kind, each, own=own[kind], base=base[kind], **told) for kind, each in responses.items())
        write_shard(path, chain.from_iterable(kinds))

    processes.on_main(write)


def _compared(run: Run, example: EncodedExample, number: int, log_prob: float) -> Response:
    """A response that the data compare with others."""
    assert example.comparison is not None  # noqa: S101 - it has token ids
    text, ids = example.comparison.responses[number], example.compared_ids[number]
    right = is_right(run.prepared.verifier, text, example.reference_answer)
    return Response(text=text, tokens=len(ids), finish_reason=run.finish_reason(ids), log_prob=log_prob, right=right)
