"""Seeds that never change: a resumed stage must draw what it would have drawn."""

from __future__ import annotations

import pytest

from sparring.seeding import derive_seed, uniform


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


def test_uniform_numbers_are_fixed_for_ever() -> None:
    assert uniform(0) == 0.374708855291631
    assert uniform(0, 3, 1, 7) == 0.38445005297773893
    # The first eight bytes of SHA-256 of "0", but for eleven bits.
    assert uniform(0) == pytest.approx(0x5FECEB66FFC86F38 / 2**64, abs=2**-52)


def test_uniform_numbers_are_uniform() -> None:
    """Of 20,000, a hundred equal parts get 200 each; the statistic has 99 degrees of freedom, a deviation of 14."""
    numbers = [uniform(3, prompt, sample, n) for prompt in range(50) for sample in range(4) for n in range(100)]
    assert len(set(numbers)) == 20_000
    assert min(numbers) >= 0.0
    assert max(numbers) < 1.0
    counts = [0] * 100
    for number in numbers:
        counts[int(100 * number)] += 1
    assert sum((count - 200) ** 2 / 200 for count in counts) < 99 + 4 * 14.1
    # Neighbours in any of the three say nothing of one another.
    for step in (1, 100, 400):
        pairs = zip(numbers, numbers[step:], strict=False)
        product = sum((a - 0.5) * (b - 0.5) for a, b in pairs) / (20_000 - step)
        assert abs(product) < 4 * (1 / 12) / (20_000 - step) ** 0.5
