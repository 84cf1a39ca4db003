"""The explicit reward player: its known answer in finite games, its folds, and how it ranks beside the implicit one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparring.games import PreferenceGame
from sparring.judges import Lesson, RewardPlayer, reward_player
from sparring.metrics import reward_agreement
from sparring.objectives import OBJECTIVES

SPPO = OBJECTIVES["sppo"]
EXPERT, OPPONENT = (0.5, 0.3, 0.2), (0.2, 0.3, 0.5)


def exact_lessons(times: int) -> list[Lesson]:
    """Ten experts by π_E, each beside ten responses by π_o, so that pairs come as often as π_E × π_o says."""
    outcomes = np.eye(3)
    drawn = [y for y, share in enumerate(OPPONENT) for _ in range(round(10 * share))]
    experts = [y for y, share in enumerate(EXPERT) for _ in range(round(10 * share))]
    return [
        Lesson(
            prompt=f"{number} {place}",
            generated=outcomes[drawn],
            expert=outcomes[y],
            told_apart=[y != other for other in drawn],
        )
        for number in range(times)
        for place, y in enumerate(experts)
    ]


def chance(count: int, features: int, lead: float = 0.0) -> list[Lesson]:
    """Experts that differ from the two responses to their prompt by chance, and by a lead in the first feature."""
    draw = np.random.default_rng(0).normal(size=(count, 3, features))
    draw[:, 0, 0] += lead
    return [
        Lesson(prompt=str(n), generated=each[1:], expert=each[0], told_apart=(True, True))
        for n, each in enumerate(draw)
    ]


def log_errors(eta: float, iterations: int) -> list[float]:
    """Half the range of log π_E/π_t, where each iteration of SPPO is judged by the optimal discriminator at T = 1."""
    expert, policy = (torch.tensor(each, dtype=torch.float64) for each in (EXPERT, OPPONENT))
    errors = []
    for _ in range(iterations):
        reward = expert.log() - policy.log()
        errors.append(0.5 * float(reward.max() - reward.min()))
        table = (reward.unsqueeze(1) - reward.unsqueeze(0)).sigmoid()
        policy = PreferenceGame(preference=table, reference=policy).play(SPPO(eta=eta), iterations=1).policies[1]
    return errors


def test_sppo_with_the_optimal_discriminator_ends_at_the_expert_at_the_rate_of_its_linearisation() -> None:
    errors = log_errors(eta=2.0, iterations=16)
    # P = ½ + (D − E D)/4 to first order, so Δ = η/4 (D − E D), and log π_E/π_t shrinks by 1 − η/4.
    assert errors[-1] / errors[-2] == pytest.approx(1 - 2.0 / 4, abs=1e-3)
    assert errors[-1] < 1e-4
    assert log_errors(eta=9.0, iterations=40)[-1] > 0.1


def test_a_head_learns_the_log_ratio_of_expert_and_opponent() -> None:
    learned = RewardPlayer().learn(exact_lessons(40))
    optimum = np.log(EXPERT) - np.log(OPPONENT)
    # The constant c(x) is free; the folds do not quite have the expert's shares, and the ridge pulls a little.
    found = learned.heads - learned.heads.mean(axis=1, keepdims=True)
    assert np.allclose(found, optimum - optimum.mean(), atol=0.06)


def test_no_prompt_is_judged_by_a_head_that_has_seen_its_expert() -> None:
    # More features than pairs: a head that saw a pair knows it by heart, and one that did not knows nothing.
    lessons = chance(60, 300)
    learned = RewardPlayer().learn(lessons)
    assert learned.accuracy == pytest.approx(0.5, abs=0.15)
    assert learned.log_loss == pytest.approx(math.log(2), abs=0.02)
    by_heart = [
        learned.heads.mean(axis=0) @ (lesson.expert - response) > 0  # type: ignore[operator]
        for lesson in lessons
        for response in lesson.generated
    ]
    assert np.mean(by_heart) > 0.9


def test_a_prompt_does_not_move_the_head_that_judges_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # The ridge is chosen by all prompts, so here there is no choice.
    monkeypatch.setattr(reward_player, "_SPREADS", (1.0,))
    lessons = chance(40, 6, lead=2.0)
    learned = RewardPlayer().learn(lessons)
    assert 0.8 < (learned.accuracy or 0.0) < 1.0
    first = lessons[0]
    # Margins that are turned around have the same root mean square.
    generated = 2 * np.asarray(first.expert) - np.asarray(first.generated)
    turned = Lesson(prompt=first.prompt, generated=generated, expert=first.expert, told_apart=first.told_apart)
    again = RewardPlayer().learn([turned, *lessons[1:]])
    fold = learned.fold_of[first.prompt]
    for other in range(5):
        assert np.allclose(again.heads[other], learned.heads[other], rtol=1e-6, atol=1e-9) == (other == fold)


def test_rows_of_the_same_prompt_share_a_fold_and_prompts_without_an_expert_have_none() -> None:
    lessons = chance(10, 4)
    twin = Lesson(prompt="0", generated=np.ones((1, 4)), expert=np.zeros(4), told_apart=(True,))
    without = Lesson(prompt="alone", generated=np.ones((1, 4)))
    learned = RewardPlayer().learn([*lessons, twin, without])
    assert learned.pairs == 21
    assert len(learned.fold_of) == 10
    assert sorted(learned.fold_of.values()) == sorted([*range(5)] * 2)
    assert learned.rewards("alone", np.eye(4)) == pytest.approx(learned.heads.mean(axis=0))
    assert learned.rewards("0", np.eye(4)) == pytest.approx(learned.heads[learned.fold_of["0"]])


def test_the_same_lessons_give_the_same_bits_and_nothing_to_tell_apart_gives_ties() -> None:
    lessons = chance(12, 5)
    first, second = (RewardPlayer().learn(lessons) for _ in range(2))
    assert np.array_equal(first.heads, second.heads)
    same = [
        Lesson(prompt=str(n), generated=np.ones((2, 5)), expert=np.ones(5), told_apart=(False, False)) for n in range(9)
    ]
    learned = RewardPlayer().learn(same)
    assert (learned.pairs, learned.accuracy, learned.log_loss) == (0, None, None)
    assert not learned.rewards("0", np.eye(5)).any()
    # A feature that no pair differs in, such as a constant, has no weight.
    padded = [
        Lesson(
            prompt=each.prompt,
            generated=np.pad(each.generated, ((0, 0), (0, 1)), constant_values=7.0),
            expert=np.pad(each.expert, (0, 1), constant_values=7.0),  # type: ignore[arg-type]
            told_apart=each.told_apart,
        )
        for each in lessons
    ]
    assert not RewardPlayer().learn(padded).heads[:, -1].any()


@pytest.mark.parametrize(
    ("implicit", "explicit", "share"),
    [
        ([1.0, 2.0, 3.0], [0.1, 0.2, 0.3], 1.0),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 0.0),
        ([1.0, 2.0, 3.0], [2.0, 1.0, 3.0], 2 / 3),
        ([1.0, 1.0, 3.0], [1.0, 2.0, 3.0], 2.5 / 3),
        ([1.0, 1.0, 3.0], [1.0, 1.0, 3.0], 1.0),
    ],
)
def test_agreement_is_the_share_of_pairs_that_are_ordered_alike(
    implicit: list[float], explicit: list[float], share: float
) -> None:
    estimate = reward_agreement([implicit, [5.0, 5.0]], [explicit, [2.0, 2.0]])["rewards/agreement"]
    assert estimate.mean == pytest.approx(share)
    assert estimate.n == 1
    assert reward_agreement([[1.0, 1.0]], [[0.0, 0.0]]) == {}
