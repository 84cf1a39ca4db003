"""Decoding a mixture: every response has exactly the probability that mixing token by token gives it."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sparring.generation import generation_config, generator
from sparring.generation.mixture import Mixture
from sparring.generation.protocol import GeneratorParts
from sparring.models import ModelConfig
from sparring.selfplay.policy import Policy
from tiny import as_prompts, tiny_model, tiny_tokenizer

STOP = 2
PROMPTS = ([1, 5, 3, 3, 4, 0], [4], [1, 3, 5])


def model(seed: int) -> Any:
    """Six tokens with quite different probabilities."""
    return tiny_model(seed=seed, vocab_size=6, initializer_range=0.3, tie_word_embeddings=False)


POLICY, OTHER = model(3), model(8)


def build(
    alpha: float | None,
    *,
    policy: Any = POLICY,
    base: Any = OTHER.forward,
    stop_id: int = STOP,
    max_new_tokens: int = 3,
    **settings: Any,
) -> Any:
    mixture = None if alpha is None else Mixture(base=base, base_share=alpha)
    return generator(
        generation_config(**settings),
        GeneratorParts(
            model=policy,
            tokenizer=tiny_tokenizer(),
            stop_ids=(stop_id,),
            max_new_tokens=max_new_tokens,
            mixture=mixture,
        ),
    )


@torch.no_grad()
def mixed(alpha: float, ids: Sequence[int], model: Any = POLICY) -> torch.Tensor:
    """The next token's probabilities, without padding, caches or processors: π^{1−α} π_ref^α over its sum."""
    policy, base = (each(input_ids=torch.tensor([list(ids)])).logits[0, -1].double() for each in (model, OTHER))
    product = policy.softmax(-1) ** (1 - alpha) * base.softmax(-1) ** alpha
    return product / product.sum()


def truncated(p: torch.Tensor, *, temperature: float = 1.0, top_k: int = 0) -> torch.Tensor:
    p = p ** (1 / temperature)
    if top_k:
        p = torch.where(p >= p.topk(top_k).values[-1], p, 0.0)
    return p / p.sum()


def responses(
    alpha: float, prompt: Sequence[int], length: int = 3, model: Any = POLICY, **settings: Any
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every response that can be, with its probability: cut at `length` tokens, or ended by the stop token."""
    for token, p in enumerate(truncated(mixed(alpha, prompt, model), **settings).tolist()):
        if token == STOP or length == 1:
            yield (token,), p
        else:
            rest = responses(alpha, [*prompt, token], length - 1, model, **settings)
            yield from (((token, *tokens), p * q) for tokens, q in rest)


def surprise(counts: Counter[tuple[int, ...]], expected: dict[tuple[int, ...], float]) -> float:
    """Pearson's χ² in standard deviations above its mean; responses due fewer than five times are pooled."""
    if any(expected[tokens] == 0 for tokens in counts):
        return math.inf
    n = sum(counts.values())
    cells = [(counts[tokens], n * p) for tokens, p in expected.items() if n * p >= 5]
    rare = [(counts[tokens], n * p) for tokens, p in expected.items() if 0 < n * p < 5]
    if rare:
        cells.append((sum(seen for seen, _ in rare), sum(due for _, due in rare)))
    statistic = sum((seen - due) ** 2 / due for seen, due in cells)
    freedom = len(cells) - 1
    assert freedom > 10
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("alpha", "settings"), [(0.1, {}), (0.6, {}), (0.6, {"temperature": 0.7}), (0.4, {"top_k": 4})], ids=str
)
def test_responses_have_the_probabilities_of_the_mixture(alpha: float, settings: dict[str, Any]) -> None:
    """Prompts of three lengths in one batch; temperature and truncation act on the mixture, not on its parts."""
    n = 3000
    samples = build(alpha, samples_per_prompt=n, **settings).sample(as_prompts(PROMPTS), seed=11)
    for number, prompt in enumerate(PROMPTS):
        counts = Counter(tuple(sample.response_ids) for sample in samples[n * number : n * (number + 1)])
        expected = dict(responses(alpha, prompt, **settings))
        assert sum(expected.values()) == pytest.approx(1.0)
        assert surprise(counts, expected) < 4
        # Those at another share would be told apart.
        assert surprise(counts, dict(responses(alpha + 0.3, prompt, **settings))) > 8


def test_so_have_those_of_an_adapter_and_the_model_below_it(tmp_path: Path) -> None:
    OTHER.save_pretrained(tmp_path)
    policy = Policy(ModelConfig(name=str(tmp_path), device="cpu"), tiny_tokenizer(), lora={"r": 4}, seed=0)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    n, alpha = 3000, 0.6
    with policy.base_forward() as base:
        sampler = build(alpha, policy=policy.causal_lm, base=base, samples_per_prompt=n)
        samples = sampler.sample(as_prompts(PROMPTS), seed=11)
    for number, prompt in enumerate(PROMPTS):
        counts = Counter(tuple(sample.response_ids) for sample in samples[n * number : n * (number + 1)])
        assert surprise(counts, dict(responses(alpha, prompt, model=policy.causal_lm))) < 4
        assert surprise(counts, dict(responses(0.0, prompt, model=policy.causal_lm))) > 8


def test_a_share_near_zero_is_the_policy_and_near_one_the_base() -> None:
    settings = {"samples_per_prompt": 20, "max_new_tokens": 8}
    drawn = {alpha: build(alpha, **settings).sample(as_prompts(PROMPTS), seed=1) for alpha in (1e-9, 0.5, 1 - 1e-9)}
    assert drawn[1e-9] == build(None, **settings).sample(as_prompts(PROMPTS), seed=1)
    assert drawn[1 - 1e-9] == build(None, policy=OTHER, **settings).sample(as_prompts(PROMPTS), seed=1)
    assert drawn[1e-9] != drawn[0.5] != drawn[1 - 1e-9]


def test_a_model_mixed_with_itself_is_itself() -> None:
    settings = {"samples_per_prompt": 20, "max_new_tokens": 8}
    assert build(0.3, policy=OTHER, **settings).sample(as_prompts(PROMPTS), seed=1) == build(
        None, policy=OTHER, **settings
    ).sample(as_prompts(PROMPTS), seed=1)


def test_a_batch_is_as_one_by_one() -> None:
    """Greedy, long enough for rows to end at different times, with other lengths of padding before and after."""
    sampler = build(0.5, max_new_tokens=12, top_k=1)
    together = [sample.response_ids for sample in sampler.sample(as_prompts(PROMPTS), seed=0)]
    alone = [sampler.sample([prompt], seed=9)[0].response_ids for prompt in as_prompts(PROMPTS)]
    assert together == alone
    for prompt, response in zip(PROMPTS, together, strict=True):
        for position, token in enumerate(response):
            assert token == int(mixed(0.5, [*prompt, *response[:position]]).argmax())
    assert len({len(response) for response in together}) > 1


def test_the_base_reads_every_token_once() -> None:
    read: list[tuple[int, ...]] = []

    @functools.wraps(OTHER.forward)
    def base(*, input_ids: torch.Tensor, **inputs: Any) -> Any:
        read.append(tuple(input_ids.shape))
        return OTHER(input_ids=input_ids, **inputs)

    sampler = build(0.5, base=base, stop_id=99, max_new_tokens=4, samples_per_prompt=2)
    # It is found out first how to decode.
    sampler.decoding()
    read.clear()
    sampler.sample(as_prompts(PROMPTS), seed=0)
    assert read == [(3, 6), (6, 1), (6, 1), (6, 1)]
