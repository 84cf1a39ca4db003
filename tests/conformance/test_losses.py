"""What every objective and every regularizer must do.

dtype: a loss is computed in the dtype of its log ratios. fp32 is finite up to 1e4 nats; bf16 has the same range, and
its three digits are all that a loss of bf16 ratios has, so the trainer gives fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from conformance.rows import Row, cases
from objectives.exact import over_prompts
from sparring.log_ratios import TOKEN_FIELDS, LogRatios
from sparring.regularizers import REGULARIZERS
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.types import Objective, ObjectiveOutput, Regularizer

Loss = Objective | Regularizer
every_loss = pytest.mark.parametrize(("build", "settings", "row"), cases("objective", "regularizer"))


def batch(
    *, prompts: int = 3, samples: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, Tensor]:
    """Every field that a loss may read, the weights aside; the log ratios are of the order of one nat."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    wide, values = (prompts, samples), {}
    for name in ("expert", "reference_expert"):
        values[name] = draw(prompts)
    for name in ("generated", "reference_generated"):
        values[name] = draw(*wide)
    values |= {"policy_expert": -5.0 - draw(prompts).abs(), "expert_length": 1.0 + draw(prompts).abs().round()}
    values |= {name: -5.0 - draw(*wide).abs() for name in ("policy_generated", "policy_initial")}
    values |= {"policy_reference": -5.0 - draw(prompts, samples + 1).abs(), "preference": draw(*wide).sigmoid()}
    values |= {"expert_tokens": -draw(prompts, 5).abs()}
    values |= {"generated_next_tokens": draw(*wide, 5, 3).log_softmax(-1)}
    values |= {"team_expert": draw(prompts, 2), "team_generated": draw(prompts, 2, samples)}
    values |= {"generated_length": torch.ones(wide, dtype=torch.float64)}
    score = draw(*wide)
    values |= {"pairwise": (score.unsqueeze(-1) - score.unsqueeze(-2)).sigmoid()}
    return {name: value.to(dtype) for name, value in values.items()}


INPUTS = (
    *("expert", "generated", "reference_expert", "reference_generated"),
    *("policy_expert", "policy_generated", "policy_initial", "policy_reference", "expert_tokens"),
    *("generated_next_tokens", "team_expert", "team_generated"),
)
"""The fields that depend on the policy, in which a loss is differentiated."""


OF_OTHERS = frozenset({"expert_tokens", "team_expert", "team_generated"})
"""The fields whose second axis is not that of the samples."""


def apply(build: Callable[..., Loss], settings: Mapping[str, Any], values: Mapping[str, Tensor]) -> ObjectiveOutput:
    return build(**settings)(ratios_of(values))


def ratios_of(values: Mapping[str, Tensor]) -> LogRatios:
    """The values as an objective is given them."""
    tokens: dict[str, Any] = {}
    if (log_probs := values.get("expert_tokens")) is not None:
        tokens["expert_tokens"] = TokenLogProbs.unpadded(log_probs)
    if (policy := values.get("generated_next_tokens")) is not None:
        scorer = torch.arange(policy.shape[-1], dtype=torch.float64).log_softmax(-1).to(policy.dtype)
        tokens["generated_next_tokens"] = NextTokenLogProbs.unpadded(policy, scorer.expand_as(policy))
    return LogRatios(**{**values, **tokens})


def select(values: Mapping[str, Tensor], axis: int, order: Tensor) -> dict[str, Tensor]:
    """The entries `order` of an axis, 1 being that of the samples; of a table of pairs, its rows and its columns."""
    chosen = {
        name: value.index_select(axis, order) if axis == 0 or (value.ndim > axis and name not in OF_OTHERS) else value
        for name, value in values.items()
    }
    if axis == 1:
        chosen["team_generated"] = values["team_generated"].index_select(2, order)
        chosen["pairwise"] = chosen["pairwise"].index_select(2, order)
    return chosen


@every_loss
def test_loss_and_metrics_are_one_number_a_prompt(build: type, settings: dict[str, Any], row: Row) -> None:
    for samples in (1, 4):
        output = apply(build, settings, batch(samples=samples))
        assert output.loss.shape == (3,)
        assert output.metrics
        for value in output.metrics.values():
            assert value.shape == (3,)
            assert not value.requires_grad


