"""The responses of a batch that training reads: those that the objective's loss depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from sparring.log_ratios import PREFERENCE_FIELDS, LogRatios
from sparring.trainer.collation import Counts, collate
from sparring.trainer.triples import Triple
from sparring.types import Objective


def read_by(objective: Objective, inputs: Mapping[str, Any]) -> list[list[bool]]:
    """Whether training reads each response of each prompt of a batch, in the order of its `counts`.

    If a judge's verdicts leave nothing to read in a whole batch, the shortest response is read anyway: a training step
    needs a gradient, if only of zeros, and each process of a launch needs a forward pass.

    Args:
        objective: The objective, which tells the generated responses that it reads; other responses are always read.
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
    """The tokens that training reads of each prompt of a batch: the prompt once, and the responses that are read."""
    return [
        len(prompt) * any(mask) + sum(map(len, compress(answers, mask)))
        for prompt, answers, mask in zip(
            inputs["prompts"], inputs["responses"], read_by(objective, inputs), strict=True
        )
    ]


def taught(objective: Objective, triples: Sequence[Triple]) -> list[Triple]:
    """The triples that have a response which the objective reads; all of them if none has."""
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
