"""Seeds that never change: a resumed stage must draw what it would have drawn."""

from __future__ import annotations

from sparring.seeding import derive_seed


def test_values_are_fixed_for_ever() -> None:
    assert derive_seed(0) == 804_681_139
    assert derive_seed(0, "generate", 0, 0) == 1_744_834_806
    assert derive_seed(1, "generate", 0, 0) == 2_014_737_745
    assert derive_seed(12345, "train", "iteration 1") == 1_364_795_980


def test_purposes_have_seeds_of_their_own() -> None:
    seeds = {derive_seed(seed, what, number) for seed in range(5) for what in ("a", "b") for number in range(200)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)
    # The upper half of the range is used, too.
    assert 900 < sum(seed >= 2**30 for seed in seeds) < 1100
