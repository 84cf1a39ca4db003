"""The part of vLLM's Python interface that sparring uses, over the tiny model, with vLLM's stale output head."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from tiny_engine import TinyEngine, request


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """As vLLM's: unknown names are refused, and 0 means greedy."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int = 16
    ignore_eos: bool = False
    stop_token_ids: list[int] | None = None
    detokenize: bool = True
    prompt_logprobs: int | None = None


@dataclass(frozen=True)
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


class LLM:
    """One child process's worth of vLLM; `started` are all that a test has made."""

    started: ClassVar[list[LLM]] = []
    repairs: ClassVar[bool] = True

    def __init__(self, **settings: Any) -> None:
        self.settings, self.calls, self.asked = settings, [], []
        self.engine = TinyEngine(Path(settings["model"]), keeps_head=True, repairs=type(self).repairs)
        type(self).started.append(self)

    def collective_rpc(self, method: str, kwargs: dict[str, str] | None = None) -> None:
        self.calls.append((method, kwargs or {}))
        if method == "reload_weights":
            self.engine.load(Path((kwargs or {})["weights_path"]))
        elif method == "repack_head":
            self.engine.repair()

    def reset_prefix_cache(self) -> None:
        self.calls.append(("reset_prefix_cache", {}))

    def generate(self, prompts: list[Any], sampling: list[Any], *, use_tqdm: bool, lora_request: Any) -> list[Any]:
        self.asked += sampling
        return [
            self._answer(each["prompt_token_ids"], one, lora_request)
            for each, one in zip(prompts, sampling, strict=True)
        ]

    def _answer(self, ids: list[int], sampling: SamplingParams, lora: LoRARequest | None) -> Any:
        if len(ids) >= self.settings["max_model_len"]:
            raise ValueError("the prompt leaves no room for a token")
        name = "" if lora is None else f"{lora.lora_int_id}"
        if lora is not None and name not in self.engine.adapters:
            self.engine.add_adapter(name, lora.lora_path)
        asked = request(
            ids,
            samples=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            stop_ids=tuple(sampling.stop_token_ids or ()),
            max_new_tokens=sampling.max_tokens,
            seed=sampling.seed or 0,
        )
        outputs = [
            SimpleNamespace(token_ids=tuple(each.ids), finish_reason=each.finish_reason)
            for each in self.engine.complete(asked, name)
        ]
        scores: list[Any] | None = None
        if sampling.prompt_logprobs is not None:
            log_probs = zip(ids[1:], self.engine.token_log_probs(ids, name), strict=True)
            scores = [None, *({token: SimpleNamespace(logprob=value)} for token, value in log_probs)]
        return SimpleNamespace(outputs=outputs, prompt_logprobs=scores)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `import vllm` find this, until the test ends."""
    module, lora, requests = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    requests.LoRARequest = LoRARequest  # type: ignore[attr-defined]
    for name, each in (("vllm", module), ("vllm.lora", lora), ("vllm.lora.request", requests)):
        monkeypatch.setitem(sys.modules, name, each)
    monkeypatch.setattr(LLM, "started", [])
    for name in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS"):
        monkeypatch.setenv(name, "set by the test")
