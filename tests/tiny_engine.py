"""The tiny model as a sampling engine with its own copy of the weights.

It really samples, from token ids to token ids. As vLLM does on a CPU, it can keep the output head that it had when
other weights are loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from sparring.generation.protocol import Completion, EngineModel, Request
from sparring.generation.weights import Weights


def engine_model(base: Path, **changes: Any) -> EngineModel:
    settings = {"base": str(base), "lora_rank": None, "dtype": "float32", "device": "cpu", "max_length": 128}
    settings |= {"vocabulary": 259}
    return EngineModel(**settings | changes)


def request(prompt: Sequence[int], **changes: Any) -> Request:
    settings = {"samples": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "stop_ids": (2,), "max_new_tokens": 6}
    return Request(prompt_ids=list(prompt), **settings | {"seed": 0} | changes)


class TinyEngine:
    """Holds one model and one adapter; `where`, `load`, `repair` and `token_log_probs` make it `Swappable`."""

    where = "the tiny engine"

    def __init__(self, base: Path, *, keeps_head: bool = False, repairs: bool = True) -> None:
        self.base, self.keeps_head, self.repairs = base, keeps_head, repairs
        self.restart()

    @classmethod
    def of(cls, model: Any) -> TinyEngine:
        """A model that is in memory."""
        engine = cls.__new__(cls)
        engine.model, engine.adapters = model, {}
        return engine

    def restart(self) -> None:
        self.model: Any = _read(self.base)
        self.adapters: dict[str, Any] = {}

    def load(self, folder: Path | None) -> None:
        head = self.model.lm_head.weight.detach().clone()
        self.model = _read(folder or self.base)
        if self.keeps_head:
            self.model.lm_head.weight = torch.nn.Parameter(head)

    def repair(self) -> None:
        if self.repairs:
            self.model.lm_head.weight = self.model.get_input_embeddings().weight

    def add_adapter(self, name: str, folder: str) -> None:
        self.adapters[name] = PeftModel.from_pretrained(_read(self.base), folder).eval()

    @torch.no_grad()
    def token_log_probs(self, ids: Sequence[int], adapter: str = "") -> list[float]:
        model = self.adapters[adapter] if adapter else self.model
        logits = model(input_ids=torch.tensor([list(ids)])).logits[0, :-1]
        return logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()

    @torch.no_grad()
    def complete(self, request: Request, adapter: str = "") -> list[Completion]:
        model = self.adapters[adapter] if adapter else self.model
        options = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
        greedy = request.temperature == 0
        ids = torch.tensor([list(request.prompt_ids)])
        with torch.random.fork_rng():
            torch.manual_seed(request.seed)
            rows = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=GenerationConfig(
                    do_sample=not greedy,
                    **({} if greedy else options),
                    num_return_sequences=request.samples,
                    max_new_tokens=request.max_new_tokens,
                    eos_token_id=list(request.stop_ids) or None,
                    pad_token_id=0,
                ),
            )
        return [_cut(row, request.stop_ids) for row in rows[:, ids.shape[1] :].tolist()]


def _read(folder: Path) -> LlamaForCausalLM:
    """The model in a folder; `from_pretrained` would take twenty times as long, and one model at a time."""
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder))
    missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    return model.eval()


def _cut(row: list[int], stop_ids: Sequence[int]) -> Completion:
    ends = [position for position, token in enumerate(row) if token in stop_ids]
    return Completion(ids=row[: ends[0] + 1] if ends else row, finish_reason="stop" if ends else "length")


def weights_of(model: TinyEngine, folder: Path | None = None) -> Weights:
    """What a model plays, as it is known by a probe."""
    probe = (1, *range(40, 60))
    return Weights(folder=folder, probe=probe, log_probs=tuple(model.token_log_probs(probe)))
