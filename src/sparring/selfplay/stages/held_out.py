"""Held-out responses and their log-probs, each sampled or scored once and kept for later stages.

After iteration t, `evaluate` measures policy t + 1, and `unseen` the objective of the iteration. Who scores whose
responses, (×) where the objective says so:

                                        policy t + 1   base model   scorers of t   teacher
    the expert's                             ×             ×             ×            ×
    policy t + 1's, sampled                  ×             ×                          ×
    policy t + 1's, greedy                   ×             ×
    those that the data compare              ×             ×
    the opponent's, by turns                 ×                           ×           (×)
    a team member's                         (×)                      (×), its own
    π_0's and π_ref's                       (×)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from sparring.examples import EncodedExample
from sparring.policies import TEACHER, Drawn, is_start, words
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.selfplay.stages.generate import Wanted, sample_several, sample_shards
from sparring.selfplay.stages.score import Responses, Scores, joined, score_files
from sparring.shards import ResponseKey, SampleRow, held_out_path, held_out_scores_path, read_samples

By = Drawn | Literal["expert", "data"]
"""The author of held-out responses: the expert, a policy, or whoever wrote those that the data compare."""

Turns = Mapping[int, Drawn]
"""The generator whose responses to a held-out prompt are the generated ones, by prompt index."""

# The word from which each seed is derived.
_SEEDED = {"sampled": "sampled", "greedy": "greedy", "mixture": "mixed"}


def held_out_samples(run: Run, drawn: Drawn) -> dict[int, list[SampleRow]]:
    """A policy's responses to the held-out prompts, by prompt index; missing ones are sampled."""
    return read_samples(_sample(run, drawn))


def held_out_experts(run: Run) -> list[EncodedExample]:
    """The held-out prompts that have an expert's response."""
    return [example for example in run.held_out if example.expert_ids]


def held_out_turns(run: Run, iteration: int) -> Turns:
    """The opponent's generators, which share the held-out prompts as they share those of training.

    The game is played on those that have an expert's response, and on none where the iteration needs no samples, or
    held-out prompts are not answered.
    """
    phase = run.phase(iteration)
    if not (phase.needs_samples and run.config.evaluation.answers):
        return {}
    spec = phase.opponent.spec(iteration)
    players = [Drawn(policy, "mixture" if spec.base_share else "sampled") for policy in spec.generators]
    return {example.index: players[n % len(players)] for n, example in enumerate(held_out_experts(run))}


def held_out_responses(run: Run, iteration: int) -> Responses:
    """The expert's response to each held-out prompt, and after it those of the generator whose turn it is."""
    turns = held_out_turns(run, iteration)
    authors: set[By] = {"expert", *turns.values()}
    written = {by: _responses(run, by) for by in authors}
    return {
        key: (example.prompt_ids, ids)
        for example in run.held_out
        if example.index in turns
        for by in ("expert", turns[example.index])
        for key, ids in written[by][example.index].items()
    }


def held_out_scores(run: Run, policy: int, *authors: By) -> dict[By, Scores]:
    """Log-probs of some authors' held-out responses under a policy; missing ones are computed.

    All that these authors wrote to a prompt is computed together, so that the prompt, and what their responses have in
    common, is read once. If any of it is missing, all of it is computed, lest what a kill left decides its bits.
    """
    shards = {by: _shards(run, policy, by) for by in dict.fromkeys(authors)}
    together = [[each for each in batch if each[1]] for batch in zip(*shards.values(), strict=True)]
    wrote = [by for by, of_author in shards.items() if any(responses for _, responses in of_author)]
    scored = score_files(
        run,
        policy,
        {tuple(path for path, _ in batch): [responses for _, responses in batch] for batch in together if batch},
        title=f"{run.directory.stage(policy).path.name}: score {_title(wrote)}",
        per_token=True,
        shared=is_start(policy) and all(isinstance(by, str) or is_start(by.policy) for by in wrote),
    )
    return {by: joined(scored[path] for path, part in of_author if part) for by, of_author in shards.items()}


def score_files_of(run: Run, policy: int, by: By) -> dict[Path, Responses]:
    """The shards of these log-probs, each with its responses."""
    return {path: responses for path, responses in _shards(run, policy, by) if responses}


def _shards(run: Run, policy: int, by: By) -> list[tuple[Path, Responses]]:
    """For each batch of held-out prompts the shard of an author's log-probs, and his responses, which may be none."""
    prompts = {each.index: each.prompt_ids for each in run.held_out}
    if policy == TEACHER and run.teacher is not None:
        prompts |= run.teacher.held_out_ids
    written, size = _responses(run, by), run.config.generation.batch_size
    batches = [run.held_out[start : start + size] for start in range(0, len(run.held_out), size)]
    return [
        (
            held_out_scores_path(run.directory.stage(policy), by, number),
            {key: (prompts[each.index], ids) for each in batch for key, ids in written[each.index].items()},
        )
        for number, batch in enumerate(batches)
    ]


def _responses(run: Run, by: By) -> dict[int, dict[ResponseKey, Sequence[int]]]:
    """An author's responses to each held-out prompt, by its index, as token ids."""
    if by == "expert":
        return {each.index: {(each.index, None): each.expert_ids} if each.expert_ids else {} for each in run.held_out}
    if by == "data":
        return {each.index: {(each.index, k): ids for k, ids in enumerate(each.compared_ids)} for each in run.held_out}
    samples = held_out_samples(run, by)
    return {index: {(index, row["sample"]): row["response_ids"] for row in rows} for index, rows in samples.items()}


def expert_log_probs(run: Run, policy: int) -> list[float]:
    """Log-probs of the held-out expert responses under a policy that was evaluated, nats, in their order."""
    scores = held_out_scores(run, policy, "expert")["expert"]
    return [scores[example.index, None] for example in held_out_experts(run)]


def _title(authors: Iterable[By]) -> str:
    names = [*dict.fromkeys(f"the {by}'s" if isinstance(by, str) else f"{words(by.policy)}'s" for by in authors)]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) + " responses"


def _sample(run: Run, drawn: Drawn) -> list[Path]:
    """The shards of a policy's responses; for a mixture, of the iteration that starts from the policy.

    Whichever of the policy's own responses are wanted, the others are sampled with them: it is measured by both.
    """
    name = run.directory.stage(drawn.policy).path.name
    if drawn.how == "mixture":
        spec = run.phase(drawn.policy).opponent.spec(drawn.policy)
        return sample_shards(
            run,
            drawn.policy,
            _wanted(run, drawn),
            run.held_out,
            title=f"{name}: evaluate mixture",
            base_share=spec.base_share,
        )
    kinds = [Drawn(drawn.policy, "sampled"), Drawn(drawn.policy, "greedy")]
    wanted = [_wanted(run, kind) for kind in kinds]
    shards = sample_several(run, drawn.policy, wanted, run.held_out, title=f"{name}: evaluate sampled and greedy")
    return shards[kinds.index(drawn)]


def _wanted(run: Run, drawn: Drawn) -> Wanted:
    stage, how = run.directory.stage(drawn.policy), drawn.how
    config = run.config.generation.untruncated(run.config.evaluation.samples_per_prompt)
    return Wanted(
        config=config.greedy() if how == "greedy" else config,
        path=lambda number: held_out_path(stage, how, number),
        seed=derive_seed(run.config.seed, "held-out", _SEEDED[how]),
    )
