"""How much a game has to teach: how many of the generated responses differ from the expert's."""

from __future__ import annotations

from collections.abc import Sequence

from sparring.progress import console
from sparring.selfplay.run import Run
from sparring.trainer.triples import Triple

_LITTLE = 0.9


def tell_ties(run: Run, iteration: int, triples: Sequence[Triple]) -> None:
    """Says, and logs, how many generated responses are the expert's own, and how many are empty.

    An imitation objective learns nothing from a prompt to which the opponent answers as the expert does; an optimizer
    with momentum, or with Adam's scaling, moves the weights all the same.
    """
    pairs = [(triple.expert_ids, ids) for triple in triples if triple.expert_ids for ids in triple.generated_ids]
    every = [ids for triple in triples for ids in triple.generated_ids]
    if not every:
        return
    same = sum(list(expert) == list(generated) for expert, generated in pairs)
    empty = sum(len(ids) == 1 and ids[0] in run.stop_ids for ids in every)
    run.log({"stage": "score", "iteration": iteration, "samples/equal_expert": same, "samples/empty": empty})
    if pairs and same:
        text = f"iteration {iteration}: {same} of {len(pairs)} generated responses are the expert's own"
        if same == len(pairs):
            text += ", so there is nothing to learn: stop here, or play on other prompts"
        elif same >= _LITTLE * len(pairs):
            text += ", so there is little left to learn; a vanishing gradient still makes Adam take full steps"
        console.print(text)
    if empty:
        all_of = ": the model says nothing, so there is nothing to compare" if empty == len(every) else ""
        console.print(f"iteration {iteration}: {empty} of {len(every)} generated responses are empty{all_of}")
