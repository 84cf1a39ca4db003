"""Which responses of a batch training reads: those on which the objective's loss depends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from sparring.log_ratios import PREFERENCE_FIELDS, LogRatios
from sparring.trainer.collation import Counts, collate
from sparring.trainer.triples import Triple
from sparring.types import Objective


def read_by(objective: Objective, inputs: Mapping[str, Any]) -> list[list[bool]]:
    """For each response of each prompt of a batch, in the order of its `counts`, whether training reads it.

    Where a judge's verdicts leave an objective nothing to read in a whole batch, the shortest response is read all the
    same: a training step needs a gradient, if only of zeros, and each process of a launch a forward pass.

    Args:
        objective: Says which generated responses it needs; all others are read always.
        inputs: A batch, as `collate` makes it.
    """
    masks = _read_by(objective, inputs)
    if not any(map(any, masks)):
        answers = inputs["responses"]
        places = ((len(answer), b, k) for b, row in enumerate(answers) for k, answer in enumerate(row))
        _, prompt, shortest = min(places)
        masks[prompt][shortest] = True
    return masks


def positions(objective: Objective, inputs: Mapping[str, Any]) -> list[int]:
    """How many tokens of each prompt of a batch training reads: the prompt once, and the responses that are read."""
    return [
        len(prompt) * any(mask) + sum(map(len, compress(answers, mask)))
        for prompt, answers, mask in zip(
            inputs["prompts"], inputs["responses"], read_by(objective, inputs), strict=True
        )
    ]


def taught(objective: Objective, triples: Sequence[Triple]) -> list[Triple]:
    """The triples of which the objective reads anything; all of them where it reads nothing of any."""
    if not triples:
        return []
    masks = _read_by(objective, collate(triples))
    return [triple for triple, mask in zip(triples, masks, strict=True) if any(mask)] or list(triples)


def _read_by(objective: Objective, inputs: Mapping[str, Any]) -> list[list[bool]]:
    counts: Counts = inputs["counts"]
    sizes = list(map(len, inputs["responses"]))
    judged = {name: inputs[name] for name in PREFERENCE_FIELDS & objective.requires}
    samples = objective.samples_read(LogRatios(**judged)) if judged else None
    if samples is None:
        return [[True] * size for size in sizes]
    end = counts.expert + counts.generated
    return [
        [True] * counts.expert + row + [True] * (size - end) for row, size in zip(samples.tolist(), sizes, strict=True)
    ]
