"""The diversity of a prompt's samples in their words."""

from __future__ import annotations

from collections.abc import Sequence

from sparring.metrics.held_out import Estimate, HeldOut, Response


def diversity(held_out: HeldOut) -> dict[str, Estimate]:
    """The share of distinct n-grams of words, `distinct/1` and `distinct/2`, as Li et al. 2016 (arXiv 1510.03055).

    It is the share among all n-grams of a prompt's samples, in (0, 1], averaged over prompts; words are separated by
    white space. It falls with length and with the number of samples: compare policies under the same settings, and
    beside `length/sampled`. Prompts whose samples have no n-gram are left out; where no prompt has one there is no
    estimate.
    """
    shares = {n: [_distinct(samples, n) for samples in held_out.sampled] for n in (1, 2)}
    known = {n: [share for share in values if share is not None] for n, values in shares.items()}
    return {f"distinct/{n}": Estimate.of(values) for n, values in known.items() if values}


def _distinct(samples: Sequence[Response], n: int) -> float | None:
    words = [sample.text.split() for sample in samples]
    grams = [gram for text in words for gram in zip(*(text[shift:] for shift in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else None
