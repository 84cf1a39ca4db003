"""The similarity of responses to each other in their words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from sparring.metrics.held_out import Estimate, HeldOut

_ORDER = 4


def self_bleu(held_out: HeldOut) -> dict[str, Estimate]:
    """The mean BLEU of a response with others as references, `self_bleu/corpus` and `self_bleu/prompt`, in [0, 1].

    The higher, the less diverse. `corpus` compares the first sample of every prompt with the first samples of all other
    prompts, which is Self-BLEU as Zhu et al. 2018 (Texygen, arXiv 1802.01886) define it. `prompt` compares each sample
    with the other samples of its prompt, if there are any, averaged over prompts. The standard error of `corpus` is
    that of a mean over prompts, as if the references were given.

    BLEU is sacrebleu's sentence BLEU: n-grams of 1 to 4 words (by its tokenizer 13a) with equal weights; an order
    without a match counts as 0.1 matches (`floor`, the smoothing of Texygen), orders for which the response is too
    short are left out, and the brevity penalty takes the reference that is nearest in length. A response without any
    word in common with the others has 0.
    """
    texts = [[sample.text for sample in samples] for samples in held_out.sampled]
    values = {
        "self_bleu/corpus": _against_others([samples[0] for samples in texts]) if len(texts) > 1 else [],
        "self_bleu/prompt": [math.fsum(_against_others(each)) / len(each) for each in texts if len(each) > 1],
    }
    return {name: Estimate.of(each) for name, each in values.items() if each}


def _against_others(texts: Sequence[str]) -> list[float]:
    """BLEU of each text with all others as references, in time linear in their length."""
    from sacrebleu import BLEU
    from sacrebleu.metrics.helpers import extract_all_word_ngrams

    tokenize = BLEU().tokenizer
    counted = [extract_all_word_ngrams(tokenize(text.rstrip()), 1, _ORDER) for text in texts]
    # The two highest counts of an n-gram give its highest count among all texts but one, whichever that is.
    highest: Counter[tuple[str, ...]] = Counter()
    second: Counter[tuple[str, ...]] = Counter()
    for grams, _ in counted:
        for gram, count in grams.items():
            if count > highest[gram]:
                highest[gram], second[gram] = count, highest[gram]
            elif count > second[gram]:
                second[gram] = count
    lengths = Counter(length for _, length in counted)
    scores = []
    for grams, length in counted:
        matches, totals = [0] * _ORDER, [0] * _ORDER
        for gram, count in grams.items():
            totals[len(gram) - 1] += count
            matches[len(gram) - 1] += second[gram] if count == highest[gram] else count
        nearest = _nearest(length, lengths - Counter([length]))
        score = BLEU.compute_bleu(matches, totals, length, nearest, smooth_method="floor", effective_order=True)
        scores.append(score.score / 100)
    return scores


def _nearest(length: int, others: Iterable[int]) -> int:
    """The length nearest to `length`, the shorter one of two equally near."""
    return min(others, key=lambda other: (abs(other - length), other))
