"""The judge for which the expert always wins: imitation as a preference game."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparring.judges.protocol import Judge, JudgeSettings, Question, Verdict, pairs, verdict_of_pairs


@dataclass(frozen=True, kw_only=True)
class Expert(JudgeSettings):
    """Prefers the expert's response to every generated one, P = 1; generated ones tie.

    With `dpo` on best and worst this *is* `spin` with the logistic link: the expert is chosen, and the generated
    responses share the place of the rejected one. The expert must play.

    Source: SPIN as a preference game; derived here.
    """

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = False
    ranks_policies: ClassVar[bool] = False
    expert_must_play: ClassVar[bool] = True
    reads_text: ClassVar[bool] = False

    def start(self, cache: Path) -> Judge:
        """The judge itself: it needs nothing."""
        return self

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question.

        Raises:
            ValueError: The expert does not play.
        """
        if not all(question.expert_plays for question in questions):
            raise ValueError("the judge 'expert' needs the expert's response among those that are compared")
        return [self._verdict(len(question.responses)) for question in questions]

    def _verdict(self, n: int) -> Verdict:
        return verdict_of_pairs(n, {(i, j): 1.0 if i == 0 else 0.5 for i, j in pairs(n)})
