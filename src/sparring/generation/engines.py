"""Sampling by an engine that has its own copy of the weights: vLLM in a child process, or a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from sparring.errors import RunError
from sparring.examples import EncodedExample
from sparring.generation.batches import as_sample, batches
from sparring.generation.config import GenerationConfig
from sparring.generation.protocol import Completion, Engine, GeneratorParts, Player, Request
from sparring.generation.weights import Weights
from sparring.seeding import derive_seed
from sparring.types import Sample


class EngineGenerator:
    """Samples from the active policy through an engine.

    Each prompt has its own seed, derived from the batch's, so its samples do not depend on which endpoint answers. They
    can be repeated only as far as the engine's arithmetic can: vLLM's rounding depends on the rest of its batch, and
    may turn a near tie, after which the rest of that response differs.

    Args:
        config: Sampling settings.
        engine: The engine.
        policy: The policy to sample from: the one that is active when the first batch is sampled.
        tokenizer: Decodes the text that people read; training uses the ids.
        stop_ids: Tokens that end a response. The sampled one is kept as the response's last token.
        max_new_tokens: Where a response is cut; it then has the finish reason "length" and no end token.
    """

    def __init__(
        self,
        config: GenerationConfig,
        *,
        engine: Engine,
        policy: Player,
        tokenizer: Any,
        stop_ids: Sequence[int],
        max_new_tokens: int,
    ) -> None:
        self._config, self._engine, self._policy, self._tokenizer = config, engine, policy, tokenizer
        self._stop_ids, self._max_new_tokens = tuple(sorted(stop_ids)), max_new_tokens
        self._weights: Weights | None = None

    @classmethod
    def of(cls, config: GenerationConfig, parts: GeneratorParts) -> Self:
        """The generator of some settings.

        Raises:
            ValueError: There is no engine, or no policy for it.
        """
        if parts.engine is None or parts.policy is None:
            raise ValueError(f"the generator '{config.name}' samples the policies of a run, through an engine")
        if parts.mixture is not None:
            raise ValueError("an engine plays one policy at a time")
        return cls(
            config,
            engine=parts.engine,
            policy=parts.policy,
            tokenizer=parts.tokenizer,
            stop_ids=parts.stop_ids,
            max_new_tokens=parts.max_new_tokens,
        )

    def plan(self, prompts: Sequence[EncodedExample]) -> list[list[EncodedExample]]:
        """Batches of prompts of similar length; see `Generator`."""
        return batches(self._config, prompts)

    def sample(self, batch: Sequence[EncodedExample], *, seed: int) -> list[Sample]:
        """K samples for each prompt of the batch; see `Generator`.

        Raises:
            RunError: The engine has other weights than the policy's, or its completions break the request.
        """
        if self._weights is None:
            # A token shorter than the longest text, since the engine answers the probe with one, and may have no room.
            text = [*batch[0].prompt_ids, *batch[0].expert_ids[:-1]]
            self._weights = Weights.of(self._policy.folder, text, self._policy.log_probs)
        requests = [self._request(prompt, seed) for prompt in batch]
        answers = self._engine.complete(requests, self._weights)
        return [
            self._sample(prompt, request, number, completion, seed)
            for prompt, request, completions in zip(batch, requests, answers, strict=True)
            for number, completion in enumerate(completions)
        ]

    def _request(self, prompt: EncodedExample, seed: int) -> Request:
        config = self._config
        greedy = config.top_k == 1
        return Request(
            prompt_ids=prompt.prompt_ids,
            samples=config.samples_per_prompt,
            temperature=0.0 if greedy else config.temperature,
            top_p=1.0 if greedy else config.top_p,
            top_k=0 if greedy else config.top_k,
            stop_ids=self._stop_ids,
            max_new_tokens=self._max_new_tokens,
            seed=derive_seed(seed, prompt.index),
        )

    def _sample(
        self, prompt: EncodedExample, request: Request, number: int, completion: Completion, seed: int
    ) -> Sample:
        ids, stopped = completion.ids, completion.finish_reason == "stop"
        problem = request.problem(completion)
        if problem:
            raise RunError(
                f"the generator '{self._engine.name}' answered the prompt of row {prompt.index} with {problem}\n"
                "  fix: check that it serves the run's model with room for the prompt and "
                f"{self._max_new_tokens} new tokens, then run `sparring resume RUN`"
            )
        parts = {"tokenizer": self._tokenizer, "generator": self._engine.name, "seed": seed}
        return as_sample(prompt, number, ids, stopped=stopped, **parts)
