"""The questions that a judge is asked, its verdicts, and its settings."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from sparring.data import Clock
from sparring.examples import EncodedExample
from sparring.judges.reward_player import RewardPlayer

_ROUNDING = 1e-6  # of numbers that were float32

Table = tuple[tuple[float | None, ...], ...]
"""`[n][n]` P_ij = P(y_i ≻ y_j | x); None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt and the responses to compare.

    Attributes:
        prompt: The prompt as plain text; of a chat, its last user turn.
        messages: The prompt as chat turns, or None for a plain prompt.
        responses: The responses to compare: the generated ones, after the expert's if it plays too.
        reference_answer: The right answer, for judges that compare with it: the ground truth, or the expert's response.
        expert_plays: Whether `responses[0]` is the expert's.
        log_ratios: log π_t − log π_ref of each response, nats, for a judge that reads them: π_t is the policy that the
            iteration starts from, π_ref the base model.
        lengths: The number of tokens of each response, for such a judge.
        rewards: The learnt reward of each response, for a judge with a reward player.
    """

    prompt: str
    messages: tuple[dict[str, str], ...] | None = None
    responses: tuple[str, ...]
    reference_answer: str | None = None
    expert_plays: bool = False
    log_ratios: tuple[float, ...] | None = None
    lengths: tuple[int, ...] | None = None
    rewards: tuple[float, ...] | None = None

    @classmethod
    def about(cls, example: EncodedExample, generated: Sequence[str], *, expert_plays: bool = False) -> Self:
        """The question about an example's generated responses, after the expert's if it plays too."""
        plays = (example.response,) if expert_plays and example.response is not None else ()
        return cls(
            prompt=example.prompt,
            messages=example.messages,
            responses=(*plays, *generated),
            reference_answer=example.reference_answer,
            expert_plays=expert_plays,
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The preferences among the n responses of a question.

    A pair without a verdict is None, and is counted; no value is put in its place.

    Attributes:
        pairwise: `[n][n]` P_ij = P(y_i ≻ y_j | x), with P_ij + P_ji = 1 and ½ on the diagonal; None where unknown.
        ties: Pairs that the judge found equal.
        abstentions: Pairs that the judge would or could not compare.
        unparsable: Answers of the judge that could not be read.
        prompt_tokens: Tokens of the requests, where an endpoint counts them.
        completion_tokens: Tokens of the judge's answers, where an endpoint counts them.
        cost: The price of these tokens, whether they were paid for now or earlier.

    Raises:
        ValueError: The table is not square, or its entries are no probabilities.
    """

    pairwise: Table
    ties: int = 0
    abstentions: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.pairwise)
        if any(len(row) != n for row in self.pairwise):
            raise ValueError(f"pairwise must be [n][n], got rows of {[len(row) for row in self.pairwise]} numbers")
        for i, j in product(range(n), repeat=2):
            p, reverse = self.pairwise[i][j], self.pairwise[j][i]
            undecided = p is None and reverse is None and i != j
            if not undecided and not _is_probability(p, reverse):
                at = f"pairwise[{i}][{j}] is {p!r} and pairwise[{j}][{i}] {reverse!r}"
                raise ValueError(f"{at}: each must be a number in [0, 1], both together 1; or both None")

    def win_rates(self, *, include_self: bool = False, expert_plays: bool = False) -> tuple[float | None, ...]:
        """The win rates `[n]` P(y_i ≻ π_o): the mean of P_ij over the *other* generated responses j, draws of π_o.

        A single generated response (K = 1, beside the expert) has no other to be compared with, so its P is ½.

        Args:
            include_self: Whether to average over y_i itself too, as a tie. The published code of SPPO does, which
                multiplies P − ½ by (K − 1)/K, as a smaller η would.
            expert_plays: Whether response 0 is the expert's, which is judged but is no draw of π_o.

        Returns:
            A win rate for each response; None where none of its comparisons is known.
        """
        rates: list[float | None] = []
        for i, row in enumerate(self.pairwise):
            draws = range(int(expert_plays), len(row))
            others = [j for j in draws if j != i]
            known = [p for j in others if (p := row[j]) is not None]
            if not others or (include_self and i in draws and known):
                known.append(0.5)
            rates.append(math.fsum(known) / len(known) if known else None)
        return tuple(rates)


def _is_probability(p: Any, reverse: Any) -> bool:
    """Whether P_ij is a probability and P_ji = 1 − P_ij."""
    # NaN fails every comparison.
    return (
        isinstance(p, Real)
        and isinstance(reverse, Real)
        and 0.0 <= float(p) <= 1.0
        and abs(float(p) + float(reverse) - 1.0) <= _ROUNDING
    )


COUNTS = tuple(field.name for field in fields(Verdict) if field.name != "pairwise")
"""The fields of `Verdict` that are counts: of undecided pairs, and of costs."""


