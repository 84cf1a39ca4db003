"""The policy as its own judge: the implicit reward that it has learnt so far ranks its responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparring.judges.protocol import Judge, JudgeSettings, Question, Verdict, verdict_of_scores
from sparring.registry import require_positive


@dataclass(frozen=True, kw_only=True)
class Implicit(JudgeSettings):
    """Prefers the response of the higher implicit reward: P_ij = σ(r_i − r_j), r = β(log π_t − log π_ref) − α|y|.

    π_t is the policy that the iteration starts from, π_ref the base model, and |y| counts tokens. The reward is what
    π_t has learnt so far (from preferences, self-play or a warm-up), and nothing else. After `dpo` against the base
    model, to its minimum and with the same β, P is the table of preferences that it was trained on.

    Source: DICE, arXiv 2406.09760, for r and its penalty on length. There α is chosen for every set of preference
    pairs, so that chosen and rejected responses are equally long on average; here it is a setting. DICE also mixes in
    preferences of the first round, which is not done here.

    The judge knows nothing that the policy does not, so errors of the reward are amplified too. If π_t is the base
    model itself, every pair ties, so a warm-up or an iteration must come first.

    Attributes:
        beta: β, the scale of the reward, nats of preference for a nat of log ratio. The default is that of `dpo`.
        length_penalty: α ≥ 0, the penalty on each token, nats. With the default 0, r is a plain sum over tokens, so
            longer responses may have larger rewards of either sign.

    Raises:
        ValueError: β is not a finite positive number, or α is negative or not finite.
    """

    beta: float = 0.1
    length_penalty: float = 0.0

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = False
    ranks_policies: ClassVar[bool] = False
    reads_text: ClassVar[bool] = False
    reads_log_ratios: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive("beta", self.beta, "β scales the implicit reward; at β ≤ 0 no response is preferred")
        if self.length_penalty != 0:
            require_positive("length_penalty", self.length_penalty, "a token costs so much; 0 leaves length alone")

    def start(self, cache: Path) -> Judge:
        """The judge itself, which needs no more than the log ratios in each question."""
        return self

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question.

        Raises:
            ValueError: A question comes without log ratios and lengths.
        """
        return [verdict_of_scores(self._rewards(question), 1.0) for question in questions]

    def _rewards(self, question: Question) -> list[float]:
        if question.log_ratios is None or question.lengths is None:
            raise ValueError("the judge 'implicit' needs the log ratio and the length of every response")
        return [
            self.beta * ratio - self.length_penalty * length
            for ratio, length in zip(question.log_ratios, question.lengths, strict=True)
        ]
