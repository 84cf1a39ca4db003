"""How vLLM is asked, what becomes of its answers, and its weights; on a stand-in, and on the real one where it is.

The last test needs vLLM: `make vllm` runs it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import fake_vllm
from sparring.errors import InputError, RunError
from sparring.examples import EncodedExample
from sparring.generation.config import VllmConfig
from sparring.generation.engines import EngineGenerator
from sparring.generation.vllm import VllmEngine
from sparring.generation.vllm_worker import HeadRepacking
from sparring.generation.weights import Weights
from sparring.models import ModelConfig
from sparring.selfplay.policy import Policy
from tiny import save_tiny, tiny_model, tiny_tokenizer
from tiny_engine import TinyEngine, engine_model, request, weights_of

REQUESTS = [request([1, 40 + n, 50], samples=2, seed=n) for n in range(4)]
VLLM = importlib.util.find_spec("vllm") is not None


def build(folder: Path, *, lora_rank: int | None = None, **settings: Any) -> VllmEngine:
    return VllmEngine(VllmConfig(**settings), engine_model(folder, lora_rank=lora_rank))


def an_adapter(folder: Path, seed: int, **shape: Any) -> Weights:
    model = get_peft_model(tiny_model(**shape), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.2)
    model.save_pretrained(folder)
    return weights_of(TinyEngine.of(model.eval()), folder)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[fake_vllm.LLM]:
    fake_vllm.install(monkeypatch)
    return fake_vllm.LLM


def test_one_start_many_swaps_and_the_head_is_packed_anew(
    stand_in: type[fake_vllm.LLM], tiny_folder: Path, tmp_path: Path
) -> None:
    engine, other = build(tiny_folder), save_tiny(tmp_path / "other", seed=5)
    assert stand_in.started == []
    for folder in (None, other, other, None):
        model = TinyEngine(folder or tiny_folder)
        assert engine.complete(REQUESTS, weights_of(model, folder)) == [model.complete(each) for each in REQUESTS]
    (llm,) = stand_in.started
    rpc = [(method, *settings.values()) for method, settings in llm.calls if method != "reset_prefix_cache"]
    loaded = [("reload_weights", str(folder)) for folder in (tiny_folder, other, tiny_folder)]
    assert rpc == [call for each in loaded for call in (each, ("repack_head",))]


def test_a_head_that_stays_stale_is_an_error_each_time(
    stand_in: type[fake_vllm.LLM], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "repairs", False)
    engine, other = build(tiny_folder), save_tiny(tmp_path / "other", seed=5)
    weights = weights_of(TinyEngine(other), other)
    for _ in range(2):
        with pytest.raises(RunError, match="stale or other weights"):
            engine.complete(REQUESTS, weights)


def test_adapters_are_played_as_adapters(stand_in: type[fake_vllm.LLM], tiny_folder: Path, tmp_path: Path) -> None:
    engine = build(tiny_folder, lora_rank=12)
    base = weights_of(TinyEngine(tiny_folder))
    adapters = [an_adapter(tmp_path / str(seed), seed) for seed in (1, 2)]
    answers = [engine.complete(REQUESTS, weights) for weights in (base, *adapters, base)]
    assert answers[0] == answers[3]
    assert len({str(each) for each in answers}) == 3
    (llm,) = stand_in.started
    assert (llm.settings["enable_lora"], llm.settings["max_lora_rank"]) == (True, 16)
    assert {method for method, _ in llm.calls} == {"reset_prefix_cache"}
    assert sorted(llm.engine.adapters) == ["1", "2"]


def test_an_adapter_after_the_base_is_not_taken_for_the_one_before_it(
    stand_in: type[fake_vllm.LLM], tiny_folder: Path, tmp_path: Path
) -> None:
    """Also where a wide tolerance would not tell: vLLM keeps an adapter by its number, whatever the number names."""
    base = weights_of(TinyEngine(tiny_folder))
    first, second = (an_adapter(tmp_path / str(seed), seed) for seed in (1, 2))
    expected = build(tiny_folder, lora_rank=4).complete(REQUESTS, second)
    engine = build(tiny_folder, lora_rank=4, tolerance=100.0)
    answers = [engine.complete(REQUESTS, weights) for weights in (first, base, second)]
    assert answers[2] == expected != answers[0]


def test_the_probe_has_room_where_all_is_as_long_as_the_data(stand_in: type[fake_vllm.LLM], tiny_folder: Path) -> None:
    prompt = EncodedExample(index=0, prompt_ids=[1, 40], expert_ids=[50, 51, 2], prompt="", response="")
    config = VllmConfig()
    engine = VllmEngine(config, engine_model(tiny_folder, max_length=5))
    policy = Policy(ModelConfig(name=str(tiny_folder), device="cpu"), tiny_tokenizer(), lora=None, seed=0)
    parts = {"tokenizer": tiny_tokenizer(), "stop_ids": (2,), "max_new_tokens": 3}
    (sample,) = EngineGenerator(config, engine=engine, policy=policy, **parts).sample([prompt], seed=0)
    assert 1 <= len(sample.response_ids) <= 3


def test_what_vllm_is_asked(stand_in: type[fake_vllm.LLM], tiny_folder: Path) -> None:
    engine = build(tiny_folder, dtype="bfloat16", gpu_memory_utilization=0.3)
    settings = {"samples": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "stop_ids": (2, 7), "seed": 9}
    asked = [request([1, 44], **settings), request([1, 45], samples=1, temperature=0.0)]
    engine.complete(asked, weights_of(TinyEngine(tiny_folder)))
    (llm,) = stand_in.started
    assert llm.asked[1] == fake_vllm.SamplingParams(
        n=3,
        temperature=0.7,
        top_p=0.9,
        top_k=5,
        seed=9,
        max_tokens=6,
        ignore_eos=True,
        stop_token_ids=[2, 7],
        detokenize=False,
    )
    assert (llm.asked[2].temperature, llm.asked[2].n) == (0.0, 1)
    assert llm.settings == {
        "model": str(tiny_folder),
        "dtype": "bfloat16",
        "max_model_len": 128,
        "enforce_eager": True,
        "gpu_memory_utilization": 0.3,
        "generation_config": "vllm",
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "worker_extension_cls": "sparring.generation.vllm_worker.HeadRepacking",
    }


@pytest.mark.skipif(VLLM, reason="vLLM is installed")
def test_without_vllm_the_check_says_what_to_install(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match=r"vLLM is not installed[\s\S]*pip install 'sparring\[vllm\]'"):
        build(tiny_folder).check()


def test_adapters_over_vllms_rank_are_refused(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    build(tiny_folder, lora_rank=512).check()
    with pytest.raises(InputError, match="up to rank 512, not 513"):
        build(tiny_folder, lora_rank=513).check()


def test_repacking_touches_embeddings_and_heads_only() -> None:
    """The very walk that runs in vLLM's worker, on modules that are marked as vLLM marks them."""
    packed: list[str] = []

    class Method:
        def __init__(self, name: str) -> None:
            self.name = name

        def process_weights_after_loading(self, module: Any) -> None:
            packed.append(self.name)

    class HeadMethod(Method):
        def embedding(self) -> None:
            return

    model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1) for name in ("head", "linear", "embedding", "norm")})
    model["head"].cpu_linear, model["head"].quant_method = len, HeadMethod("head")
    model["linear"].cpu_linear, model["linear"].quant_method = len, Method("linear")
    # An embedding that is only looked up has no packed copy.
    model["embedding"].quant_method = HeadMethod("embedding")
    worker = HeadRepacking()
    worker.model_runner = type("Runner", (), {"get_model": lambda self: model})()
    worker.repack_head()
    assert packed == ["head"]