def totals(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The counts of some verdicts, summed, by the names of `COUNTS`."""
    return {name: sum(getattr(verdict, name) for verdict in verdicts) for name in COUNTS}


class Judge(Protocol):
    """Compares responses."""

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question, in order."""
        ...


class JudgeSettings(Protocol):
    """A judge's settings: a frozen dataclass, cheap to make, that rejects nonsense and states the judge's facts.

    A judge derives from this class and overrides the defaults that do not hold for it. `needs_reference_answer`
    and `may_cost_money` have no default.

    Attributes:
        needs_reference_answer: Whether it compares with a ground truth or, without one, with the expert's response. If
            so, every prompt must have one of the two.
        may_cost_money: Whether its verdicts may be billed. If so, it judges held-out responses only when asked to, and
            is not tried before a run.
        ranks_policies: Whether it can prefer one policy's response to another's.
        expert_must_play: Whether it decides nothing unless the expert's response is compared too.
        reads_text: Whether a verdict depends on the text of the responses.
        reads_log_ratios: Whether it needs the policy's log ratio to the base model of every response.
        reached_by: The settings of how it is reached. They decide no verdict, so a resumed run may change them.
        private: Further settings that a model card leaves out, since they may hold a path.
    """

    needs_reference_answer: ClassVar[bool]
    may_cost_money: ClassVar[bool]
    ranks_policies: ClassVar[bool] = True
    expert_must_play: ClassVar[bool] = False
    reads_text: ClassVar[bool] = True
    reads_log_ratios: ClassVar[bool] = False
    reached_by: ClassVar[tuple[str, ...]] = ()
    private: ClassVar[tuple[str, ...]] = ()

    @property
    def is_instant(self) -> bool:
        """Whether its verdicts take next to no time beside the generation of the responses."""
        return not self.reads_text

    @property
    def right_or_wrong(self) -> bool:
        """Whether it finds each response just right or wrong, so that two right ones tie, and two wrong ones."""
        return False

    def check(self) -> None:
        """Checks that everything it needs is on this machine, before any model is loaded.

        Raises:
            InputError: Something is missing.
        """
        return

    def check_answers(self, answers: Sequence[str]) -> None:
        """Checks the reference answers that it would compare with.

        Args:
            answers: One or more reference answers.

        Raises:
            InputError: It can use none of them.
        """
        return

    def reward_player(self) -> RewardPlayer | None:
        """Its reward player, which learns in every iteration to tell the experts' responses from the generated ones.

        A judge with a reward player judges by the rewards in `Question`, and needs experts only on as many prompts as
        there are folds. None for other judges.
        """
        return None

    def needs_consent(self) -> Iterator[str]:
        """The actions that a person must consent to before resuming another's run, each as the end of "this run …"."""
        yield from ()

    def imports(self) -> Iterator[str]:
        """The import paths of the Python code that it runs, besides its own class; `check` has imported them."""
        yield from ()

    def on_this_machine(self) -> Iterator[str]:
        """Whatever on this machine decides its verdicts besides its settings: a template's text, a model's digest."""
        yield from ()

    def in_run(self, options: Mapping[str, Any], clock: Clock | None) -> Self:
        """The settings completed by those of a run that the judge's own chat template reads: variables and the time.

        Args:
            options: `data.template_options`.
            clock: The run's clock.
        """
        del options, clock
        return self

    @abstractmethod
    def start(self, cache: Path) -> Judge:
        """The judge, ready to work: with its model, endpoint or key.

        Args:
            cache: A folder for the replies of an endpoint, so that none is paid for twice.

        Raises:
            InputError: A model, a package, a key or a setting is missing or wrong.
        """
        ...


def verdict_of_pairs(n: int, better: Mapping[tuple[int, int], float | None]) -> Verdict:
    """The verdict from P_ij for i < j; a pair that is None counts as an abstention."""
    rows: list[list[float | None]] = [[0.5] * n for _ in range(n)]
    for (i, j), p in better.items():
        rows[i][j], rows[j][i] = p, None if p is None else 1.0 - p
    return Verdict(
        pairwise=tuple(tuple(row) for row in rows),
        ties=sum(p == 0.5 for p in better.values()),
        abstentions=sum(p is None for p in better.values()),
    )


def pairs(n: int) -> list[tuple[int, int]]:
    """Every pair i < j of n responses."""
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def verdict_of_scores(scores: Sequence[float | None], temperature: float) -> Verdict:
    """The verdict from scores by Bradley–Terry: P_ij = σ((s_i − s_j)/T), or at T = 0 its limit: the higher score wins.

    Equal scores tie. A score that is None or NaN makes every pair of its response an abstention.
    """
    better: dict[tuple[int, int], float | None] = {}
    for i, j in pairs(len(scores)):
        first, second = scores[i], scores[j]
        known = first is not None and second is not None and not math.isnan(first) and not math.isnan(second)
        better[i, j] = _bradley_terry(first, second, temperature) if known else None  # type: ignore[arg-type]
    return verdict_of_pairs(len(scores), better)


def _bradley_terry(first: float, second: float, temperature: float) -> float:
    if first == second:
        return 0.5
    if temperature == 0.0:
        return float(first > second)
    # tanh keeps the exponent from overflowing.
    return 0.5 * (1.0 + math.tanh(0.5 * (first - second) / temperature))
