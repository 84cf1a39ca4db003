"""What flows between the layers, and the protocols of the players; shapes are those of `sparring.log_ratios`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from sparring.log_ratios import LogRatios


@dataclass(frozen=True, kw_only=True)
class ObjectiveOutput:
    """What an objective returns.

    Attributes:
        loss: `[B]`, differentiable, not reduced over prompts.
        metrics: Detached tensors by name, each `[B]`, to be averaged over prompts as the loss is.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StabilityNumber:
    """How an objective's exact self-play iteration behaves near its fixed point.

    There the best response is π_{t+1} ∝ π_t (π_E/π_t)^e with the step exponent `e`, so the error in log π shrinks
    by |1 − e| an iteration: it converges for 0 < e < 2, in one step (to first order) at e = 1.

    Attributes:
        symbol: The ratio of settings that decides, as the documentation writes it, e.g. "R/β".
        value: Its value.
        step_exponent: `e`; infinite where the step does not shrink with the error.
        cure: What to change where the iteration overshoots, e.g. "raise β".
    """

    symbol: str
    value: float
    step_exponent: float
    cure: str

    @property
    def contraction_factor(self) -> float:
        """|1 − e|: the error's factor an iteration."""
        return abs(1.0 - self.step_exponent)

    @property
    def verdict(self) -> str:
        """The behaviour in plain words."""
        factor = self.contraction_factor
        if factor < 1e-9:
            return "converges: near the expert the exact iteration removes the error at once, to first order"
        if factor < 1.0 - 1e-9:
            return f"converges: near the expert the exact iteration multiplies the error by {factor:.2g}"
        if factor < 1.0 + 1e-9:
            return "at the edge: the exact iteration neither shrinks nor grows the error"
        return f"overshoots: the exact iteration does not settle near the expert; {self.cure}"

    def __str__(self) -> str:
        """The number and its verdict, as people read them."""
        return f"{self.symbol} = {self.value:g}; {self.verdict}"

    def to_json(self) -> dict[str, Any]:
        """Its attributes, factor and verdict, for programs."""
        return asdict(self) | {"contraction_factor": self.contraction_factor, "verdict": self.verdict}


class Objective(Protocol):
    """A loss on log ratios: pure, so the same object trains a table of logits and a language model.

    An objective derives from this class and says what is not so by default.

    Attributes:
        compares_any_pair: Whether it learns from any two responses of which one is preferred, whoever wrote them; else
            the responses must be draws of the opponent.
    """

    compares_any_pair: ClassVar[bool] = False

    @property
    @abstractmethod
    def requires(self) -> frozenset[str]:
        """The fields of `LogRatios` that it reads; a class attribute where no setting changes them."""
        ...

    @abstractmethod
    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """The loss per prompt and its metrics."""
        ...

    @property
    def stability(self) -> StabilityNumber | None:
        """The stability number of its settings, by a formula of its own; None, the default, where it gives none.

        None says nothing of the iteration: `sparring.games.stability` then differentiates the loss, and returns None in
        its turn where no exact iteration ends at the expert.
        """
        return None

    @property
    def couples_prompts(self) -> bool:
        """Whether a prompt's loss depends on the other prompts of its batch, so that parts of it have another mean."""
        return False

    def samples_read(self, judged: LogRatios) -> Tensor | None:
        """Which generated responses its loss and metrics depend on, told by what a judge said of them.

        The others have no gradient, so training does not read them: their log-probs are zero in what it is called with.

        Args:
            judged: The fields of `PREFERENCE_FIELDS` that it requires, and no other.

        Returns:
            `[B, K]` booleans; None, the default, is all of them.
        """
        return None

    @property
    def reach(self) -> float | None:
        """How far one iteration moves the log ratio of a whole response, nats; None where nothing bounds it."""
        return None


@runtime_checkable
class Variational(Protocol):
    """An objective whose `divergence_estimate` is a lower bound of a divergence between expert and opponent."""

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """The log ratios at which the bound is reached.

        Over draws of the expert and the opponent, the mean of `divergence_estimate` there is the divergence itself.

        Args:
            density_ratios: As the objective takes them, but with log π_E(y|x) − log π_o(y|x), nats, as `expert` and
                `generated`: only where the expert's probabilities are known can they be had.

        Raises:
            ValueError: Its settings bound no divergence.
        """
        ...


class Regularizer(Protocol):
    """A weighted penalty that is added to an objective's loss, on the same log ratios.

    A regularizer derives from this class and says what is not so by default.

    Attributes:
        name: What its metric is called by.
        compares_any_pair: Whether it learns from what is preferred, whoever wrote it; else the generated responses that
            it reads must be draws of the opponent.
    """

    name: ClassVar[str]
    compares_any_pair: ClassVar[bool] = False

    @property
    def weighs_draws(self) -> bool:
        """Whether it weighs the generated responses by e^Δ, for which they must be draws of the π_o in Δ."""
        return False

    @property
    @abstractmethod
    def requires(self) -> frozenset[str]:
        """The fields of `LogRatios` that it reads; a class attribute where no setting changes them."""
        ...

    @abstractmethod
    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        """Weight × value per prompt as the loss; the metric `regularizer/<name>` is the value without the weight."""
        ...


@dataclass(frozen=True, kw_only=True)
class OpponentSpec:
    """Which policies an opponent is built from, by number: policy t is what iteration t starts from.

    Attributes:
        generators: Policies that generate; the prompts are shared out among them.
        scorers: Policies under which every response, expert and generated, is scored.
        base_share: α in [0, 1). Above zero each generator samples every token from its geometric mixture with the base
            model, ∝ π_t^{1−α} π_ref^α over the vocabulary, rather than from π_t.
        team: Policies that play beside each other, the newest first, which generates; the others with what they
            generated in their own iterations. Each is an opponent of its own for what it generated. Empty where the
            opponent is one.
    """

    generators: tuple[int, ...]
    scorers: tuple[int, ...]
    base_share: float = 0.0
    team: tuple[int, ...] = ()


class Opponent(Protocol):
    """The other player: frozen for an iteration, built from earlier policies. An opponent derives from this class."""

    @abstractmethod
    def spec(self, iteration: int) -> OpponentSpec:
        """What iteration `iteration` needs."""
        ...

    @abstractmethod
    def combine(self, iteration: int, log_probs: Mapping[int, Tensor]) -> Tensor:
        """Log π_o of the same responses, any shape, from their log-probs under each scorer, nats."""
        ...


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One generated response, token ids exactly as sampled.

    `response_ids` ends with an end-of-response token exactly when `finish_reason` is "stop"; it is "length" when
    the token limit cut the response.
    """

    index: int
    sample: int
    response_ids: list[int]
    finish_reason: str
    text: str
    generator: str
    seed: int
