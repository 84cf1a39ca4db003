"""How responses are sampled."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class GenerationConfig(BaseModel):
    """Sampling settings.

    At temperature 1 without top-p and top-k the samples come from π_o itself, which is what the objectives assume;
    any other setting trades that for better-looking samples. The limit of a response's length is not here but in the
    data's `max_response_tokens`, because the expert and the opponent must share it.

    Attributes:
        name: The generator.
        samples_per_prompt: K, the number of responses sampled for each prompt.
        temperature: Divides the logits before sampling.
        top_p: Keeps the smallest set of tokens with this much probability; 1 keeps all.
        top_k: Keeps the k most likely tokens; 0 keeps all, and 1 is greedy, so it takes one sample a prompt.
        batch_size: Sequences decoded at once; a batch is also what a kill can lose at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["transformers"] = "transformers"
    samples_per_prompt: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    batch_size: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _greedy_is_single(self) -> Self:
        if self.top_k == 1 and self.samples_per_prompt > 1:
            raise ValueError(
                f"top_k = 1 is greedy, so the {self.samples_per_prompt} samples of a prompt would all be the same: "
                "set samples_per_prompt to 1, or top_k to 0"
            )
        return self

    @property
    def prompts_per_batch(self) -> int:
        """Whole prompts in a batch: all K responses of a prompt are sampled together."""
        return max(1, self.batch_size // self.samples_per_prompt)

    def greedy(self) -> GenerationConfig:
        """The same limits, but one most likely response a prompt (top-k of one)."""
        return self.model_copy(update={"samples_per_prompt": 1, "top_k": 1, "top_p": 1.0, "temperature": 1.0})