@pytest.mark.parametrize(("build", "settings", "row"), cases("regularizer"))
def test_regularizers_report_what_they_weigh(build: type, settings: dict[str, Any], row: Row) -> None:
    output = apply(build, settings, batch())
    assert list(output.metrics) == [f"regularizer/{build.name}"]
    assert REGULARIZERS[build.name] is build
    assert torch.allclose(output.loss, 0.7 * output.metrics[f"regularizer/{build.name}"])


@every_loss
def test_value_and_gradient_are_finite_at_ten_thousand_nats_in_fp32(
    build: type, settings: dict[str, Any], row: Row
) -> None:
    generator = torch.Generator().manual_seed(0)
    extremes = torch.tensor([-1e4, -60.0, 0.0, 60.0, 1e4])
    values = batch(prompts=64, dtype=torch.float32)
    for name in INPUTS:
        choice = torch.randint(5, values[name].shape, generator=generator)
        drawn = extremes[choice]
        log_prob = name.startswith("policy") or name in TOKEN_FIELDS
        values[name] = (-drawn.abs() if log_prob else drawn).requires_grad_()
    output = apply(build, settings, values)
    output.loss.sum().backward()
    assert torch.isfinite(output.loss).all()
    assert all(torch.isfinite(value).all() for value in output.metrics.values())
    assert all(torch.isfinite(values[name].grad).all() for name in INPUTS if values[name].grad is not None)


@every_loss
def test_gradient_is_that_of_the_value(build: type, settings: dict[str, Any], row: Row) -> None:
    values = batch(prompts=2, samples=3)
    if row.held is not None:
        settings = settings | {row.held: 0}
    read = sorted(build(**settings).requires & set(INPUTS))
    metrics = apply(build, settings, values).metrics
    held = {name: float(metrics[name][0]) for name in row.chosen if isinstance(settings.get(name), str)}

    def loss(*inputs: Tensor, fixed: Mapping[str, Any] = held) -> Tensor:
        return apply(build, {**settings, **fixed}, values | dict(zip(read, inputs, strict=True))).loss

    inputs = [values[name].clone().requires_grad_() for name in read]
    assert torch.autograd.gradcheck(loss, inputs)
    free, fixed = (torch.autograd.grad(loss(*inputs, fixed=each).sum(), inputs) for each in ({}, held))
    assert all(torch.equal(one, other) for one, other in zip(free, fixed, strict=True))


@every_loss
def test_gradient_is_zero_where_theory_says_so(build: type, settings: dict[str, Any], row: Row) -> None:
    size = 5
    start = torch.zeros(size, dtype=torch.float64)
    if row.rests_at == "common":
        start = torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = start.clone().requires_grad_()
    log_policy, common = logits.log_softmax(0), start.log_softmax(0)
    wide, weight = log_policy.expand(size, -1), common.exp().expand(size, -1)
    ratios = LogRatios(
        expert=log_policy - common,
        generated=wide - common,
        expert_weight=common.exp(),
        generated_weight=weight,
        initial_weight=weight,
        reference_weight=weight,
        preference=torch.full((size, size), 0.5, dtype=torch.float64),
        pairwise=torch.full((size, size, size), 0.5, dtype=torch.float64),
        reference_expert=log_policy - common,
        reference_generated=wide - common,
        policy_expert=log_policy,
        policy_generated=wide,
        policy_initial=wide,
        policy_reference=wide,
        team_expert=(log_policy - common).unsqueeze(-1),
        team_generated=(wide - common).unsqueeze(1),
        team_weight=weight.unsqueeze(1),
        expert_tokens=TokenLogProbs.unpadded(log_policy.unsqueeze(-1)),
        generated_next_tokens=NextTokenLogProbs.unpadded(
            *(each.expand(size, size, 1, -1) for each in (log_policy, common))
        ),
        expert_length=torch.ones(size, dtype=torch.float64),
        generated_length=torch.ones(size, size, dtype=torch.float64),
    )
    (gradient,) = torch.autograd.grad(over_prompts(ratios, build(**settings)(ratios).loss), logits)
    assert gradient.abs().max() < 1e-14


