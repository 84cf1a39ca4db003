"""Memory and arithmetic of a run, from the shapes of a model alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sparring.logprobs.head import head_bytes
from sparring.logprobs.layout import MAX_TOKENS
from sparring.models import ModelConfig
from sparring.models.adapters import adapter_of
from sparring.models.config import Quantization
from sparring.models.loading import stored_dtype
from sparring.models.quantization import largest_rebuilt, stored_bytes
from sparring.models.quiet import making_models
from sparring.trainer.memory import looks_gated

if TYPE_CHECKING:
    from transformers import TrainingArguments

# Numbers that a transformer layer keeps for the backward pass, a token and hidden unit, without gradient
# checkpointing: the inputs of its projections, of its norms, of its activation and of its attention.
_KEPT_PER_UNIT = 24


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak bytes of one process.

    Training and playing (generating, scoring) take turns. Training holds weights, and for those that are trained a
    gradient and the optimizer's states; sharding divides these three by the number of processes. Playing needs all
    the weights in every process, and a cache of keys and values.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    playing: int

    @property
    def total(self) -> int:
        """The larger of the two; the Python process and its libraries take about 0.6 GB more."""
        training = self.weights + self.gradients + self.optimizer + self.activations + self.logits
        return max(training, self.playing)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of a prompt, and of each of the responses to it that are scored and trained on."""

    prompt: int
    responses: tuple[int, ...]

    @property
    def read(self) -> int:
        """Where the prompt is read once for all responses, as packed rows do."""
        return self.prompt + sum(self.responses) if self.responses else 0

    @property
    def apart(self) -> int:
        """Where every response has the prompt before it."""
        return len(self.responses) * self.prompt + sum(self.responses)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The largest batch that one process trains on, and the largest that it decodes.

    Attributes:
        tokens: Positions in training: prompts once, and all their responses.
        predicted: How many of them are predicted, in each of the packed rows that they make.
        decoded: Positions in the cache of keys and values.
    """

    tokens: int
    predicted: tuple[int, ...]
    decoded: int

    @classmethod
    def largest(
        cls, rows: Iterable[TokenCounts], *, prompts: int, sequences: int, limit: int, part: int | None = None
    ) -> Batch:
        """So many `prompts` in training, and so many `sequences` decoded up to `limit` tokens.

        `part` is the number of positions that are trained on at a time, None for the whole batch.
        """
        longest = answers = prompt = 0
        for row in rows:
            read = sum(row.responses)
            longest, answers, prompt = max(longest, row.prompt + read), max(answers, read), max(prompt, row.prompt)
        # A part is as full of shorter prompts as it may be: of prompts as long as the longest, that is a fraction more.
        tokens = prompts * longest if part is None else max(longest, min(prompts * longest, part))
        of_longest = tokens / longest
        # A row takes as many prompts as fit into a forward pass, or a prompt as many rows as it needs.
        together, parts = max(1, MAX_TOKENS // longest), -(-longest // MAX_TOKENS)
        filled = [min(together, of_longest - start) for start in range(0, ceil(of_longest), together)]
        predicted = tuple(ceil(n * answers / parts) for n in filled for _ in range(parts))
        decoded = sequences * (prompt + limit)
        return cls(tokens=tokens, predicted=predicted, decoded=decoded)


def described(config: ModelConfig, model_config: Any, lora: dict[str, Any] | None) -> Any:
    """The model as shapes without weights, with the adapter if there is one."""
    from transformers import AutoModelForCausalLM

    from sparring.models.lora import lora_config

    dtype = stored_dtype(model_config) if config.dtype == "auto" else getattr(torch, config.dtype)
    with torch.device("meta"), making_models():
        model = AutoModelForCausalLM.from_config(model_config, dtype=dtype, trust_remote_code=config.trust_remote_code)
        if lora is None:
            return model
        from peft import get_peft_model

        fitted = adapter_of(model_config, lora_config(lora), trust_remote_code=config.trust_remote_code)
        return get_peft_model(model, fitted.config)


def memory(
    model: Any,
    args: TrainingArguments,
    batch: Batch,
    *,
    shards: int,
    quantization: Quantization | None = None,
    laid_out: bool = False,
    gates_kept: bool = True,
) -> Memory:
    """The memory of one process.

    Args:
        model: The model as shapes, without quantisation.
        args: transformers' training arguments.
        batch: The largest batch.
        shards: Among how many processes training shares out the weights; 1 where each has all of them.
        quantization: How the weights of linear layers are held.
        laid_out: Whether sampling multiplies with a copy of the linear layers' weights, as it does on a processor.
        gates_kept: Whether gated layers keep what is quickly computed again, as they don't on a processor.
    """
    config = model.config.get_text_config()
    whole, rebuilt = stored_bytes(model, quantization), largest_rebuilt(model, quantization)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    head = any(p.requires_grad for p in model.get_output_embeddings().parameters())
    states = sum(p.numel() * state_bytes(args.optim, p.element_size()) for p in model.parameters() if p.requires_grad)
    number = 2 if args.mixed_precision in {"bf16", "fp16"} else next(model.parameters()).element_size()
    units = batch.tokens * config.hidden_size * number
    layers = config.num_hidden_layers
    # With checkpointing, the input of every layer and all of the one that is computed again.
    kept = units * (layers + _KEPT_PER_UNIT if args.gradient_checkpointing else layers * _KEPT_PER_UNIT)
    kept += batch.tokens * _adapter_inputs(model, number) // (layers if args.gradient_checkpointing else 1)
    if not gates_kept:
        wide = sum(module.up_proj.out_features for module in model.modules() if looks_gated(module))
        kept -= batch.tokens * 2 * wide * number
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)] if laid_out else []
    copied = sum(weight.numel() * weight.element_size() for weight in linear)
    cache = 2 * layers * heads * width * batch.decoded * next(model.parameters()).element_size()
    return Memory(
        weights=whole // shards,
        gradients=trained // shards,
        optimizer=states // shards,
        activations=kept + rebuilt,
        logits=head_bytes(batch.predicted, vocabulary=config.vocab_size, element=number, trained=head),
        playing=whole + rebuilt + copied + cache,
    )


def _adapter_inputs(model: Any, number: int) -> int:
    """Bytes a token that adapters keep of their inputs, in all layers: copies, where the model computes otherwise."""
    adapters = [module for name, module in model.named_modules() if name.endswith(".lora_A.default")]
    sizes = [(each.weight.shape[-1], each.weight.element_size()) for each in adapters]
    return sum(width * size for width, size in sizes if size != number)


def state_bytes(optimizer: str, element: int) -> int:
    """Bytes of optimizer state a weight: Adam's two moments in the weight's dtype, or what others keep instead."""
    name = str(getattr(optimizer, "value", optimizer))
    if "8bit" in name:
        return 2
    if name in {"sgd", "adafactor"}:  # Adafactor keeps a row and a column of each matrix, which is next to nothing.
        return 0
    return 2 * element


def flops(model: Any, *, generate: int, score: int, train: int, checkpointing: bool) -> dict[str, float]:
    """Floating-point operations of so many tokens, attention left out.

    A multiplication and an addition a weight and token forward, twice that backward: 2P, and 6P to train. Frozen
    weights need no gradient of their own, which saves 2P; checkpointing computes the forward pass again, 2P more.
    """
    parameters = [(p.numel(), p.requires_grad) for p in model.parameters()]
    whole, trained = sum(n for n, _ in parameters), sum(n for n, needed in parameters if needed)
    step = 4 * whole + 2 * trained + (2 * whole if checkpointing else 0)
    return {"generate": 2.0 * whole * generate, "score": 2.0 * whole * score, "train": float(step) * train}
