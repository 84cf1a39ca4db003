"""Ties: the generated responses that teach nothing, being the expert's own, or empty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparring.progress import console
from sparring.selfplay.run import Run
from sparring.shards import read_samples

_LITTLE = 0.9


def tell_ties(run: Run, iteration: int, shards: Sequence[Path]) -> None:
    """Prints and logs how many generated responses are the expert's own, and how many are empty, before they are used.

    An imitation objective learns nothing from a prompt to which the opponent answers exactly like the expert; but an
    optimizer with momentum, or with Adam's scaling, moves the weights all the same.
    """
    experts = {item.index: item.expert_ids for item in run.prompts(iteration)}
    every = [(experts[index], row["response_ids"]) for index, rows in read_samples(shards).items() for row in rows]
    if not every:
        return
    pairs = [(expert, ids) for expert, ids in every if expert]
    same = sum(list(expert) == list(ids) for expert, ids in pairs)
    empty = sum(len(ids) == 1 and ids[0] in run.stop_ids for _, ids in every)
    run.log({"stage": "generate", "iteration": iteration, "samples/equal_expert": same, "samples/empty": empty})
    if same:
        whose = "" if len(pairs) == len(every) else " to prompts with an expert"
        _tell_same(iteration, same, len(pairs), whose, learns=run.phase(iteration).reads_expert)
    if empty:
        _tell_empty(iteration, empty, len(every))


def _tell_same(iteration: int, same: int, pairs: int, whose: str, *, learns: bool) -> None:
    text = f"iteration {iteration}: {same} of {pairs} generated responses{whose} are the expert's own"
    if learns and same == pairs:
        text = (
            f"warning: {text}, so there is nothing to learn from telling them apart: stop here, play on other prompts, "
            "or sample more widely (generation.temperature)"
        )
    elif learns and same >= _LITTLE * pairs:
        text += ", so there is little left to learn; a vanishing gradient still makes Adam take full steps"
    console.print(text)


def _tell_empty(iteration: int, empty: int, every: int) -> None:
    text = f"iteration {iteration}: {empty} of {every} generated responses are empty"
    if empty == every:
        text = (
            f"warning: {text}: the model ends each at once, so there is nothing to compare. See that its prompts are "
            "written as it knows them (data.chat_template), and let it learn to answer first (warmup)"
        )
    console.print(text)
