"""Verifiers that err, by chance but on the same responses every time; `verdicts.py` plays with them."""

from __future__ import annotations

import random

from sparring.data.verifiers import final_number

SHARE = 0.3
"""The share of the verdicts of one kind that are wrong."""


def lenient(response: str, answer: str) -> bool:
    """Whether the final number is right; of the wrong numbers, a share is taken for right."""
    given, right = final_number(response), final_number(answer)
    return given is not None and (given == right or _errs(given, right))


def strict(response: str, answer: str) -> bool:
    """Whether the final number is right; of the right answers, a share is taken for wrong."""
    given, right = final_number(response), final_number(answer)
    return given is not None and given == right and not _errs(given, right)


def _errs(given: object, right: object) -> bool:
    return random.Random(f"{given}/{right}").random() < SHARE
