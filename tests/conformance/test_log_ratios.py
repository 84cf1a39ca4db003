"""What `LogRatios` refuses: the message names the field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from sparring.log_ratios import TOKEN_FIELDS, LogRatios
from sparring.tokens import NextTokenLogProbs, TokenLogProbs

SHAPES = {
    **dict.fromkeys(("expert", "expert_weight", "reference_expert", "policy_expert", "expert_length"), "[B]"),
    **dict.fromkeys(("generated", "generated_weight", "preference", "reference_generated"), "[B, K]"),
    **dict.fromkeys(("policy_generated", "generated_length", "policy_initial", "initial_weight"), "[B, K]"),
    **dict.fromkeys(("policy_reference", "reference_weight"), "[B, M]"),
    "pairwise": "[B, K, K]",
    "expert_tokens": "[B, T]",
    "generated_next_tokens": "[B, K, L, N]",
    "team_expert": "[B, J]",
    **dict.fromkeys(("team_generated", "team_weight"), "[B, J, K]"),
}
SIZES = {"[B]": (2,), "[B, K]": (2, 3), "[B, M]": (2, 4), "[B, K, K]": (2, 3, 3), "[B, T]": (2, 5)}
SIZES |= {"[B, J]": (2, 6), "[B, J, K]": (2, 6, 3), "[B, K, L, N]": (2, 3, 7, 8)}
# Tokens come as an object of their own, which checks itself.
PLAIN = sorted(SHAPES.keys() - TOKEN_FIELDS)


def value(name: str, dtype: torch.dtype = torch.float32) -> Any:
    tensor = torch.ones(SIZES[SHAPES[name]]).div(2).to(dtype)
    if name == "generated_next_tokens":
        return NextTokenLogProbs.unpadded(tensor, tensor)
    return TokenLogProbs.unpadded(tensor) if name in TOKEN_FIELDS else tensor


def test_the_table_has_every_field() -> None:
    assert {field.name for field in fields(LogRatios)} == set(SHAPES)
    LogRatios(**{name: value(name) for name in SHAPES})


@pytest.mark.parametrize("name", PLAIN)
def test_shape_dtype_and_type_are_checked(name: str) -> None:
    shape = SHAPES[name].replace("[", r"\[").replace("]", r"\]")
    for wrong in (torch.ones(()), torch.ones(2, 3, 4, 5), torch.ones(2, 3) if shape == r"\[B\]" else torch.ones(2)):
        with pytest.raises(ValueError, match=rf"LogRatios\.{name} must have shape {shape}, got"):
            LogRatios(**{name: wrong})
    with pytest.raises(ValueError, match=rf"LogRatios\.{name} must be floating point, got torch\.int64"):
        LogRatios(**{name: value(name, torch.int64)})
    with pytest.raises(ValueError, match=rf"LogRatios\.{name} must be a tensor of shape {shape}, got list"):
        LogRatios(**{name: [1.0, 2.0]})


@pytest.mark.parametrize("name", SHAPES)
def test_sizes_and_dtypes_agree_across_fields(name: str) -> None:
    other = "policy_expert" if name != "policy_expert" else "expert"
    clashes = "|".join((name, other))
    with pytest.raises(ValueError, match=rf"LogRatios\.({clashes}) has number of prompts B [23], but"):
        LogRatios(**{name: value(name), other: torch.ones(3)})
    with pytest.raises(ValueError, match=rf"LogRatios\.({clashes}) has dtype torch\.float\d\d, but"):
        LogRatios(**{name: value(name), other: torch.ones(2, dtype=torch.float64)})


def test_reference_samples_have_a_number_of_their_own() -> None:
    ratios = LogRatios(generated=torch.ones(2, 3), policy_reference=torch.ones(2, 5))
    assert ratios.mean_over_reference(ratios.policy_reference).shape == (2,)
    with pytest.raises(ValueError, match=r"reference_weight has number of reference samples M 4, but"):
        LogRatios(policy_reference=torch.ones(2, 5), reference_weight=torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"number of samples K"):
        LogRatios(generated=torch.ones(2, 3), policy_initial=torch.ones(2, 4))


def test_preferences_are_probabilities() -> None:
    for wrong in ([[1.5, 0.5]], [[-0.1, 0.5]], [[float("nan"), 0.5]]):
        with pytest.raises(ValueError, match=r"LogRatios\.preference holds probabilities"):
            LogRatios(preference=torch.tensor(wrong))
    table = torch.tensor([[[0.5, 0.8], [0.2, 0.5]]])
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        LogRatios(pairwise=table.to(dtype))
    with pytest.raises(ValueError, match=r"LogRatios\.pairwise must satisfy P_ij \+ P_ji = 1"):
        LogRatios(pairwise=torch.tensor([[[0.5, 0.8], [0.3, 0.5]]]))
    with pytest.raises(ValueError, match=r"LogRatios\.pairwise has number of samples K 3, but"):
        LogRatios(pairwise=torch.full((1, 2, 3), 0.5))


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        LogRatios()
    with pytest.raises(ValueError, match=r"LogRatios\.expert is empty: it needs at least one prompt"):
        LogRatios(expert=torch.ones(0))
    with pytest.raises(ValueError, match=r"LogRatios\.generated is empty: it needs at least one sample \(K ≥ 1\)"):
        LogRatios(generated=torch.ones(2, 0))


def test_tokens_are_an_object_that_checks_itself() -> None:
    with pytest.raises(ValueError, match=r"LogRatios\.expert_tokens must be TokenLogProbs \[B, T\], got Tensor"):
        LogRatios(expert_tokens=torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"LogRatios\.expert_tokens must have shape \[B, T\], got \[2, 3, 5\]"):
        LogRatios(expert_tokens=TokenLogProbs.unpadded(torch.ones(2, 3, 5)))
    true = torch.ones(2, 3, dtype=torch.bool)
    for log_probs, mask, message in (
        (torch.ones(2, 4), true, r"must have one shape, got \[2, 4\] and \[2, 3\]"),
        (torch.ones(2, 3), true.float(), "floating point and .mask bool, got torch.float32 and torch.float32"),
        (torch.ones(2, 3, dtype=torch.long), true, "floating point and .mask bool, got torch.int64"),
        (torch.ones(2, 3), torch.tensor([[True, True, True], [False, False, False]]), "response without a token"),
    ):
        with pytest.raises(ValueError, match=message):
            TokenLogProbs(log_probs=log_probs, mask=mask)


def test_next_tokens_are_an_object_that_checks_itself() -> None:
    wanted = r"LogRatios\.generated_next_tokens must be NextTokenLogProbs \[B, K, L, N\], got TokenLogProbs"
    with pytest.raises(ValueError, match=wanted):
        LogRatios(generated_next_tokens=TokenLogProbs.unpadded(torch.ones(2, 5)))
    values, true = torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    for policy, scorer, mask, message in (
        (values, values[..., :3], true, r"one shape \[…, T, N\], got \[2, 3, 4\] and \[2, 3, 3\]"),
        (values[0, 0], values[0, 0], true, r"got \[4\] and \[4\]"),
        (values, values, true[:, :2], r"one shape, got \[2, 3\] and \[2, 2\]"),
        (values, values.long(), true, r"scorer must be floating point and .mask bool, got torch.int64"),
        (values, values, torch.tensor([[True] * 3, [False] * 3]), "response without a token"),
    ):
        with pytest.raises(ValueError, match=message):
            NextTokenLogProbs(policy=policy, scorer=scorer, mask=mask)


def test_next_tokens_are_padded_by_prompt_and_sample() -> None:
    long, short = torch.arange(6.0).view(3, 2), torch.full((1, 2), 7.0)
    tokens = NextTokenLogProbs.of([[long, short], [short, long]], [[long - 1, short], [short, long]])
    assert tokens.policy.shape == (2, 2, 3, 2)
    assert tokens.mask.sum(-1).tolist() == [[3, 1], [1, 3]]
    assert torch.equal(tokens.policy[1, 1], long)
    assert torch.equal(tokens.scorer[0, 0], long - 1)
    assert tokens.mean(tokens.policy[..., 0]).tolist() == [[2.0, 7.0], [7.0, 2.0]]


def test_padding_counts_for_nothing() -> None:
    tokens = TokenLogProbs.of([torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-4.0])])
    assert tokens.mask.tolist() == [[True, True, True], [True, False, False]]
    assert tokens.sum(tokens.log_probs - 1.0).tolist() == [-9.0, -5.0]
    assert tokens.mean(tokens.log_probs).tolist() == [-2.0, -4.0]
