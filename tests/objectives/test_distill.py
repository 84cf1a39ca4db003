"""Distillation on every sequence of two tokens: what it measures, where it ends, and what coarse classes leave."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import TrainingArguments

from objectives.exact import best_response, over_prompts
from sparring.errors import InputError
from sparring.games import ImitationGame
from sparring.log_ratios import LogRatios
from sparring.logprobs import likely_tokens
from sparring.objectives import Distill
from sparring.tokens import NextTokenLogProbs
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple, Triples
from tiny import tiny_model

V = 3
NAMES = ("reverse_kl", "forward_kl", "js")
every_divergence = pytest.mark.parametrize("name", NAMES)
Law = tuple[Tensor, Tensor]
"""Logits of the first token `[V]`, and of the second after each first one `[V, V]`."""


def law(seed: int) -> Law:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((V,), (V, V)))
    return first.requires_grad_(), second.requires_grad_()


def next_tokens(logits: Law) -> Tensor:
    """`[V², 2, V]` log-probs of all next tokens at both places of every sequence."""
    one, two = logits[0].log_softmax(-1), logits[1].log_softmax(-1)
    return torch.stack([one.expand(V * V, -1), two.repeat_interleave(V, dim=0)], dim=1)


def sequence_log_probs(logits: Law) -> Tensor:
    """`[V²]` log-probs of the sequences themselves."""
    one, two = logits[0].log_softmax(-1), logits[1].log_softmax(-1)
    return (one.unsqueeze(-1) + two).flatten()


def sequences(policy: Law, scorers: Sequence[Law], drawn: Tensor) -> LogRatios:
    """All V² sequences as samples with probabilities `drawn`, for one prompt a scorer."""
    scored = torch.stack([next_tokens(each) for each in scorers])
    shape = scored.shape
    return LogRatios(
        generated_next_tokens=NextTokenLogProbs.unpadded(next_tokens(policy).expand(shape), scored.detach()),
        generated_weight=drawn.expand(shape[:2]),
        expert_weight=torch.full(shape[:1], 1 / len(scorers), dtype=torch.float64),
    )


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@pytest.mark.parametrize("seed", range(3))
def test_over_the_policys_own_samples_the_reverse_kl_is_that_of_whole_sequences(seed: int) -> None:
    policy, scorer = law(seed), law(seed + 100)
    own = sequence_log_probs(policy)
    loss = Distill()(sequences(policy, [scorer], own.exp())).loss
    assert float(loss.detach()) == pytest.approx(float(kl(own, sequence_log_probs(scorer)).detach()), abs=1e-14)


def test_each_divergence_has_its_known_value() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25])
    tokens = NextTokenLogProbs.unpadded(*(each.log().view(1, 1, 1, 3) for each in (p, q)))
    values = {name: float(Distill(divergence=name)(LogRatios(generated_next_tokens=tokens)).loss) for name in NAMES}
    assert values["reverse_kl"] == pytest.approx(0.25 * math.log(2))
    assert values["forward_kl"] == pytest.approx(0.25 * math.log(2))
    # m = (3/8, 3/8, 1/4): each half is ½ log(4/3) + ¼ log(2/3).
    assert values["js"] == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3))


def minimum(loss: Callable[[Law], Tensor], start: Law) -> list[Tensor]:
    """The laws where descent on the logits ends."""
    policy = start
    descent = torch.optim.LBFGS(
        policy, max_iter=200, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        descent.zero_grad()
        value = loss(policy)
        value.backward()
        return value

    descent.step(closure)
    return [each.softmax(-1).detach() for each in policy]


@every_divergence
def test_whatever_the_samples_are_it_ends_at_the_scorer(name: str) -> None:
    scorer, drawn = law(7), torch.full((V * V,), 1 / V**2, dtype=torch.float64)

    def loss(policy: Law) -> Tensor:
        return Distill(divergence=name)(sequences(policy, [scorer], drawn)).loss.sum()

    for found, wanted in zip(minimum(loss, law(1)), scorer, strict=True):
        assert torch.allclose(found, wanted.softmax(-1), atol=1e-5)


@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl"])
def test_between_scorers_who_saw_different_demonstrations_it_ends_at_their_mean(name: str) -> None:
    scorers, drawn = [law(7), law(8)], torch.full((V * V,), 1 / V**2, dtype=torch.float64)

    def loss(policy: Law) -> Tensor:
        given = sequences(policy, scorers, drawn)
        return over_prompts(given, Distill(divergence=name)(given).loss)

    for found, *logits in zip(minimum(loss, law(1)), *scorers, strict=True):
        log_probs = torch.stack([each.log_softmax(-1) for each in logits]).detach()
        geometric = log_probs.mean(0).softmax(-1)
        assert torch.allclose(found, geometric if name == "reverse_kl" else log_probs.exp().mean(0), atol=1e-5)


@every_divergence
def test_coarser_classes_never_see_more_and_all_of_it_where_the_rest_is_alike(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 50, 12, generator=generator, dtype=torch.float64).log_softmax(-1)

    def seen(p: Tensor, q: Tensor, count: int) -> Tensor:
        """With the first `count` tokens told apart."""
        merged = [torch.cat([each[:, :count], each[:, count:].logsumexp(-1, keepdim=True)], -1) for each in (p, q)]
        tokens = NextTokenLogProbs.unpadded(*(each[:, None, None] for each in merged))
        return Distill(divergence=name)(LogRatios(generated_next_tokens=tokens)).loss

    values = torch.stack([seen(p, q, count) for count in range(1, 12)])
    assert bool((values.diff(dim=0) >= -1e-15).all())
    # The policy's own mass of the rest, shared out as the scorer shares it.
    share = q[:, 4:] - q[:, 4:].logsumexp(-1, keepdim=True)
    alike = torch.cat([p[:, :4], p[:, 4:].logsumexp(-1, keepdim=True) + share], -1)
    assert torch.allclose(seen(alike, q, 4), seen(alike, q, 11), atol=1e-14)


@every_divergence
def test_probability_cannot_flee_into_tokens_that_are_not_told_apart(name: str) -> None:
    """The loss grows with what leaves the likeliest tokens; on these alone, renormalised, it would be zero."""
    scorer = torch.tensor([0.6, 0.3, 0.1])
    losses = []
    for left in (0.1, 0.5, 0.9):
        policy = torch.cat([scorer[:2] / 0.9 * (1 - left), torch.tensor([left])])
        tokens = NextTokenLogProbs.unpadded(*(each.log().view(1, 1, 1, 3) for each in (policy, scorer)))
        losses.append(float(Distill(divergence=name)(LogRatios(generated_next_tokens=tokens)).loss))
    assert losses[0] == pytest.approx(0.0, abs=1e-6)
    assert losses[0] < losses[1] < losses[2]


@every_divergence
def test_in_the_exact_game_a_scorer_that_knows_the_expert_makes_the_policy_the_expert_at_once(name: str) -> None:
    expert = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    play = ImitationGame(expert=expert, initial=torch.tensor([0.2, 0.4, 0.4])).play(
        Distill(divergence=name), iterations=1
    )
    assert torch.allclose(play.policies[1], expert, atol=1e-9)

    def loss(log_policy: Tensor) -> Tensor:
        values = (log_policy.view(1, 1, 1, -1), expert.log().view(1, 1, 1, -1))
        return Distill(divergence=name)(LogRatios(generated_next_tokens=NextTokenLogProbs.unpadded(*values))).loss[0]

    assert torch.allclose(best_response(loss, torch.full((3,), 1 / 3, dtype=torch.float64).log()).exp(), expert)


def test_the_trainer_gives_it_the_policys_next_tokens_beside_the_scorers(tmp_path: Path) -> None:
    model, scorer = tiny_model(), tiny_model(seed=5)
    prompts, answers, shown = [[5, 6], [4]], [[[9, 7, 2], [8]], [[7], [8, 2, 6, 6]]], [[11, 5, 6], [12, 13, 4]]
    known = likely_tokens(scorer, shown, answers, count=4, vocabulary=259)
    triples = [
        Triple(prompt_ids=prompt, expert_ids=[8, 2], generated_ids=of_prompt, likely_tokens=tokens)
        for prompt, of_prompt, tokens in zip(prompts, answers, known, strict=True)
    ]
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, learning_rate=1e-3, report_to=[], save_strategy="no", use_cpu=True
    )
    trainer = SelfPlayTrainer(model, objective=Distill(), args=args, train_dataset=Triples(triples))
    with torch.no_grad():
        batch = trainer.data_collator(trainer.train_dataset.items)
        _, output = trainer.compute_loss(model, batch, return_outputs=True)
        losses = torch.stack(
            [
                torch.stack(
                    [_by_hand(model, scorer, *each) for each in zip([prompt] * 2, [read] * 2, of_prompt, strict=True)]
                ).mean()
                for prompt, read, of_prompt in zip(prompts, shown, answers, strict=True)
            ]
        )
    assert torch.allclose(output.loss, losses, atol=1e-5)
    trainer.train()
    bare = [Triple(prompt_ids=[5], generated_ids=[[7]])]
    with pytest.raises(InputError, match="what a scorer expects at each generated token, and a triple lacks it"):
        SelfPlayTrainer(model, objective=Distill(), args=args, train_dataset=Triples(bare))


def _by_hand(
    model: torch.nn.Module, scorer: torch.nn.Module, prompt: list[int], shown: list[int], y: list[int]
) -> Tensor:
    """Σ_t KL(policy‖scorer) over the scorer's four likeliest tokens and the rest; nothing of sparring."""
    p, q = (
        m(input_ids=torch.tensor([[*x, *y]])).logits[0, len(x) - 1 : -1].double().softmax(-1)
        for m, x in ((model, prompt), (scorer, shown))
    )
    ids = q.topk(4, dim=-1).indices
    p, q = (torch.cat([each.gather(-1, ids), 1 - each.gather(-1, ids).sum(-1, keepdim=True)], -1) for each in (p, q))
    return (p * (p / q).log()).sum().float()
