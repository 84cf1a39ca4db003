"""The settings that shrink a part of a run, and the next smaller value of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sparring.selfplay.arguments import arguments_of
from sparring.selfplay.prepared import Prepared

Lever = tuple[str, Any]
"""A setting and a smaller value of it."""

_STEP = 0.75
# No setting is shrunk below these: with fewer held-out prompts no difference can be told from chance, and on fewer
# prompts or in fewer epochs nothing is learned.
_LEAST_HELD_OUT, _LEAST_PROMPTS, _LEAST_EPOCHS = 16, 32, 2
# A response that ends by itself may be somewhat longer than any of the experts'.
_ROOM = 1.25


def levers(prepared: Prepared, part: str) -> list[Lever]:
    """The settings that would shrink a part of a run (a name of `tokens_by_part`), the best first.

    The best of all is a lower limit of responses where the limit lies far above the longest expert's response: nothing
    is lost, and every response to a prompt without an expert is counted as long as the limit.
    """
    return [*_limit(prepared), *_LEVERS[part](prepared)]


def _less(value: float, least: int) -> int:
    return max(least, math.floor(_STEP * value))


def _limit(prepared: Prepared) -> Iterator[Lever]:
    held_out = [] if prepared.held_out is None else prepared.held_out.examples
    lengths = [len(item.expert_ids) for item in (*prepared.train.examples, *held_out)]
    enough = math.ceil(_ROOM * max(lengths))
    if 0 < enough < prepared.config.data.max_response_tokens and not all(lengths):
        yield "data.max_response_tokens", enough


def _warmup(prepared: Prepared) -> Iterator[Lever]:
    config = prepared.config
    if config.warmup is None:
        return
    args = arguments_of(config, config.warmup.fields(config.training))
    if args.max_steps <= 0 and args.num_train_epochs > _LEAST_EPOCHS:
        yield "warmup.training.num_train_epochs", _less(args.num_train_epochs, _LEAST_EPOCHS)


def _play(prepared: Prepared) -> Iterator[Lever]:
    config = prepared.config
    if config.iterations > 1 and not config.phases:
        yield "iterations", _less(config.iterations, 1)
    fitting = max(len(phase.prompts(prepared.train.examples)) for phase in prepared.phases)
    each = min(config.data.prompts_per_iteration or fitting, fitting)
    if each > _LEAST_PROMPTS:
        yield "data.prompts_per_iteration", _less(each, _LEAST_PROMPTS)
    args = arguments_of(config, config.training)
    if args.max_steps <= 0 and args.num_train_epochs > _LEAST_EPOCHS and not config.phases:
        yield "training.num_train_epochs", _less(args.num_train_epochs, _LEAST_EPOCHS)


def _evaluation(prepared: Prepared) -> Iterator[Lever]:
    evaluation, judged = prepared.config.evaluation, prepared.verifier or prepared.held_out_judge
    if evaluation.answers and not judged:
        yield "evaluation.answers", False
    elif evaluation.answers and evaluation.samples_per_prompt > 1:
        yield "evaluation.samples_per_prompt", 1
    count = 0 if prepared.held_out is None else len(prepared.held_out.examples)
    if count > _LEAST_HELD_OUT:
        yield "data.held_out", _less(count, _LEAST_HELD_OUT)


_LEVERS: dict[str, Callable[[Prepared], Iterable[Lever]]] = {
    "warm-up": _warmup,
    "play": _play,
    "control": lambda _: [("control", False)],
    "evaluation": _evaluation,
    # A teacher writes one response to each prompt, so no setting makes its part smaller.
    "teacher": lambda _: [],
}
