"""Memory and arithmetic of a run, from the shapes of its model alone."""

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

# Numbers that a transformer layer keeps for the backward pass without gradient checkpointing, for each token and hidden
# unit: the inputs of its projections, norms, activation and attention.
_KEPT_PER_UNIT = 24


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak bytes of one process.

    Training and playing (generating, scoring) take turns.

    Attributes:
        weights: The weights as training holds them; sharding divides them, and the next two, by the processes.
        gradients: A gradient for each trained weight.
        optimizer: The optimizer's states of the trained weights.
        activations: The numbers that the layers keep for the backward pass.
        logits: The head's logits, and the probabilities that it keeps for the backward pass.
        playing: All that playing holds: all weights, in every process, and the cache of keys and values.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    playing: int

    @property
    def total(self) -> int:
        """The larger of training and playing; the Python process and its libraries take about 0.6 GB more."""
        training = self.weights + self.gradients + self.optimizer + self.activations + self.logits
        return max(training, self.playing)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of a prompt, and of each response to it that is read."""

    prompt: int
    responses: tuple[int, ...]

    @property
    def packed(self) -> int:
        """All tokens in a packed row, where the prompt stands once before all responses."""
        return self.prompt + sum(self.responses) if self.responses else 0

    @property
    def unpacked(self) -> int:
        """All tokens where the prompt stands before every response."""
        return len(self.responses) * self.prompt + sum(self.responses)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The largest batch that one process trains on, and the largest that it decodes.

    Attributes:
        tokens: Positions in training: each prompt once, and all its responses.
        predicted: The response tokens in each of the packed rows of the batch; each takes logits.
        decoded: Positions in the cache of keys and values.
    """

    tokens: int
    predicted: tuple[int, ...]
    decoded: int

    @classmethod
    def largest(
        cls, rows: Iterable[TokenCounts], *, prompts: int, sequences: int, limit: int, part: int | None = None
    ) -> Batch:
        """The largest batch that some rows can make.

        Args:
            rows: Every prompt with the responses that it is trained with.
            prompts: Prompts in a batch of training.
            sequences: Responses that are decoded at once.
            limit: The most tokens of a response.
            part: Positions that are trained on at a time; None for the whole batch.
        """
        longest = responses = prompt = 0
        for row in rows:
            length = sum(row.responses)
            longest, responses = max(longest, row.prompt + length), max(responses, length)
            prompt = max(prompt, row.prompt)
        tokens = prompts * longest if part is None else max(longest, min(prompts * longest, part))
        # Counted in prompts of the longest kind: no whole number, since shorter ones may fill a part to the last token.
        count = tokens / longest
        # A packed row holds as many prompts as fit into a forward pass; a longer prompt needs several rows.
        fitting, rows_each = max(1, MAX_TOKENS // longest), -(-longest // MAX_TOKENS)
        filled = [min(fitting, count - start) for start in range(0, ceil(count), fitting)]
        predicted = tuple(ceil(n * responses / rows_each) for n in filled for _ in range(rows_each))
        decoded = sequences * (prompt + limit)
        return cls(tokens=tokens, predicted=predicted, decoded=decoded)


def model_shapes(config: ModelConfig, model_config: Any, lora: dict[str, Any] | None) -> Any:
    """The model without its weights (on the device "meta"), with the adapter if there is one."""
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
        model: The model from `model_shapes`.
        args: transformers' training arguments.
        batch: The largest batch.
        shards: The processes that share out the weights in training; 1 where each has all of them.
        quantization: The format that the weights of linear layers are held in; None for the model's own.
        laid_out: Whether sampling multiplies with a copy of the linear layers' weights, as it does on a processor.
        gates_kept: Whether gated layers keep all their activations; on a processor they compute some again.
    """
    whole, rebuilt = stored_bytes(model, quantization), largest_rebuilt(model, quantization)
    trained = [p for p in model.parameters() if p.requires_grad]
    head = any(p.requires_grad for p in model.get_output_embeddings().parameters())
    number = 2 if args.mixed_precision in {"bf16", "fp16"} else next(model.parameters()).element_size()
    vocabulary = model.config.get_text_config().vocab_size
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)] if laid_out else []
    copied = sum(weight.numel() * weight.element_size() for weight in linear)
    return Memory(
        weights=whole // shards,
        gradients=sum(p.numel() * p.element_size() for p in trained) // shards,
        optimizer=sum(p.numel() * state_bytes(args.optim, p.element_size()) for p in trained) // shards,
        activations=_activation_bytes(model, args, batch.tokens, number, gates_kept=gates_kept) + rebuilt,
        logits=head_bytes(batch.predicted, vocabulary=vocabulary, element=number, trained=head),
        playing=whole + rebuilt + copied + _cache_bytes(model, batch.decoded),
    )


def _activation_bytes(model: Any, args: TrainingArguments, tokens: int, number: int, *, gates_kept: bool) -> int:
    """Bytes that the layers keep of so many tokens for the backward pass, `number` bytes for each number."""
    config = model.config.get_text_config()
    layers, checkpointed = config.num_hidden_layers, args.gradient_checkpointing
    # With checkpointing, the input of every layer, and everything of the one layer that is computed again.
    per_unit = layers + _KEPT_PER_UNIT if checkpointed else layers * _KEPT_PER_UNIT
    kept: int = tokens * config.hidden_size * number * per_unit
    kept += tokens * _adapter_input_bytes(model, number) // (layers if checkpointed else 1)
    if not gates_kept:
        wide = sum(module.up_proj.out_features for module in model.modules() if looks_gated(module))
        kept -= tokens * 2 * wide * number
    return kept


def _adapter_input_bytes(model: Any, number: int) -> int:
    """Bytes a token that adapters keep in all layers: a copy of each input whose format is not the adapter's own."""
    adapters = [module for name, module in model.named_modules() if name.endswith(".lora_A.default")]
    sizes = [(each.weight.shape[-1], each.weight.element_size()) for each in adapters]
    return sum(width * size for width, size in sizes if size != number)


def _cache_bytes(model: Any, positions: int) -> int:
    """Bytes of the keys and values of so many positions in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size: int = 2 * config.num_hidden_layers * heads * width * positions * next(model.parameters()).element_size()
    return size


def state_bytes(optimizer: str, element: int) -> int:
    """Bytes of optimizer states for each trained weight, which has `element` bytes; two moments unless known better."""
    name = str(getattr(optimizer, "value", optimizer))
    if "8bit" in name:
        return 2
    if name in {"sgd", "adafactor"}:  # Adafactor keeps a row and a column of each matrix, which is next to nothing.
        return 0
    return 2 * element


def flops(model: Any, *, generate: int, score: int, train: int, checkpointing: bool) -> dict[str, float]:
    """Floating-point operations of so many tokens, without those of attention.

    With P weights, a token takes 2P operations forward (a multiplication and an addition for each weight) and 4P
    backward. Frozen weights need no gradient of their own, which saves 2P; checkpointing repeats the forward pass, 2P.
    """
    parameters = [(p.numel(), p.requires_grad) for p in model.parameters()]
    whole, trained = sum(n for n, _ in parameters), sum(n for n, needed in parameters if needed)
    step = 4 * whole + 2 * trained + (2 * whole if checkpointing else 0)
    return {"generate": 2.0 * whole * generate, "score": 2.0 * whole * score, "train": float(step) * train}
