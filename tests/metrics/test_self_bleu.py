"""Self-BLEU: known answers, and sacrebleu's own sentence BLEU of every response with the others as references."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import BLEU

from sparring.metrics import METRICS, Estimate, HeldOut, Response

WORDS = st.lists(st.sampled_from(["a", "b", "c", "a,", "don't"]), max_size=9)
TEXTS = st.lists(WORDS.map(" ".join), min_size=2, max_size=6)


def self_bleu(*prompts: Sequence[str]) -> dict[str, Estimate]:
    sampled = [[Response(text=text, tokens=1, finish_reason="stop") for text in texts] for texts in prompts]
    return METRICS["self-bleu"](HeldOut(expert=[], greedy=[], sampled=sampled))


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_it_is_sacrebleus_sentence_bleu(texts: list[str]) -> None:
    bleu = BLEU(smooth_method="floor", effective_order=True)
    expected = [bleu.sentence_score(text, [*texts[:n], *texts[n + 1 :]]).score / 100 for n, text in enumerate(texts)]
    over_prompts = self_bleu(*([text] for text in texts))
    assert over_prompts == {"self_bleu/corpus": Estimate.of(expected)}
    of_one_prompt = self_bleu(texts)
    assert of_one_prompt.keys() == {"self_bleu/prompt"}
    assert of_one_prompt["self_bleu/prompt"].mean == pytest.approx(math.fsum(expected) / len(expected))


def test_known_answers() -> None:
    """Of "a b c d" against "a b x y": 2 of 4 words, 1 of 3 pairs, then 0.1 of 2 and 0.1 of 1."""
    expected = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert self_bleu(["a b c d", "a b x y"])["self_bleu/prompt"].mean == pytest.approx(expected)
    assert self_bleu(["a b c d"] * 3)["self_bleu/prompt"].mean == pytest.approx(1.0)
    assert self_bleu(["a b c d", "e f g h"])["self_bleu/prompt"].mean == 0.0
    # "a b" has one word of two and none of its one pair in "a c d e", and is half as long.
    short = math.exp(1 - 4 / 2) * math.sqrt(1 / 2 * 0.1 / 1)
    long = (1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25
    assert self_bleu(["a b", "a c d e"])["self_bleu/prompt"].mean == pytest.approx((short + long) / 2)


def test_one_prompt_with_one_sample_has_none() -> None:
    assert self_bleu(["a b c"]) == {}
    assert self_bleu(["", ""])["self_bleu/prompt"].mean == 0.0
