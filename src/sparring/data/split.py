"""Draws the rows to train on and the rows to hold out: by the seed, in shares, and with no prompt in both."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

from sparring.data.config import DataConfig
from sparring.data.rows import Rows, turns
from sparring.errors import InputError
from sparring.examples import Example

Prompt = tuple[tuple[str, str], ...]

_MOST_HELD_OUT, _SHARE = 32, 5
_MEASURES = ("response", "reference_answer")
LEAKS = "has the prompt of the held-out"
"""The beginning of the problem of a valid training row whose prompt is held out."""
_NEARLY = ", apart from white space, case or Unicode form"
_SPACE = re.compile(r"\s+")


def split(config: DataConfig, parts: Sequence[Rows], seed: int) -> tuple[list[Example], list[Example]]:
    """Draws training and held-out examples from the same rows; rows with a held-out prompt become problems.

    Raises:
        InputError: There are too few rows.
    """
    weights = [part.weight for part in parts]
    shuffled = [_shuffled(part.valid, seed) for part in parts]
    number = config.held_out
    if number is None:
        measurable = _measurable(config, [example for part in parts for example in part.valid])
        number = min(_MOST_HELD_OUT, _prompts(measurable) // _SHARE)
    held_out = _held_out(config, shuffled, weights, number)
    rest = []
    for part, examples in zip(parts, shuffled, strict=True):
        kept, leaks = _apart(examples, held_out)
        part.problems.extend(leaks)
        rest.append(kept)
    train = mixed(rest, weights)
    needed, what = config.limit or 1, f"data.limit {config.limit}" if config.limit else "1 for training"
    if config.held_out is not None:
        # A default number of held-out rows is taken from the rows beyond `limit`, or from it if these do not suffice.
        needed, what = needed + number, f"{what} + data.held_out {number}"
    _require(needed, len(train) + len(held_out), config.title, what)
    measured = "an expert response" if config.verifier is None else "an answer to verify against"
    _require(number, len(held_out), config.title, f"data.held_out, with distinct prompts and {measured}")
    return train[: config.limit], held_out


def split_from(
    config: DataConfig, parts: Sequence[Rows], separate: Rows, seed: int
) -> tuple[list[Example], list[Example]]:
    """Draws the training examples where the held-out ones have their own source.

    Raises:
        InputError: There are too few rows, or a row has a held-out prompt and wrong rows are not left out.
    """
    number = min(_MOST_HELD_OUT, len(separate.valid)) if config.held_out is None else config.held_out
    # Rows with an expert's response first, as in a draw from the training rows.
    drawn = _measurable(config, _shuffled(separate.valid, seed))[:number]
    held_out = sorted(drawn, key=lambda example: example.response is None)
    _require(number, len(held_out), separate.source, "data.held_out")
    rest, leaks = [], []
    for part in parts:
        kept, found = _apart(_shuffled(part.valid, seed), held_out)
        part.problems.extend(found)
        leaks.extend(found)
        rest.append(kept)
    if leaks and not config.skip_invalid:
        raise skippable(leaks)
    train = mixed(rest, [part.weight for part in parts])
    _require(config.limit or 1, len(train), config.title, "data.limit" if config.limit else "training")
    return train[: config.limit], held_out


def mixed(lists: Sequence[Sequence[Example]], weights: Sequence[float]) -> list[Example]:
    """The items of several lists in shares by their weights, each list spread evenly, until one of them is used up.

    A single list is returned as it is.
    """
    if len(lists) == 1:
        return list(lists[0])
    due = [[(k + 0.5) / weight for k in range(len(items) + 1)] for items, weight in zip(lists, weights, strict=True)]
    end = min(times[-1] for times in due)
    places = sorted((time, i, k) for i, times in enumerate(due) for k, time in enumerate(times[:-1]) if time < end)
    return [lists[i][k] for _, i, k in places]


def prompt_key(example: Example) -> Prompt:
    """The prompt without differences that make no other prompt: white space, case, Unicode form, invisible signs."""
    return tuple((role, _plain(text)) for role, text in turns(example))


def skippable(problems: Sequence[InputError]) -> InputError:
    """The first problem as an error that also tells the number of problems, and how to leave out all such rows."""
    first = problems[0]
    many = "that row" if len(problems) == 1 else f"all {len(problems)} invalid rows"
    fix = f"{first.fix}; or leave out {many} with data.skip_invalid: true"
    return InputError(first.problem, where=first.where, fix=fix)


def _plain(text: str) -> str:
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
        text = unicodedata.normalize("NFKC", text.casefold())
    return _SPACE.sub(" ", text.casefold()).strip()


def _held_out(
    config: DataConfig, lists: Sequence[list[Example]], weights: Sequence[float], number: int
) -> list[Example]:
    """Rows to hold out, all usable by metrics: first a fifth of the experts, and more of them if no others are left.

    A warm-up learns from the experts, so they are not used up where a right answer alone suffices.
    """
    if number == 0:
        return []
    measure = _measure(config, (item for items in lists for item in items))
    # From the other end than the training examples, so that they do not depend on the limit.
    backwards = [[item for item in reversed(items) if getattr(item, measure) is not None] for items in lists]
    experts, others = (
        [[item for item in items if (item.response is not None) == answered] for items in backwards]
        for answered in (True, False)
    )
    spared = number
    if any(others):
        known, rest = (_prompts(item for items in part for item in items) for part in (experts, others))
        spared = min(number, max(known // _SHARE, number - rest))
    drawn = _drawn(experts, weights, spared, before={})
    return list(_drawn(others, weights, number, before=drawn).values())


def _drawn(
    lists: Sequence[list[Example]], weights: Sequence[float], number: int, *, before: Mapping[Prompt, Example]
) -> dict[Prompt, Example]:
    """The rows drawn so far, and further ones with other prompts, until there are `count`."""
    drawn = dict(before)
    parts = [(items, weight) for items, weight in zip(lists, weights, strict=True) if items]
    for example in mixed([items for items, _ in parts], [weight for _, weight in parts]) if parts else ():
        if len(drawn) == number:
            break
        drawn.setdefault(prompt_key(example), example)
    return drawn


def _prompts(examples: Iterable[Example]) -> int:
    return len({hash(prompt_key(example)) for example in examples})


def _apart(examples: Sequence[Example], held_out: Collection[Example]) -> tuple[list[Example], list[InputError]]:
    """The examples without the held-out ones and without those that have a held-out prompt, which become problems."""
    holders = {prompt_key(example): example for example in held_out}
    kept, leaks = [], []
    for example in examples:
        holder = holders.get(prompt_key(example))
        if holder is None:
            kept.append(example)
        elif holder is not example:
            nearly = "" if turns(holder) == turns(example) else _NEARLY
            problem = f"{LEAKS} {holder.where}{nearly}"
            leaks.append(InputError(problem, where=example.where, fix="remove it from one of the two"))
    return kept, leaks


def _require(needed: int, found: int, source: str, what: str) -> None:
    if found < needed:
        problem = f"{needed} usable rows are needed ({what}), {found} are there"
        raise InputError(problem, where=source, fix="add rows, or lower data.held_out (or data.limit)")


def _measurable(config: DataConfig, examples: list[Example]) -> list[Example]:
    """The examples that have the field which metrics compare with; all where none has it."""
    measure = _measure(config, examples)
    return [example for example in examples if getattr(example, measure) is not None]


def _measure(config: DataConfig, examples: Iterable[Example]) -> str:
    """The field that metrics compare with.

    With a verifier, the answer to verify against; without one, the expert's response, or else the ground truth. If no
    example has any of these, the prompt, which all have.
    """
    there = {name for example in examples for name in _MEASURES if getattr(example, name) is not None}
    wanted = ("reference_answer",) if config.verifier is not None else _MEASURES
    return next((name for name in wanted if name in there), "prompt")


def _shuffled(examples: Iterable[Example], seed: int) -> list[Example]:
    # Sorting by `random()` rather than `shuffle`: Python promises only the former's sequence across versions.
    numbers = random.Random(f"data/{seed}")  # noqa: S311 (no secret depends on it)
    return [row for _, row in sorted(((numbers.random(), row) for row in examples), key=lambda pair: pair[0])]
