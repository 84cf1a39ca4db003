"""The prompts of an iteration, where iterations are played on different ones."""

from __future__ import annotations

import random


def prompts_of_iteration(count: int, each: int | None, iteration: int, seed: int) -> list[int]:
    """The positions of the prompts of one iteration among `count`.

    No prompt comes twice until all were used, nor twice in one iteration: SPPO (arXiv 2405.00675), INPO (2407.00617)
    and RSPO (2503.00030) split their prompts into parts, one an iteration. The first pass is in the given order, which
    is shuffled already; later ones are shuffled anew.

    Args:
        count: The number of all prompts.
        each: The number of prompts of an iteration; None, or more than `count`, takes all.
        iteration: The number of the iteration, from 0.
        seed: The seed of the later passes' orders.
    """
    if each is None or each >= count:
        return list(range(count))
    waiting: list[int] = []
    taken: list[int] = []
    passes = 0
    for _ in range(iteration + 1):
        if len(waiting) < each:
            # The rest of one pass comes first; of the next pass, prompts that are in this iteration already wait.
            fresh = _pass(count, passes, seed)
            passes += 1
            late = {*waiting}
            waiting += [position for position in fresh if position not in late]
            taken, waiting = waiting[:each], waiting[each:]
            waiting = [position for position in fresh if position in late] + waiting
        else:
            taken, waiting = waiting[:each], waiting[each:]
    return taken


def _pass(count: int, number: int, seed: int) -> list[int]:
    if number == 0:
        return list(range(count))
    numbers = random.Random(f"prompts/{seed}/{number}")  # noqa: S311 (no secret depends on it)
    # Sorting by `random()` rather than `shuffle`: Python promises only the former's sequence across versions.
    return sorted(range(count), key=[numbers.random() for _ in range(count)].__getitem__)
