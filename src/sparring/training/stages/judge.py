"""Judge: who beats whom among the responses to each training prompt, a file a sample shard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparring.errors import RunError
from sparring.judges import JUDGES, Question, Verdict, fingerprint
from sparring.progress import console, progress
from sparring.registry import build
from sparring.run_directory import read_shard, write_shard
from sparring.training.config import JudgeConfig
from sparring.training.game import Game
from sparring.training.stages.generate import read_samples
from sparring.training.triples import Triple

Verdicts = dict[int, Verdict]
_COUNTS = ("ties", "abstentions", "unparsable", "prompt_tokens", "completion_tokens", "cost")


def judge_samples(game: Game, iteration: int, shards: Sequence[Path]) -> Verdicts:
    """Compares the responses of every sample shard, and logs what the judge could not say and what it cost.

    Returns:
        Each training prompt's verdict, by index.
    """
    config, folder = game.config.judge, game.directory.iteration(iteration).judgements
    assert config is not None  # noqa: S101 (the stage is played only where there is one)
    judge = fingerprint(build(JUDGES, "judge", config.name, config.options))
    verdicts: Verdicts = {}
    with progress(f"iteration {iteration}: judge", total=len(shards), unit="comparisons") as meter:
        for shard in shards:
            questions = _questions(game, shard)
            verdicts |= judge_file(game, questions, folder / shard.name, judge)
            meter.advance(quantity=sum(n * (n - 1) // 2 for n in map(len, (q.responses for q in questions.values()))))
    totals = {f"judge/{name}": sum(getattr(verdict, name) for verdict in verdicts.values()) for name in _COUNTS}
    game.directory.log({"stage": "judge", "iteration": iteration, **totals})
    return verdicts


def judge_file(game: Game, questions: Mapping[int, Question], path: Path, judge: str) -> Verdicts:
    """The verdicts on some questions: read from `path`, or asked for and written there.

    Each is stored with a digest of what was compared and of the `judge`, by its fingerprint, so a verdict on other
    responses or of another judge is never taken for it.
    """
    digests = {index: _digest(question, judge) for index, question in questions.items()}
    known = read_shard(path) if path.exists() else []
    if {row["index"]: row["digest"] for row in known} != digests:
        assert game.judge is not None  # noqa: S101 (the main process judges, and has it)
        answers = game.judge(list(questions.values()))
        known = [
            {"index": index, "digest": digests[index], **asdict(verdict)}
            for index, verdict in zip(questions, answers, strict=True)
        ]
        write_shard(path, known)
    return {row["index"]: _verdict(row) for row in known}


def read_verdicts(path: Path) -> Verdicts:
    """The verdicts in a file that `judge_file` wrote."""
    return {row["index"]: _verdict(row) for row in read_shard(path)}


def join(game: Game, triples: Sequence[Triple], verdicts: Verdicts) -> list[Triple]:
    """The training triples with their preferences; prompts on which the judge left something open are left out.

    Args:
        game: The run; its judge says whether the expert plays.
        triples: One for each training prompt, in their order.
        verdicts: By prompt index.

    Raises:
        RunError: Nothing is left.
    """
    settings = game.config.judge
    assert settings is not None  # noqa: S101 (there are verdicts, so there is a judge)
    played = [_with_expert(triple) if settings.expert_plays else triple for triple in triples]
    joined = [
        _with_verdict(game, triple, verdicts[example.index], settings)
        for example, triple in zip(game.train, played, strict=True)
    ]
    known = [triple for triple in joined if triple is not None]
    if not known:
        raise RunError("the judge left something open on every prompt, so there is nothing to train on")
    if len(known) < len(joined):
        text = f"the judge left something open on {len(joined) - len(known)} of {len(joined)} prompts; they sit out"
        console.print(text, highlight=False)
    return known


def _questions(game: Game, shard: Path) -> dict[int, Question]:
    examples = {example.index: example for example in game.train}
    expert_plays = game.config.judge is not None and game.config.judge.expert_plays
    questions = {}
    for index, rows in read_samples([shard]).items():
        example, generated = examples[index], tuple(row["text"] for row in rows)
        questions[index] = Question(
            prompt=example.prompt,
            messages=example.messages,
            responses=(example.response, *generated) if expert_plays else generated,
            expert=example.response,
            expert_plays=expert_plays,
        )
    return questions


def _with_expert(triple: Triple) -> Triple:
    """The expert's response as the first of the generated ones."""
    scores: dict[str, Any] = {}
    for player in ("opponent", "reference"):
        expert, generated = getattr(triple, f"{player}_expert"), getattr(triple, f"{player}_generated")
        if generated is not None:
            scores[f"{player}_generated"] = (expert, *generated)
    return replace(triple, generated_ids=[triple.expert_ids, *triple.generated_ids], **scores)


def _with_verdict(game: Game, triple: Triple, verdict: Verdict, settings: JudgeConfig) -> Triple | None:
    """The triple with the fields that the objective reads; None where one of their entries is not known."""
    rates = verdict.win_rates(include_self=settings.include_self, expert_plays=settings.expert_plays)
    fields: dict[str, Any] = {}
    if "preference" in game.objective.requires:
        fields["preference"] = None if None in rates else rates
    if "pairwise" in game.objective.requires:
        fields["pairwise"] = None if any(None in row for row in verdict.pairwise) else verdict.pairwise
    return None if None in fields.values() else replace(triple, **fields)


def _digest(question: Question, judge: str) -> str:
    text = repr((question.prompt, question.messages, question.responses, question.expert, judge))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _verdict(row: Mapping[str, Any]) -> Verdict:
    table = tuple(tuple(p for p in line) for line in row["pairwise"])
    return Verdict(pairwise=table, **{name: row[name] for name in _COUNTS})
