"""The judge by majority vote: the answer that most responses agree on wins, without expert or labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sparring.judges.protocol import Judge, Question, Verdict, pairs, verdict_of_pairs
from sparring.judges.rules import Rule, RuleSettings, apply


@dataclass(frozen=True, kw_only=True)
class Consensus(RuleSettings):
    """Prefers the response whose final answer more of the K responses share: P_ij = ½ + (V_i − V_j)/(2K).

    V_i counts the responses, i itself included, that end in the answer of response i. Equal counts tie. A response
    without an answer has no vote and gets none: V = 0, so it loses to every response that has an answer.

    2P_ij − 1 = (V_i − V_j)/K is the weight that ScPO gives to the loss of its pair: the response with the most votes
    and the one with the fewest. So the clearer the vote, the more a preference counts: `sppo` and `nash-md` regress on
    it, and with `pairs: all` each pair of `dpo` starts with exactly ScPO's gradient; `best-worst` takes ScPO's pair,
    without its weight. ScPO also leaves out prompts whose winner has few votes, and adds the winner's likelihood to the
    loss; neither is done here (the latter is what the regularizer `sft` does with an expert's response).

    Votes can only sharpen what the policy believes already: where most samples share a wrong answer, it wins.
    Over K draws of which a share p_a ends in the answer a, the expected win rate of a response that ends in a is
    ½ + (1/2 − 1/K)(p_a − Σ_b p_b²): above ½ for answers likelier than the mean draw's (derived here).

    Source: ScPO, arXiv 2411.04109; majority votes as rewards: TTRL, arXiv 2504.16084.

    Degenerate case: of two responses neither has more votes, unless it alone has an answer. So it cannot compare two
    policies, and is of use from K = 3 on.

    Attributes:
        rule: The rule by which two responses have the same answer: a name in `VERIFIERS`, such as `final-number`;
            `regex`; or `package.module:function`. They have it if the rule finds one right with the other as the
            reference answer; a response that is blank, or not right by itself, has no answer.
        pattern: For `regex`: the pattern to search for; its first group, or the whole match, is the answer.

    Raises:
        ValueError: The rule is unknown, or `pattern` is missing, given without `regex`, or no regular expression.
    """

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = False
    ranks_policies: ClassVar[bool] = False

    def start(self, cache: Path) -> Judge:
        """The judge, with the rule imported."""
        return _Counting(self.rule, self.imported())


@dataclass(frozen=True)
class _Counting:
    """The judge at work.

    Attributes:
        name: The rule's name.
        rule: The rule.
    """

    name: str
    rule: Rule

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        return [self._verdict(question.responses) for question in questions]

    def _verdict(self, responses: Sequence[str]) -> Verdict:
        votes, k = self._votes(responses), len(responses)
        return verdict_of_pairs(k, {(i, j): 0.5 + 0.5 * (votes[i] - votes[j]) / k for i, j in pairs(k)})

    def _votes(self, responses: Sequence[str]) -> list[int]:
        """The votes V `[K]`; a response is compared with the first response of each answer that was found so far."""
        groups: list[list[int]] = []
        for i, response in enumerate(responses):
            if not response.strip() or not self._agree(response, response):
                continue
            own = next((group for group in groups if self._agree(response, responses[group[0]])), None)
            if own is None:
                groups.append([i])
            else:
                own.append(i)
        size = {i: len(group) for group in groups for i in group}
        return [size.get(i, 0) for i in range(len(responses))]

    def _agree(self, one: str, other: str) -> bool:
        return bool(apply(self.name, self.rule, one, other))
