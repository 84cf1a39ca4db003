"""From the one seed of the configuration, an independent seed for each use of random numbers."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2³¹) that depends on `seed` and `purpose`, and on nothing else.

    It is the same on every platform and Python version, so a resumed stage draws what it would have drawn.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def uniform(seed: int, *purpose: str | int) -> float:
    """A random number in [0, 1) with 53 bits, which depends on `seed` and `purpose`, and on nothing else."""
    text = "/".join(map(str, (seed, *purpose)))
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) * 2.0**-53
