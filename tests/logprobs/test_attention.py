"""Attention by segments against one masked attention over the whole row."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from families import build
from sparring.logprobs import attention, layout_of, segments
from sparring.logprobs.attention import grouped_attention
from sparring.logprobs.ranges import Segment
from sparring.logprobs.segments import segment_attention

# A sequence of 7; one of 6 that leaves it after 4, and one of 8 that leaves that after 5; one of 7 that leaves the
# first after 1; another sequence of 3, and one of 4 that goes on where that ends.
SEGMENTS: list[Segment] = [(-1, 0, 7), (3, 7, 9), (7, 9, 12), (0, 12, 18), (-1, 18, 21), (20, 21, 22)]
SEQUENCES = [
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 7, 8],
    [0, 1, 2, 3, 7, 9, 10, 11],
    [0, 12, 13, 14, 15, 16, 17],
    [18, 19, 20, 21],
]
LENGTH = 22


def states(heads: int, seed: int) -> Tensor:
    return torch.randn(1, heads, LENGTH, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole_row(query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float) -> Tensor:
    """Softmax over a T × T mask that is written out from the definition."""
    allowed = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    for sequence in SEQUENCES:
        for place, i in enumerate(sequence):
            seen = sequence[: place + 1]
            allowed[i, seen if window is None else seen[-window:]] = True
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = (scale * query @ key.transpose(-1, -2)).masked_fill(~allowed, float("-inf")).softmax(-1)
    return weights @ value


@pytest.mark.parametrize("scale", [8**-0.5, 0.7])
@pytest.mark.parametrize("window", [None, 1, 3, 6, 100])
def test_values_and_gradients(window: int | None, scale: float) -> None:
    inputs = [states(heads, seed).requires_grad_() for seed, heads in enumerate((4, 2, 2))]
    ours = segment_attention(*inputs, SEGMENTS, window=window, scale=scale)
    exact = whole_row(*inputs, window, scale)
    torch.testing.assert_close(ours, exact, rtol=0.0, atol=1e-12)
    weight = states(4, 9)
    for own, other in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((exact * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(own, other, rtol=0.0, atol=1e-12)


def varlen_by_definition(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, **kwargs: Any
) -> Tensor:
    """What torch documents of `varlen_attn`: sequence i of the queries against sequence i of the keys."""
    left, right = kwargs["window_size"]
    outputs = []
    for (a, b), (c, d) in zip(pairwise(cu_seq_q), pairwise(cu_seq_k), strict=True):
        assert b - a <= max_q
        assert d - c <= max_k
        place = torch.arange(int(d - c) - int(b - a), int(d - c))[:, None]
        ahead = torch.arange(int(d - c))[None] - place
        allowed = (ahead <= right) & ((ahead >= -left) if left >= 0 else True)
        scores = torch.einsum("qhd,khd->hqk", query[a:b], key[c:d]) * kwargs["scale"]
        weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, value[c:d]))
    return torch.cat(outputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_on_a_processor_halves_are_computed_in_fp32_and_rounded_once(dtype: torch.dtype, autocast: bool) -> None:
    halves = [states(heads, seed).to(dtype).requires_grad_() for seed, heads in enumerate((4, 2, 2))]
    wider = [each.detach().float().requires_grad_() for each in halves]
    with torch.autocast("cpu", dtype, enabled=autocast):
        found = segment_attention(*halves, SEGMENTS)
    exact = segment_attention(*wider, SEGMENTS)
    assert torch.equal(found, exact.to(dtype))
    found.float().square().sum().backward()
    exact.to(dtype).float().square().sum().backward()
    for half, whole in zip(halves, wider, strict=True):
        assert half.grad is not None
        # The output is kept rounded, so the gradients of keys and queries are off by as much.
        assert (half.grad - whole.grad).norm() <= torch.finfo(dtype).eps * whole.grad.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_backward_pass_keeps_rows_and_not_what_each_segment_reads(dtype: torch.dtype) -> None:
    """24 responses to a prompt of 200 tokens: what they read is 26 times as long as the row's own part of it."""
    prompt, response, many = 200, 8, 24
    row = [(-1, 0, prompt)]
    row += [(prompt - 1, prompt + at * response, prompt + (at + 1) * response) for at in range(many)]
    length = prompt + many * response
    query, key, value = (torch.randn(1, heads, length, 8).to(dtype).requires_grad_() for heads in (4, 2, 2))
    kept: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        output = segment_attention(query, key, value, row)
    assert output.transpose(1, 2).is_contiguous()  # so that the projection after it keeps no other copy
    of_rows = sum(states.numel() * states.element_size() for states in (query, key, value, output))
    of_sums = 4 * length * (1 + many) * 4  # at most: a log of a sum for each query of each segment
    assert of_rows <= sum(kept.values()) <= of_rows + of_sums


def test_values_of_another_size_and_dropout_go_the_general_way() -> None:
    query, key, value = states(4, 0), states(2, 1), torch.cat([states(2, 2)] * 2, dim=-1)
    found = segment_attention(query, key, value, SEGMENTS)
    torch.testing.assert_close(found, whole_row(query, key, value, None, 8**-0.5), rtol=0.0, atol=1e-12)
    dropped = segment_attention(query, key, states(2, 2), SEGMENTS, dropout=1.0)
    assert torch.equal(dropped, torch.zeros(1, 4, LENGTH, 8, dtype=torch.float64))


@pytest.mark.parametrize("window", [None, 1, 3, 100])
def test_the_arguments_for_flash_attention_mean_the_same(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel needs a GPU; what it is given is checked against its documented meaning."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_by_definition)
    inputs = [states(heads, seed) for seed, heads in enumerate((4, 2, 2))]
    ours = segments._varlen(*inputs, SEGMENTS, window=window, scale=0.4)
    torch.testing.assert_close(ours, whole_row(*inputs, window, 0.4), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize("heads", [2, 6])
def test_heads_that_share_keys_are_as_many_queries_on_them(heads: int, scale: float | None) -> None:
    numbers = torch.Generator().manual_seed(0)
    query = torch.randn(3, heads, 1, 8, generator=numbers, dtype=torch.float64)
    key, value = (torch.randn(3, 2, 5, size, generator=numbers, dtype=torch.float64) for size in (8, 4))
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]).bool()[:, None, None]
    keys, values = (each.repeat_interleave(heads // 2, 1) for each in (key, value))
    weights = ((scale or 8**-0.5) * query @ keys.transpose(-1, -2)).masked_fill(~mask, float("-inf")).softmax(-1)
    torch.testing.assert_close(grouped_attention(query, key, value, mask, scale), weights @ values, rtol=0, atol=1e-12)


def test_a_step_of_decoding_copies_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """With padding too, where transformers' own attention would repeat them for each head."""
    seen: list[tuple[int, ...]] = []
    whole = attention.scaled_dot_product_attention
    model = build("llama")
    layout_of(model)

    def watched(query: Tensor, key: Tensor, *rest: Any, **named: Any) -> Tensor:
        seen.append((*query.shape[:3], key.shape[1]))
        return whole(query, key, *rest, **named)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", watched)
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        cache = model(input_ids=torch.tensor([[0, 5, 6], [7, 8, 9]]), attention_mask=mask[:, :3]).past_key_values
        model(input_ids=torch.tensor([[5], [6]]), attention_mask=mask, past_key_values=cache)
    assert seen == [(2, 2, 2, 2)] * 2
