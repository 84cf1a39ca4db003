"""Held-out responses and their log-probs: each is sampled or scored once, written to a shard, and read by all stages.

After iteration t four modules work on them, each on the one before:

    held_out.py             samples and scores held-out responses, where that was not done yet
    held_out_objective.py   computes the iteration's objective and its metrics from these log-probs
    answers.py              writes the responses with their token log ratios, for the report
    evaluate.py             measures policy t + 1, and calls the others

Who scores whose responses, × always and (×) where the objective reads them:

                                        policy t + 1   base model   scorers of t   teacher
    the expert's                             ×             ×             ×            ×
    policy t + 1's, sampled                  ×             ×                          ×
    policy t + 1's, greedy                   ×             ×
    the data's, with preferences             ×             ×
    the opponent's generators'               ×                           ×           (×)
    a team member's                         (×)                      (×), its own
    π_0's and π_ref's                       (×)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sparring.examples import EncodedExample
from sparring.policies import TEACHER, Author, Drawn, is_start, words
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.selfplay.stages.generate import Wanted, sample_several, sample_shards
from sparring.selfplay.stages.score import Responses, Scores, joined, score_files
from sparring.shards import ResponseKey, SampleRow, held_out_path, held_out_scores_path, read_samples

Turns = Mapping[int, Drawn]
"""By prompt index, the generator whose responses play against the expert's: the opponent's generators take turns."""

# The word from which each seed is derived.
_SEEDED = {"sampled": "sampled", "greedy": "greedy", "mixture": "mixed"}


def answers_of(run: Run, policy: int) -> dict[str, Drawn]:
    """By kind, a policy's own responses that it is measured by; none if `evaluation.answers` is off."""
    answered = run.config.evaluation.answers
    return {"greedy": Drawn(policy, "greedy"), "sampled": Drawn(policy, "sampled")} if answered else {}


def authors_measured(run: Run, policy: int) -> dict[str, Author]:
    """By kind, as the report names it, the authors of all responses that a policy is measured by."""
    return {"expert": "expert", **answers_of(run, policy), "data": "data"}


def held_out_samples(run: Run, drawn: Drawn) -> dict[int, list[SampleRow]]:
    """A policy's responses to the held-out prompts, by prompt index; missing ones are sampled."""
    return read_samples(_sample(run, drawn))


def held_out_experts(run: Run) -> list[EncodedExample]:
    """The held-out prompts that have an expert's response."""
    return [example for example in run.held_out if example.expert_ids]


def held_out_turns(run: Run, iteration: int) -> Turns:
    """The opponent's generators by held-out prompt; they share the prompts that have an expert's response.

    Empty where the iteration needs no samples, or policies do not answer held-out prompts.
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
    authors: set[Author] = {"expert", *turns.values()}
    written = {author: _responses(run, author) for author in authors}
    return {
        key: (example.prompt_ids, ids)
        for example in run.held_out
        if example.index in turns
        for author in ("expert", turns[example.index])
        for key, ids in written[author][example.index].items()
    }


def held_out_scores(run: Run, policy: int, *authors: Author) -> dict[Author, Scores]:
    """Log-probs of some authors' held-out responses under a policy; missing ones are computed.

    The responses of all these authors to a prompt are scored together, so that the prompt, and any beginning that they
    have in common, is read once. If one is missing, all are scored again, lest a log-prob's last bits depend on what a
    kill had left.
    """
    shards = {author: _shards(run, policy, author) for author in dict.fromkeys(authors)}
    together = [[each for each in batch if each[1]] for batch in zip(*shards.values(), strict=True)]
    wrote = [author for author, of_author in shards.items() if any(responses for _, responses in of_author)]
    scored = score_files(
        run,
        policy,
        {tuple(path for path, _ in batch): [responses for _, responses in batch] for batch in together if batch},
        title=f"{run.directory.stage(policy).path.name}: score {_title(wrote)}",
        per_token=True,
        shared=is_start(policy) and all(isinstance(author, str) or is_start(author.policy) for author in wrote),
    )
    return {author: joined(scored[path] for path, part in of_author if part) for author, of_author in shards.items()}


def held_out_score_shards(run: Run, policy: int, author: Author) -> dict[Path, Responses]:
    """The shards of an author's log-probs under a policy, each with the responses that it scores."""
    return {path: responses for path, responses in _shards(run, policy, author) if responses}


def _shards(run: Run, policy: int, author: Author) -> list[tuple[Path, Responses]]:
    """By batch of held-out prompts, the shard of an author's log-probs and the responses, which may be none."""
    prompts = {each.index: each.prompt_ids for each in run.held_out}
    if policy == TEACHER and run.teacher is not None:
        prompts |= run.teacher.held_out_ids
    written, size = _responses(run, author), run.config.generation.batch_size
    batches = [run.held_out[start : start + size] for start in range(0, len(run.held_out), size)]
    return [
        (
            held_out_scores_path(run.directory.stage(policy), author, number),
            {key: (prompts[each.index], ids) for each in batch for key, ids in written[each.index].items()},
        )
        for number, batch in enumerate(batches)
    ]


def _responses(run: Run, author: Author) -> dict[int, dict[ResponseKey, Sequence[int]]]:
    """An author's responses to each held-out prompt, by its index, as token ids."""
    if author == "expert":
        return {each.index: {(each.index, None): each.expert_ids} if each.expert_ids else {} for each in run.held_out}
    if author == "data":
        return {each.index: {(each.index, k): ids for k, ids in enumerate(each.compared_ids)} for each in run.held_out}
    samples = held_out_samples(run, author)
    return {index: {(index, row["sample"]): row["response_ids"] for row in rows} for index, rows in samples.items()}


def expert_log_probs(run: Run, policy: int) -> list[float]:
    """Log-probs of the held-out expert responses under a policy that was evaluated, nats, in their order."""
    scores = held_out_scores(run, policy, "expert")["expert"]
    return [scores[example.index, None] for example in held_out_experts(run)]


def _title(authors: Iterable[Author]) -> str:
    """The authors' responses in words, as a progress bar names them."""
    names = [*dict.fromkeys(f"the {who}'s" if isinstance(who, str) else f"{words(who.policy)}'s" for who in authors)]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) + " responses"


def _sample(run: Run, drawn: Drawn) -> list[Path]:
    """The shards of a policy's responses, sampled where they are missing.

    A policy's sampled and greedy responses are made together, since it is measured by both. A mixture's share of the
    base model is that of the iteration which starts from the policy.
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
