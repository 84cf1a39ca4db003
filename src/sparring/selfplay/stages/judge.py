"""Judge: compares the responses to each training prompt, one file for each sample shard."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path
from typing import Any

from sparring.data import is_right
from sparring.errors import RunError
from sparring.judges import Question, Verdict
from sparring.judges.protocol import totals
from sparring.log_ratios import EXPERT_FIELDS
from sparring.progress import console, progress
from sparring.selfplay.phases import Phase
from sparring.selfplay.run import Run
from sparring.selfplay.stages.score import log_ratios_to_base
from sparring.selfplay.stages.verdicts import Verdicts, judge_file
from sparring.shards import judgements_path, read_rewards, read_samples, rewards_path
from sparring.trainer.triples import Triple

_MORE_DECIDED = (
    "Some response is preferred on more prompts where more are sampled (generation.samples_per_prompt), where they "
    "differ more (generation.temperature) and, if none is right, from a stronger start (warmup, or a better model)"
)


def judge_samples(run: Run, iteration: int, shards: Sequence[Path]) -> Verdicts:
    """Compares the responses of every sample shard, and logs the number of undecided pairs and the cost of the judge.

    If the data have a verifier, `judge/right` is the share of pairs of a right and a wrong response in which the judge
    prefers the right one; a tie counts half.

    Returns:
        The verdict on each training prompt.
    """
    judge, stage = run.judges.of_phases[run.phase(iteration).number], run.directory.iteration(iteration)
    verdicts: Verdicts = {}
    found: list[float] = []
    with progress(f"iteration {iteration}: judge", total=len(shards), unit="comparisons") as meter:
        for shard in shards:
            questions = _questions(run, iteration, shard)
            judged = judge_file(judge, questions, judgements_path(stage, shard))
            found += chain.from_iterable(_right(run, questions[index], judged[index]) for index in questions)
            verdicts |= judged
            meter.advance(quantity=sum(n * (n - 1) // 2 for n in map(len, (q.responses for q in questions.values()))))
    counts = logged_totals(verdicts.values())
    pairs = sum(len(verdict.pairwise) * (len(verdict.pairwise) - 1) // 2 for verdict in verdicts.values())
    decided = sum(_decides(verdict) for verdict in verdicts.values())
    right = {"judge/right": math.fsum(found) / len(found), "judge/right_pairs": len(found)} if found else {}
    numbers = {**counts, "judge/comparisons": pairs, "judge/decided": decided, **right}
    run.log({"stage": "judge", "iteration": iteration, **numbers})
    console.print(
        f"iteration {iteration}: of {pairs} comparisons {counts['judge/ties']} are ties, {counts['judge/abstentions']} "
        f"abstentions, {counts['judge/unparsable']} unreadable; some response is preferred to another on {decided} of "
        f"{len(verdicts)} prompts" + ("" if decided else ", so there is nothing to learn"),
    )
    if 2 * decided < len(verdicts) and counts["judge/ties"] > counts["judge/abstentions"] + counts["judge/unparsable"]:
        console.print(_MORE_DECIDED)
    return verdicts


def _right(run: Run, question: Question, verdict: Verdict) -> Iterator[float]:
    """For each pair of a right and a wrong response by the data's verifier: 1 if the right one wins, ½ for a tie."""
    known = [is_right(run.prepared.verifier, text, question.reference_answer) for text in question.responses]
    for i, j in product(range(len(known)), repeat=2):
        p = verdict.pairwise[i][j]
        if known[i] is True and known[j] is False and p is not None:
            yield 0.5 if p == 0.5 else float(p > 0.5)


def _decides(verdict: Verdict) -> bool:
    """Whether some response is preferred to another."""
    return any(p not in {None, 0.5} for row in verdict.pairwise for p in row)


def logged_totals(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """The `totals` of some verdicts, by their names in the log."""
    return {f"judge/{name}": total for name, total in totals(list(verdicts)).items()}


def join(run: Run, iteration: int, triples: Sequence[Triple], verdicts: Verdicts) -> list[Triple]:
    """The training triples with their preferences; a prompt is left out if a pair that is needed has no verdict.

    Args:
        run: The run.
        iteration: The number of the iteration, whose phase says whether the expert plays, and what the objective reads.
        triples: One for each prompt of the phase, in their order.
        verdicts: The verdicts by prompt index.

    Raises:
        RunError: All prompts are left out.
    """
    phase = run.phase(iteration)
    beside = bool(phase.objective.requires & EXPERT_FIELDS)
    played = [_with_expert(triple, beside=beside) if phase.expert_plays else triple for triple in triples]
    joined = [
        _with_verdict(phase, triple, verdicts[example.index])
        for example, triple in zip(run.prompts(iteration), played, strict=True)
    ]
    decided = [triple for triple in joined if triple is not None]
    if not decided:
        raise RunError("the judge left pairs undecided on every prompt, so there is nothing to train on")
    if len(decided) < len(joined):
        text = f"the judge left pairs undecided on {len(joined) - len(decided)} of {len(joined)} prompts; they sit out"
        console.print(text)
    return decided


def _questions(run: Run, iteration: int, shard: Path) -> dict[int, Question]:
    examples = {example.index: example for example in run.train}
    phase, samples = run.phase(iteration), read_samples([shard])
    questions = {
        index: Question.about(examples[index], [row["text"] for row in rows], expert_plays=phase.expert_plays)
        for index, rows in samples.items()
    }
    compared = {
        index: [*([None] if phase.expert_plays else []), *(row["sample"] for row in rows)]
        for index, rows in samples.items()
    }
    if phase.judge is not None and phase.judge.reward_player() is not None:
        rewards = read_rewards(rewards_path(run.directory.iteration(iteration), shard))
        known = {(row["index"], row["sample"]): row["reward"] for row in rewards}
        for index, keys in compared.items():
            questions[index] = replace(questions[index], rewards=tuple(known[index, key] for key in keys))
    if phase.judge is not None and phase.judge.reads_log_ratios:
        ratios = log_ratios_to_base(run, iteration, shard)
        for index, keys in compared.items():
            told = tuple(ratios[index, key] for key in keys)
            lengths = [len(examples[index].expert_ids)] if phase.expert_plays else []
            lengths += [len(row["response_ids"]) for row in samples[index]]
            questions[index] = replace(questions[index], log_ratios=told, lengths=tuple(lengths))
    return questions


def _with_expert(triple: Triple, *, beside: bool) -> Triple:
    """The triple with the expert's response as the first generated one; if `beside`, it remains the expert's too."""
    scores: dict[str, Any] = {} if beside else {"expert_ids": (), "opponent_expert": None, "reference_expert": None}
    for player in ("opponent", "reference"):
        expert, generated = getattr(triple, f"{player}_expert"), getattr(triple, f"{player}_generated")
        if generated is not None:
            scores[f"{player}_generated"] = (expert, *generated)
    return replace(triple, generated_ids=[triple.expert_ids, *triple.generated_ids], **scores)


def _with_verdict(phase: Phase, triple: Triple, verdict: Verdict) -> Triple | None:
    """The triple with the preferences that the objective reads; None if one of them is unknown."""
    include_self = phase.config.judge is not None and phase.config.judge.include_self
    rates = verdict.win_rates(include_self=include_self, expert_plays=phase.expert_plays)
    fields: dict[str, Any] = {}
    if "preference" in phase.objective.requires:
        fields["preference"] = None if None in rates else rates
    if "pairwise" in phase.objective.requires:
        fields["pairwise"] = None if any(None in row for row in verdict.pairwise) else verdict.pairwise
    return None if None in fields.values() else replace(triple, **fields)
