"""The judge that learns in every iteration: an explicit reward player ranks the responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparring.judges.protocol import Judge, JudgeSettings, Question, Verdict, verdict_of_scores
from sparring.judges.reward_player import RewardPlayer
from sparring.registry import require_positive


@dataclass(frozen=True, kw_only=True)
class Discriminator(JudgeSettings):
    """Prefers the response that looks more like the expert's: P_ij = σ((D_i − D_j)/T).

    D is the reward of the `RewardPlayer`, trained after every generation to tell the expert's responses from that
    iteration's generated ones, on features of the policy that the iteration starts from. Its optimum is
    D = log π_E/π_o, up to a constant for each prompt: P_ij at T = 1 is then the probability that of y_i and y_j the
    former is the expert's and the latter generated, rather than the other way round. With `sppo` or RSPO this is
    adversarial imitation: the reward player and the policy take turns, and at π_o = π_E every pair ties.

    It learns from the prompts that have an expert's response, and judges all. No prompt is judged by a head that has
    seen its expert's response.

    Source: GAD, arXiv 2511.10643, where D is a copy of the policy with a head, and the policy learns by GRPO.

    Attributes:
        temperature: T. At 1, P is the probability that the reward player was trained to give.
        folds: The number of parts that the prompts with an expert's response are dealt into; each part is judged by a
            head that was trained on the others. There must be at least as many such prompts.

    Raises:
        ValueError: T is not a finite positive number, or there are fewer than 2 folds.
    """

    temperature: float = 1.0
    folds: int = 5

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = False
    ranks_policies: ClassVar[bool] = False
    reads_text: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature, "it divides differences of rewards")
        if not isinstance(self.folds, int) or self.folds < 2:
            why = "each part of the prompts is judged by a head that was trained on the others"
            raise ValueError(f"folds must be a whole number ≥ 2, got {self.folds!r}: {why}")

    def reward_player(self) -> RewardPlayer:
        """The player whose rewards it reads."""
        return RewardPlayer(folds=self.folds)

    def start(self, cache: Path) -> Judge:
        """The judge itself, which needs no more than the rewards in each question."""
        return self

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question.

        Raises:
            ValueError: A question comes without rewards.
        """
        return [self._verdict(question) for question in questions]

    def _verdict(self, question: Question) -> Verdict:
        if question.rewards is None:
            raise ValueError("the judge 'discriminator' needs the reward of every response")
        return verdict_of_scores(question.rewards, self.temperature)
