"""On outcomes that can all be listed, the truth metrics' expectations are the exact divergences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from objectives.exact import distributions
from sparring.logprobs import sequence_log_probs, tempered
from sparring.metrics import Estimate, HeldOut, Response
from sparring.metrics.truth import truth
from tiny import tiny_model

NAMES = ("truth/forward_kl", "truth/reverse_kl", "truth/total_variation")


def response(policy: float, expert: float | None) -> Response:
    return Response(text="", tokens=1, finish_reason="stop", log_prob=policy, log_prob_expert=expert)


def one_prompt(expert: Response, *sampled: Response) -> HeldOut:
    return HeldOut(expert=[expert], greedy=[], sampled=[list(sampled)])


def expectations(log_expert: Tensor, log_policy: Tensor) -> dict[str, float]:
    """Σ π_E(y) π(y') · metric(y, y'), exactly; a metric is a term in y plus one in y', so one sum each will do."""
    outcomes = [response(float(p), float(e)) for p, e in zip(log_policy, log_expert, strict=True)]

    def values(pairs: list[tuple[Response, Response]]) -> Callable[[str], Tensor]:
        found = [truth(one_prompt(expert, sampled)) for expert, sampled in pairs]
        return lambda name: torch.tensor([each[name].mean for each in found], dtype=torch.float64)

    first = outcomes[0]
    of_expert = values([(outcome, first) for outcome in outcomes])
    of_policy = values([(first, outcome) for outcome in outcomes])
    return {
        name: float(log_expert.exp() @ of_expert(name) + log_policy.exp() @ of_policy(name) - of_expert(name)[0])
        for name in NAMES
    }


def exact(log_expert: Tensor, log_policy: Tensor) -> dict[str, float]:
    difference = log_expert - log_policy
    return {
        "truth/forward_kl": float(log_expert.exp() @ difference),
        "truth/reverse_kl": -float(log_policy.exp() @ difference),
        "truth/total_variation": 0.5 * float((log_expert.exp() - log_policy.exp()).abs().sum()),
    }


@settings(max_examples=5, deadline=None)
@given(expert=distributions(5), policy=distributions(5))
def test_the_estimates_are_unbiased(expert: Tensor, policy: Tensor) -> None:
    assert expectations(expert.log(), policy.log()) == pytest.approx(exact(expert.log(), policy.log()), abs=1e-12)


def test_on_a_language_model_with_every_response_listed() -> None:
    """Six tokens, responses cut at three: 156 outcomes, whose probabilities sum to one for teacher and policy alike."""
    stop, longest = 2, 3
    responses = [
        [*head, last]
        for length in range(longest)
        for head in product([token for token in range(6) if token != stop], repeat=length)
        for last in (range(6) if length == longest - 1 else [stop])
    ]
    teacher, policy = tiny_model(seed=1, vocab_size=6), tiny_model(seed=2, vocab_size=6)
    with torch.no_grad():
        with tempered(teacher, 0.7):
            (log_expert,) = sequence_log_probs(teacher, [[1, 3, 4, 5]], [responses])
        (log_policy,) = sequence_log_probs(policy, [[1, 5]], [responses])
    log_expert, log_policy = log_expert.double(), log_policy.double()
    assert len(responses) == 156
    for log_probs in (log_expert, log_policy):
        assert float(log_probs.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert expectations(log_expert, log_policy) == pytest.approx(exact(log_expert, log_policy), abs=1e-4)


def test_samples_of_a_prompt_are_averaged_first_and_prompts_have_equal_weight() -> None:
    held_out = HeldOut(
        expert=[response(-3.0, -1.0), response(-1.0, -2.0)],
        greedy=[],
        sampled=[[response(-1.0, -2.0), response(-1.0, -4.0)], [response(-5.0, -5.0)]],
    )
    found = truth(held_out)
    assert found["truth/forward_kl"] == Estimate.of([2.0, -1.0])
    assert found["truth/reverse_kl"] == Estimate.of([2.0, 0.0])


def test_the_total_variation_is_a_share_whatever_the_ratios() -> None:
    far = one_prompt(response(-900.0, 0.0), response(0.0, -900.0))
    assert truth(far)["truth/total_variation"].mean == 1.0
    same = one_prompt(response(-7.0, -7.0), response(-3.0, -3.0))
    assert [value.mean for value in truth(same).values()] == [0.0, 0.0, 0.0]


def test_without_a_teacher_there_is_no_truth() -> None:
    assert truth(one_prompt(response(-1.0, None), response(-1.0, None))) == {}
    assert truth(HeldOut(expert=[], greedy=[], sampled=[[response(-1.0, -1.0)]])) == {}
    with pytest.raises(ValueError, match="under the policy or the teacher"):
        truth(one_prompt(response(-1.0, -1.0), response(-1.0, None)))