@pytest.mark.skipif(not VLLM, reason="needs vLLM")
# Those of vLLM's own imports.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_real_vllm_plays_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: bool) -> None:
    """All weights change, the embedding and tied output head among them."""
    # vLLM's attention knows no heads smaller than 32.
    shape = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.05}
    base_folder, other_folder = tmp_path / "base", tmp_path / "other"
    tiny_model(**shape).save_pretrained(base_folder)
    tiny_model(seed=5, **shape).save_pretrained(other_folder)
    model, other = TinyEngine(base_folder), TinyEngine(other_folder)
    engine = build(base_folder, lora_rank=4 if lora else None, tolerance=1e-3)
    base = weights_of(model)
    changed = an_adapter(tmp_path / "adapter", 1, **shape) if lora else weights_of(other, other_folder)
    greedy = [request([1, 40 + n, 50], temperature=0.0) for n in range(4)]
    answers = [engine.complete(greedy, weights) for weights in (base, changed, base)]
    assert answers[0] == answers[2] != answers[1]
    assert answers[0] == [model.complete(each) for each in greedy]
    sampled = engine.complete([request([1, 41], samples=20, stop_ids=(2, *range(50, 90)))], base)[0]
    assert {each.finish_reason for each in sampled} == {"stop", "length"}
    assert all((each.ids[-1] in {2, *range(50, 90)}) == (each.finish_reason == "stop") for each in sampled)
    if not lora:
        # The trap that all this is about: without packing the head anew, the new weights are not what plays.
        call = engine._llm.collective_rpc
        monkeypatch.setattr(
            engine._llm, "collective_rpc", lambda name, **rest: None if name == "repack_head" else call(name, **rest)
        )
        with pytest.raises(RunError, match="stale or other weights"):
            engine.complete(greedy, changed)
