"""Sentence embeddings, from any model that transformers' `AutoModel` loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparring.models.config import ModelConfig
from sparring.models.context import longest_input
from sparring.models.loading import load_encoder


@dataclass(frozen=True)
class Embedder:
    """The mean of a model's last hidden states over a text's tokens, as sentence-transformers pool by default."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, config: ModelConfig) -> Embedder:
        """Loads the model; raises InputError as `load_encoder` does."""
        return cls(*load_encoder(config))

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, cut to the model's context; zeros for a text without a token."""
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> list[float]:
        limit = longest_input(self.model.config, self.tokenizer)
        inputs = self.tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        if inputs["input_ids"].shape[1] == 0:
            return [0.0] * self.model.config.hidden_size
        states = self.model(**inputs.to(self.model.device)).last_hidden_state[0]
        vector: list[float] = states.float().mean(dim=0).tolist()
        return vector
