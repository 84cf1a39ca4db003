"""Protocols of objectives, regularizers and opponents, and what they exchange; for shapes see `sparring.log_ratios`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from sparring.log_ratios import LogRatios


@dataclass(frozen=True, kw_only=True)
class ObjectiveOutput:
    """The result of an objective.

    Attributes:
        loss: `[B]`, differentiable, not reduced over prompts.
        metrics: Detached tensors by name, each `[B]`, to be averaged over prompts as the loss is.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def per_prompt(output: object, prompts: int) -> Tensor:
    """The loss `[B]` of an objective's output.

    Args:
        output: What the objective returned.
        prompts: B.

    Raises:
        TypeError: It is no `ObjectiveOutput`.
        ValueError: Its loss is not one number a prompt.
    """
    if not isinstance(output, ObjectiveOutput):
        raise TypeError(f"an objective returns an ObjectiveOutput, this one returned {type(output).__name__}")
    if output.loss.shape != (prompts,):
        shape = list(output.loss.shape)
        raise ValueError(f"a loss is a tensor [B], one number a prompt; for B = {prompts} this one has shape {shape}")
    return output.loss


@dataclass(frozen=True, kw_only=True)
class StabilityNumber:
    """A number that tells how an objective's exact self-play iteration behaves near its fixed point.

    There the best response is π_{t+1} ∝ π_t (π_E/π_t)^e with the step exponent `e`, so each iteration multiplies the
    error in log π by |1 − e|: it converges for 0 < e < 2, in one step (to first order) at e = 1.

    Attributes:
        symbol: The ratio of settings that decides, as the documentation writes it, e.g. "R/β".
        value: Its value.
        step_exponent: `e`; infinite where the step does not shrink with the error.
        cure: The change of settings against overshooting, e.g. "raise β".
    """

    symbol: str
    value: float
    step_exponent: float
    cure: str

    @property
    def contraction_factor(self) -> float:
        """|1 − e|, the factor of the error in each iteration."""
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
        if self.step_exponent < 0.0:
            return f"moves away: near the expert each exact iteration goes the other way; {self.cure}"
        return f"overshoots: the exact iteration does not settle near the expert; {self.cure}"

    def __str__(self) -> str:
        """The number and its verdict, as people read them."""
        return f"{self.symbol} = {self.value:g}; {self.verdict}"

    def to_json(self) -> dict[str, Any]:
        """Its attributes, factor and verdict, for programs."""
        return asdict(self) | {"contraction_factor": self.contraction_factor, "verdict": self.verdict}


class Objective(Protocol):
    """A loss on log ratios: pure, so the same object trains a table of logits and a language model.

    An objective derives from this class and overrides the defaults that do not hold for it.

    Attributes:
        compares_any_pair: Whether it learns from any two responses of which one is preferred, whoever wrote them; if
            not, the responses must be draws of the opponent.
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
        """The stability number of its settings, if the objective has a formula for it; None by default.

        None says nothing about the iteration: `sparring.games.stability` then differentiates the loss, and returns None
        only where no exact iteration ends at the expert.
        """
        return None

    @property
    def couples_prompts(self) -> bool:
        """Whether a prompt's loss depends on the other prompts of its batch, which then cannot be split into parts."""
        return False

    def samples_read(self, judged: LogRatios) -> Tensor | None:
        """The generated responses that its loss and metrics depend on, given the preferences among them.

        The others have no gradient, so training leaves them out: their log-probs are zero in its input.

        Args:
            judged: The fields of `PREFERENCE_FIELDS` that it requires, and no others.

        Returns:
            `[B, K]` booleans; None, the default, for all of them.
        """
        return None

    @property
    def reach(self) -> float | None:
        """A bound on how far one iteration moves the log ratio of a whole response, nats; None if there is none."""
        return None


@runtime_checkable
class Variational(Protocol):
    """An objective whose `divergence_estimate` is a lower bound of a divergence between expert and opponent."""

    def optimum(self, density_ratios: LogRatios) -> LogRatios:
        """The log ratios at which the bound is reached.

        There the mean of `divergence_estimate`, over draws of the expert and the opponent, is the divergence itself.

        Args:
            density_ratios: The objective's input, but with log π_E(y|x) − log π_o(y|x), nats, as `expert` and
                `generated`; so the expert's probabilities must be known.

        Raises:
            ValueError: Its settings bound no divergence.
        """
        ...


class Regularizer(Protocol):
    """A weighted penalty that is added to an objective's loss, on the same log ratios.

    A regularizer derives from this class and overrides the defaults that do not hold for it.

    Attributes:
        name: The name in its metric, `regularizer/<name>`.
        compares_any_pair: Whether it learns from preferred responses, whoever wrote them; if not, the generated
            responses that it reads must be draws of the opponent.
    """

    name: ClassVar[str]
    compares_any_pair: ClassVar[bool] = False

    @property
    def weighs_draws(self) -> bool:
        """Whether it weighs the generated responses by e^Δ, so that they must be draws of the π_o in Δ."""
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
    """The policies that an opponent is built from, by number; iteration t starts from policy t.

    Attributes:
        generators: Policies that generate; the prompts are shared out among them.
        scorers: Policies under which every response, expert and generated, is scored.
        base_share: α in [0, 1). Above zero each generator samples every token from its geometric mixture with the base
            model, ∝ π_t^{1−α} π_ref^α over the vocabulary, rather than from π_t.
        team: The members of a team, the newest first; empty where the opponent is not a team. Each member is the
            opponent of the responses that it generated: the newest of new ones, the others of those that they generated
            in their own iterations.
    """

    generators: tuple[int, ...]
    scorers: tuple[int, ...]
    base_share: float = 0.0
    team: tuple[int, ...] = ()


class Opponent(Protocol):
    """The other player: frozen for an iteration, built from earlier policies. An opponent derives from this class."""

    @abstractmethod
    def spec(self, iteration: int) -> OpponentSpec:
        """The policies that iteration `iteration` needs."""
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
