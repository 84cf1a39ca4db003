"""The head: chunked, its backward pass written by hand where it is a plain linear layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from families import PROMPTS, RESPONSES, build
from sparring.logprobs import head, sequence_log_probs
from sparring.logprobs.head import head_bytes, token_log_probs
from tiny import tiny_model

ROWS, WIDTH, VOCABULARY = 11, 6, 13


class Model:
    """Just a head."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.linear = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=dtype)
        with torch.no_grad():
            self.linear.weight.copy_(_normal(VOCABULARY, WIDTH, seed=1))
        self.config = tiny_model(vocab_size=VOCABULARY).config

    def get_output_embeddings(self) -> nn.Module:
        return self.linear


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs() -> tuple[Tensor, Tensor]:
    return _normal(ROWS, WIDTH, seed=2), torch.arange(ROWS) % VOCABULARY


@pytest.fixture(params=[10**6, 6 * VOCABULARY, 0], ids=["kept", "kept in part", "computed again"])
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of four rows, so that the last is short, with and without a budget for probabilities."""
    monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 4 * VOCABULARY)
    monkeypatch.setattr(head, "_PROBABILITIES_KEPT", request.param)


@pytest.mark.usefixtures("small_chunks")
def test_gradcheck() -> None:
    model = Model()
    hidden, targets = inputs()

    def function(states: Tensor, weight: Tensor) -> Tensor:
        return head._LinearLogProbs.apply(states, weight, targets, 4, True)  # noqa: FBT003

    assert torch.autograd.gradcheck(function, (hidden.requires_grad_(), model.linear.weight))


@pytest.mark.usefixtures("small_chunks")
def test_values_and_gradients_are_those_of_log_softmax() -> None:
    model = Model()
    hidden, targets = inputs()
    hidden.requires_grad_()
    exact = model.linear(hidden).log_softmax(-1)[torch.arange(ROWS), targets]
    ours = token_log_probs(model, hidden, targets)
    torch.testing.assert_close(ours, exact, rtol=0.0, atol=1e-12)
    weight = _normal(ROWS, seed=3)
    for own, other in zip(
        torch.autograd.grad((ours * weight).sum(), [hidden, model.linear.weight]),
        torch.autograd.grad((exact * weight).sum(), [hidden, model.linear.weight]),
        strict=True,
    ):
        torch.testing.assert_close(own, other, rtol=0.0, atol=1e-12)


def kept_by(model: Any, hidden: Tensor, targets: Tensor) -> int:
    """How many matrices of probabilities wait for the backward pass."""
    result = token_log_probs(model, hidden, targets)
    return len(result.grad_fn.kept) if result.grad_fn is not None else 0


def test_probabilities_are_kept_only_for_a_weight_that_learns_and_only_within_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 4 * VOCABULARY)
    model = Model()
    hidden, targets = inputs()
    hidden.requires_grad_()
    assert kept_by(model, hidden, targets) == 3
    monkeypatch.setattr(head, "_PROBABILITIES_KEPT", ROWS * VOCABULARY - 1)
    assert kept_by(model, hidden, targets) == 2
    monkeypatch.undo()
    model.linear.weight.requires_grad_(requires_grad=False)
    assert kept_by(model, hidden, targets) == 0
    with torch.no_grad():
        assert token_log_probs(model, hidden, targets).grad_fn is None


def test_extreme_logits_stay_finite() -> None:
    model = Model()
    hidden, targets = inputs()
    states = (1e6 * hidden).requires_grad_()
    values = token_log_probs(model, states, targets)
    gradient = torch.autograd.grad(values.sum(), states)[0]
    assert values.isfinite().all()
    assert gradient.isfinite().all()


def test_bf16_weights_give_fp32_log_probs() -> None:
    model = Model(torch.bfloat16)
    hidden, targets = inputs()
    states = hidden.bfloat16().requires_grad_()
    values = token_log_probs(model, states, targets)
    exact = token_log_probs(Model(), states.detach().double(), targets)
    assert values.dtype == torch.float32
    assert (values.double() - exact).abs().max() < 0.05
    values.sum().backward()
    assert states.grad.dtype == model.linear.weight.grad.dtype == torch.bfloat16


def test_autocast_reaches_the_head() -> None:
    model = Model(torch.float32)
    hidden, targets = inputs()
    states = hidden.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = token_log_probs(model, states, targets)
    half = Model(torch.bfloat16)
    expected = token_log_probs(half, hidden.bfloat16(), targets)
    assert torch.equal(values, expected)
    values.sum().backward()
    assert states.grad.dtype == model.linear.weight.grad.dtype == torch.float32


def test_a_head_with_a_transform_sees_response_positions_only_and_never_more_than_a_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 4 * (5 * 97 + 96))
    model = build("granite")
    rows: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(
        lambda module, args: rows.append(args[0].numel() // args[0].shape[-1])
    )
    response_tokens = sum(len(answer) for answers in RESPONSES for answer in answers)
    with torch.no_grad():
        sequence_log_probs(model, PROMPTS, RESPONSES)
    rows.clear()
    torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES)).sum().backward()
    # Forward, and once more in the backward pass instead of being kept.
    assert sum(rows) == 2 * response_tokens
    assert max(rows) == 5


def test_chunking_does_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().double()
    with torch.no_grad():
        whole = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
        monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 1)
        single = torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))
    torch.testing.assert_close(single, whole, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "element"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("trained", [True, False])
def test_what_the_head_keeps_is_what_is_planned(
    dtype: torch.dtype, element: int, trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_LOGITS_AT_ONCE", 4 * VOCABULARY)
    monkeypatch.setattr(head, "_PROBABILITIES_KEPT", 8 * VOCABULARY)
    model = Model(dtype)
    model.linear.weight.requires_grad_(trained)
    states, targets = inputs()
    calls = (3, 8)
    parts = [token_log_probs(model, states[:n].to(dtype).requires_grad_(), targets[:n]) for n in calls]
    kept = sum(m.numel() * m.element_size() for part in parts for m, _ in part.grad_fn.kept)
    shape = {"vocabulary": VOCABULARY, "element": element, "trained": trained}
    assert kept == trained * 11 * VOCABULARY * element
    assert head_bytes(calls, **shape) == 4 * 4 * VOCABULARY + kept
    # A call over the budget keeps what fits.
    kept = token_log_probs(model, states[:9].to(dtype).requires_grad_(), targets[:9]).grad_fn.kept
    assert sum(len(m) for m, _ in kept) == 8 * trained
    assert head_bytes((3, 9), **shape) == head_bytes(calls, **shape)
