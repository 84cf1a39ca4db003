"""The protocols of generators and engines, and the objects that they are built from."""

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
    """A generator that samples under several settings, greedy and at temperature 1 say, reading each prompt once."""

    def sample_together(
        self, batch: Sequence[EncodedExample], settings: Sequence[tuple[GenerationConfig, int]]
    ) -> list[list[Sample]]:
        """For each of the settings, with its seed, the samples that `Generator.sample` would draw from equal logits."""
        ...


@runtime_checkable
class ChecksItself(Protocol):
    """A generator that is checked at the start of a run."""

    def check(self) -> None:
        """Raises InputError where its samples would not be draws of the policy as it is scored."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineModel:
    """The facts of a model that an engine needs before it samples.

    Attributes:
        base: Folder of the base model.
        lora_rank: Rank of the policies' adapters, or None where policies are whole models.
        dtype: Number format in which the policy computes.
        device: Where the policy trains: "cpu", "cuda", …
        max_length: The most tokens of a prompt and its response together.
        vocabulary: The number of token ids.
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
    """A request to sample responses to one prompt.

    Attributes:
        prompt_ids: The prompt, never empty.
        samples: The number of responses.
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
        """What is wrong with a completion, or None; training takes its ids to be exactly what the policy sampled."""
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
        """The engine's name, which samples have as their generator."""
        ...

    def check(self) -> None:
        """Raises InputError where it can be seen beforehand that sampling will fail; starts nothing."""
        ...

    def complete(self, requests: Sequence[Request], weights: Weights) -> list[list[Completion]]:
        """All samples of each request, in order, from `weights`; the engine has proved that it samples from these."""
        ...


class EngineClass(Protocol):
    """The class of an engine."""

    def of(self, config: GenerationConfig, model: EngineModel, /) -> Engine:
        """The engine of some settings; ValueError where they are another engine's."""
        ...


class Player(Protocol):
    """The active policy, as an engine sees it."""

    @property
    def folder(self) -> Path | None:
        """The folder that it is saved in; None for the base model."""
        ...

    def log_probs(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[Tensor]]:
        """Log π of every token of each response, `[T]` nats."""
        ...


@dataclass(frozen=True, kw_only=True)
class GeneratorParts:
    """The objects that a generator is built from, beside its settings.

    Attributes:
        model: The causal language model of transformers in memory, with the active policy's weights.
        tokenizer: Decodes the text that people read; training uses the ids.
        stop_ids: Tokens that end a response. The sampled one is kept as the response's last token.
        max_new_tokens: Where a response is cut; it then has the finish reason "length" and no end token.
        mixture: The base model to mix every token's distribution with; None samples from the policy itself.
        policy: The active policy, whose weights an engine is given and whose log-probs it is checked against.
        engine: The engine that samples in the model's place, or None.
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
