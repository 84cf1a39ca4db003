"""What a judge is asked, and what it answers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from sparring.data import Clock

Table = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt and the responses to compare.

    Attributes:
        prompt: The prompt as plain text; of a chat, its last user turn.
        messages: The prompt as chat turns, or None for a plain prompt.
        responses: What is compared: the generated responses, after the expert's own where that plays too.
        expert: The expert's response, which some judges compare with.
        expert_plays: Whether `responses[0]` is the expert's.
    """

    prompt: str
    messages: tuple[dict[str, str], ...] | None = None
    responses: tuple[str, ...]
    expert: str | None = None
    expert_plays: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Who beats whom, among the n responses of a question.

    What a judge did not say is None and is counted; nothing is put in its place.

    Attributes:
        pairwise: `[n][n]` P_ij = P(y_i ≻ y_j | x), with P_ij + P_ji = 1 and ½ on the diagonal; None where unknown.
        ties: Pairs that the judge found equal.
        abstentions: Pairs that the judge would or could not compare.
        unparsable: Answers of the judge that could not be read.
        prompt_tokens: Tokens that its answers cost, in and
        completion_tokens: out, where an endpoint counts them.
        cost: What those cost, at the prices of the settings, whenever they were paid for.
    """

    pairwise: Table
    ties: int = 0
    abstentions: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def win_rates(self, *, include_self: bool = False, expert_plays: bool = False) -> tuple[float | None, ...]:
        """`[n]` P(y_i ≻ π_o): the mean of P_ij over the *other* generated responses j, which are draws of π_o.

        The sole draw (K = 1, beside the expert) has no other: it counts as one that it ties with, P = ½.

        Args:
            include_self: Average over y_i itself too, as a draw that it ties with. The published code of SPPO does:
                that shrinks P − ½ by (K − 1)/K, to the same as a smaller η.
            expert_plays: Response 0 is the expert's: it is judged, but it is no draw of π_o.

        Returns:
            None where no comparison is known.
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


COUNTS = tuple(field.name for field in fields(Verdict) if field.name != "pairwise")
"""What a verdict counts: what the judge left open, and what it cost."""


class Judge(Protocol):
    """Compares responses."""

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict a question, in order."""
        ...


class JudgeSettings(Protocol):
    """A judge's settings: a frozen dataclass, cheap to make, which rejects nonsense and says what is to know of it.

    A judge names this class among its bases, and so takes over what it does not say itself. `needs_expert` and
    `may_cost_money` have no default: a judge says both.

    Attributes:
        needs_expert: Whether it compares with the expert's response, which every prompt must have then.
        may_cost_money: Whether its verdicts may be billed, so that it judges more than the training only when asked to.
        ranks_policies: Whether it ever prefers one policy's response to another's.
        expert_must_play: Whether it has nothing to say unless the expert's response is among those that are compared.
        reads_text: Whether a verdict depends on what the responses say.
        reached_by: Settings that say how it is reached. They decide no verdict, so a run may go on with others.
        private: Further settings that a model card does not tell: they may hold a path.
    """

    needs_expert: ClassVar[bool]
    may_cost_money: ClassVar[bool]
    ranks_policies: ClassVar[bool] = True
    expert_must_play: ClassVar[bool] = False
    reads_text: ClassVar[bool] = True
    reached_by: ClassVar[tuple[str, ...]] = ()
    private: ClassVar[tuple[str, ...]] = ()

    def check(self) -> None:
        """Looks for what it needs on this machine, before any model is loaded.

        Raises:
            InputError: Something is missing.
        """
        return

    def check_experts(self, experts: Sequence[str]) -> None:
        """Looks at the expert responses that it would compare with.

        Args:
            experts: One or more.

        Raises:
            InputError: None of them tells it anything.
        """
        return

    def needs_consent(self) -> Iterator[str]:
        """What a person must consent to where the configuration is somebody else's, as ends of "this run …"."""
        yield from ()

    def imports(self) -> Iterator[str]:
        """The import paths of Python code, beside its own class, that it runs; `check` has imported them."""
        yield from ()

    def on_this_machine(self) -> Iterator[str]:
        """What decides its verdicts beside the settings: the text of a template, the digest of a model's folder."""
        yield from ()

    def in_run(self, options: Mapping[str, Any], clock: Clock | None) -> Self:
        """The settings as a run has them, for a judge whose own chat template reads a variable or writes a date.

        Args:
            options: `data.template_options`.
            clock: The run's.
        """
        del options, clock
        return self

    @abstractmethod
    def start(self, cache: Path) -> Judge:
        """The judge, with all that it needs: model, endpoint, key.

        Args:
            cache: A folder for what is worth keeping: replies that were paid for.

        Raises:
            InputError: Something that it needs is missing or wrong.
        """
        ...


def verdict_of_pairs(n: int, better: Mapping[tuple[int, int], float | None]) -> Verdict:
    """The verdict from P_ij for i < j; a pair that is None is an abstention."""
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
    """Bradley–Terry: P_ij = σ((s_i − s_j)/T); at T = 0 its limit, where the higher score wins and equal ones tie.

    A score that is None or not a number abstains from every pair.
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
