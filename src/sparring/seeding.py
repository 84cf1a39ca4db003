"""One seed in the configuration, one independent seed for each use of chance."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2³¹) that depends on `seed` and on what it is for, and on nothing else.

    It is the same on every platform and Python version, so a stage that is resumed draws what it would have drawn.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def uniform(seed: int, *purpose: str | int) -> float:
    """A number in [0, 1) with 53 random bits, which depends on `seed` and `purpose` alone, as `derive_seed`'s."""
    text = "/".join(map(str, (seed, *purpose)))
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) * 2.0**-53
