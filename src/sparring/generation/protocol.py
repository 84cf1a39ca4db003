"""What every generator does and is built from, and what an engine does that some of them sample through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from sparring.examples import EncodedExample
from sparring.generation.config import GenerationConfig
from sparring.generation.weights import Weights
from sparring.types import Sample

if TYPE_CHECKING:
    from sparring.generation.mixture import Mixture


@runtime_checkable
class Generator(Protocol):
    """Samples responses to prompts, batch by batch."""

    def plan(self, prompts: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
        """The batches, in the order in which they are sampled: a pure function of the prompts and settings."""
        ...

    def sample(self, batch: Sequence[EncodedExample], *, seed: int) -> list[Sample]:
        """K samples for each prompt of one batch, in order of prompt, then sample; `seed` decides them all."""
        ...


@runtime_checkable
class SamplesTogether(Protocol):
    """A generator that reads a prompt once for all that is drawn from it, in however many ways."""

    def sample_together(
        self, batch: Sequence[EncodedExample], asked: Sequence[tuple[GenerationConfig, int]]
    ) -> list[list[Sample]]:
        """For each of several settings, with a seed, what `Generator.sample` returns; of equal logits, the same."""
        ...


@runtime_checkable
class ChecksItself(Protocol):
    """A generator that proves itself at the start of a run."""

    def check(self) -> None:
        """Called before anything is played: raises InputError where samples would not be draws of what is scored."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineModel:
    """What an engine must know of the model before it plays.

    Attributes:
        base: Folder of the base model.
        lora_rank: Rank of the adapters that will be played, or None where policies are whole models.
        dtype: Number format in which the policy computes.
        device: Where the policy trains: "cpu", "cuda", …
        max_length: The longest prompt with its response, in tokens.
        vocabulary: How many tokens it knows.
        trust_remote_code: Whether code that comes with the model may run.
    """

    base: str
    lora_rank: int | None
    dtype: str
    device: str
    max_length: int
    vocabulary: int
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One response to a request.

    Attributes:
        ids: Exactly as sampled, the end token included.
        finish_reason: "stop" or "length"; an engine may answer something else, which is then refused.
    """

    ids: list[int]
    finish_reason: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to sample for one prompt.

    Attributes:
        prompt_ids: The prompt, never empty.
        samples: How many responses.
        temperature: Divides the logits; 0 is greedy.
        top_p: Keeps the smallest set of tokens with this much probability; 1 keeps all.
        top_k: Keeps the k most likely tokens; 0 keeps all.
        stop_ids: Tokens that end a response.
        max_new_tokens: Where a response is cut.
        seed: Decides the samples, as far as the engine's arithmetic is the same.
    """

    prompt_ids: Sequence[int]
    samples: int
    temperature: float
    top_p: float
    top_k: int
    stop_ids: tuple[int, ...]
    max_new_tokens: int
    seed: int

    def problem(self, completion: Completion) -> str | None:
        """What is wrong with an answer, if anything: training takes its ids for exactly what the policy sampled."""
        ids, reason = completion.ids, completion.finish_reason
        if reason not in {"stop", "length"}:
            return f"the finish reason '{reason}', which is neither stop nor length"
        if not ids or set(ids[:-1]) & set(self.stop_ids):
            return "no tokens" if not ids else "tokens after an end token"
        if (ids[-1] in self.stop_ids) != (reason == "stop"):
            return f"the finish reason '{reason}', but the last token {ids[-1]} says otherwise"
        if reason == "length" and len(ids) != self.max_new_tokens:
            return f"{len(ids)} tokens cut at the limit, which is {self.max_new_tokens}"
        return None


class Engine(Protocol):
    """Samples many prompts at once from weights that it is given as a folder."""

    @property
    def name(self) -> str:
        """What samples call their generator."""
        ...

    def check(self) -> None:
        """Raises InputError where it is clear already that it cannot play; starts nothing."""
        ...

    def complete(self, requests: Sequence[Request], weights: Weights) -> list[list[Completion]]:
        """All samples of each request, in order, from `weights`, which are proved to be what plays."""
        ...


class EngineClass(Protocol):
    """The class of an engine."""

    def of(self, config: GenerationConfig, model: EngineModel, /) -> Engine:
        """The engine of some settings; ValueError where they are another engine's."""
        ...


class Player(Protocol):
    """The policy that is active."""

    @property
    def folder(self) -> Path | None:
        """Where it is saved; None for the base model."""
        ...

    def log_probs(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Tensor]]:
        """Log π of every token of each response, `[T]` nats."""
        ...


@dataclass(frozen=True, kw_only=True)
class GeneratorParts:
    """What a generator is built from, beside its settings.

    Attributes:
        model: The causal language model of transformers in memory, which plays as the active policy.
        tokenizer: Decodes the text that people read; training uses the ids.
        stop_ids: Tokens that end a response. The sampled one is kept as the response's last token.
        max_new_tokens: Where a response is cut; it then has the finish reason "length" and no end token.
        mixture: The base model to mix every token's distribution with; None samples from the policy itself.
        policy: The active policy, where there may be several: what an engine is made to play, and proved by.
        engine: What samples in the model's place, if anything does.
    """

    model: Any
    tokenizer: Any
    stop_ids: tuple[int, ...]
    max_new_tokens: int
    mixture: Mixture | None = None
    policy: Player | None = None
    engine: Engine | None = None


class GeneratorClass(Protocol):
    """The class of a generator."""

    def of(self, config: GenerationConfig, parts: GeneratorParts, /) -> Generator:
        """The generator of some settings."""
        ...
