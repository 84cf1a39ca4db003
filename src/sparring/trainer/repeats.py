"""Warns of rows that repeat another row, or hold the same response twice; they are trained on all the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from sparring.progress import console


def tell_repeats(rows: Iterable[tuple[Sequence[int], Sequence[Sequence[int]]]], where: str, names: str) -> None:
    """Says how many rows have only equal responses, how many rows repeat another, and which is the first of each.

    A policy may sample the expert's own words, so neither is refused.

    Args:
        rows: The token ids of each row's prompt and of its responses, the expert's first.
        where: The name of the rows in messages.
        names: The columns of the responses.
    """
    equal, repeated, seen = list[int](), list[tuple[int, int]](), dict[bytes, int]()
    total = 0
    for number, (prompt, (expert, *others)) in enumerate(rows):
        total += 1
        if others and all(each == expert for each in others):
            equal.append(number)
        if (first := seen.setdefault(_digest(prompt, expert, *others), number)) != number:
            repeated.append((number, first))
    if equal:
        console.print(
            f"warning: {where}: in {len(equal)} of {total} rows, the first of them row {equal[0]}, {names} are the "
            "same: nothing tells them apart"
        )
    if repeated:
        number, first = repeated[0]
        console.print(
            f"warning: {where}: {len(repeated)} of {total} rows repeat another, the first of them row {number}, which "
            f"repeats row {first} (same prompt and responses): they count twice"
        )


def _digest(*ids: Sequence[int]) -> bytes:
    return hashlib.blake2b(json.dumps(ids).encode(), digest_size=16).digest()
