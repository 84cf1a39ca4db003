"""Rules that tests name as entry points."""

from __future__ import annotations

NUMBER = 1


def length(response: str, expert: str) -> int:
    return len(response)


def unsure(response: str, expert: str) -> bool | None:
    return None if response == "?" else True


def broken(response: str, expert: str) -> float:
    return 1 / 0


def alone(response: str) -> float:
    return float(len(response))