@every_loss
def test_the_order_of_the_samples_does_not_matter(build: type, settings: dict[str, Any], row: Row) -> None:
    values = batch()
    shuffled = select(values, 1, torch.tensor([2, 0, 3, 1]))
    shuffled["policy_reference"] = values["policy_reference"].flip(1)
    assert torch.allclose(apply(build, settings, values).loss, apply(build, settings, shuffled).loss)


@every_loss
def test_prompts_keep_their_losses_in_any_order(build: type, settings: dict[str, Any], row: Row) -> None:
    order, values = torch.tensor([2, 0, 1]), batch()
    before, after = apply(build, settings, values), apply(build, settings, select(values, 0, order))
    assert torch.allclose(before.loss[order], after.loss)
    for name, value in before.metrics.items():
        assert torch.allclose(value[order], after.metrics[name])


@every_loss
def test_samples_given_twice_count_once(build: type, settings: dict[str, Any], row: Row) -> None:
    for samples in (1, 2):
        values = batch(samples=samples)
        twice = {name: value.repeat(1, *[2] * (value.ndim - 1)) for name, value in values.items()}
        twice["generated_next_tokens"] = values["generated_next_tokens"].repeat(1, 2, 1, 1)
        twice |= {name: values[name] for name in OF_OTHERS}
        twice["team_generated"] = values["team_generated"].repeat(1, 1, 2)
        assert torch.allclose(apply(build, settings, values).loss, apply(build, settings, twice).loss)


@every_loss
def test_uniform_weights_are_no_weights(build: type, settings: dict[str, Any], row: Row) -> None:
    values = batch()
    weights = {"expert_weight": torch.full((3,), 1 / 3, dtype=torch.float64)}
    weights |= {name: torch.full((3, 4), 0.25, dtype=torch.float64) for name in ("generated_weight", "initial_weight")}
    weights |= {"team_weight": torch.full((3, 2, 4), 0.25, dtype=torch.float64)}
    weights |= {"reference_weight": torch.full((3, 5), 0.2, dtype=torch.float64)}
    without, given = apply(build, settings, values), apply(build, settings, values | weights)
    assert torch.allclose(without.loss, given.loss)
    for name, value in without.metrics.items():
        assert torch.allclose(value, given.metrics[name])


@every_loss
def test_a_sample_of_weight_zero_is_no_sample(build: type, settings: dict[str, Any], row: Row) -> None:
    values = batch()
    first = select(values, 1, torch.arange(3))
    third = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    padded = {
        "generated_weight": torch.cat([third, torch.zeros(3, 1, dtype=torch.float64)], 1),
        "initial_weight": torch.cat([third, torch.zeros(3, 1, dtype=torch.float64)], 1),
        "reference_weight": torch.cat([third, torch.zeros(3, 2, dtype=torch.float64)], 1),
        "team_weight": torch.cat([third, torch.zeros(3, 1, dtype=torch.float64)], 1).unsqueeze(1).expand(3, 2, 4),
    }
    assert torch.allclose(apply(build, settings, values | padded).loss, apply(build, settings, first).loss)


@every_loss
def test_what_it_requires_is_all_it_needs_and_each_is_missed_by_name(
    build: type, settings: dict[str, Any], row: Row
) -> None:
    loss, values = build(**settings), batch()
    needed = {name: values[name] for name in loss.requires}
    assert torch.equal(loss(ratios_of(needed)).loss, loss(ratios_of(values)).loss)
    for name in loss.requires:
        others = {other: value for other, value in values.items() if other != name}
        with pytest.raises(ValueError, match=rf"LogRatios\.{name} \[B.*missing"):
            loss(ratios_of(others))


@every_loss
def test_bf16_in_is_bf16_out_with_its_three_digits(build: type, settings: dict[str, Any], row: Row) -> None:
    rounded = batch(dtype=torch.bfloat16)
    exact = apply(build, settings, {name: value.double() for name, value in rounded.items()}).loss
    loss = apply(build, settings, rounded).loss
    assert loss.dtype == torch.bfloat16
    assert torch.allclose(loss.double(), exact, rtol=0.03, atol=0.03 * float(1 + exact.abs().max()))
