from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Glm4MoeConfig, Glm4MoeForCausalLM, MllamaConfig
from transformers.utils import logging as transformers_logging

from families import build
from sparring.errors import InputError
from sparring.logprobs import check_log_probs
from sparring.models import (
    ModelConfig,
    content_digest,
    fingerprint,
    load_config,
    load_model,
    load_tokenizer,
    loading,
    resolve,
)
from sparring.models.endings import end_ids
from tiny import save_tiny, tiny_model

# Bytes of a file of weights of which a fingerprint reads the ends alone.
_LARGE = 3 << 20


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def config(folder: Path, **changes: object) -> ModelConfig:
    return ModelConfig(name=str(folder), device="cpu", **changes)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_load_gives_the_saved_weights_in_evaluation_mode(folder: Path):
    model = load_model(config(folder))
    assert not model.training
    expected = tiny_model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_dtype_is_the_configured_one(folder: Path, name: str, dtype: torch.dtype):
    assert {value.dtype for value in load_model(config(folder, dtype=name)).parameters()} == {dtype}


def test_dtype_auto_keeps_the_saved_one(folder: Path):
    tiny_model().to(torch.bfloat16).save_pretrained(folder)
    assert load_model(config(folder, dtype="auto")).dtype == torch.bfloat16


def test_attention_is_the_configured_one(folder: Path):
    assert load_model(config(folder, attention="eager")).config._attn_implementation == "eager"


def test_the_padding_token_gets_its_gradient(folder: Path):
    assert tiny_model().model.embed_tokens.padding_idx == 0, "the tiny model should set the trap"
    model = load_model(config(folder))
    # Through the hidden states alone: the tied output head would give every row a gradient.
    hidden = model.model(torch.tensor([[0, 5, 0, 7]])).last_hidden_state
    hidden.square().sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient[0].abs().sum() > 0
    assert gradient[6].abs().sum() == 0


def test_tokenizer_round_trips_text(folder: Path):
    tokenizer = load_tokenizer(config(folder))
    assert tokenizer.decode(tokenizer("One 12 é").input_ids) == "One 12 é"
    assert "<|im_start|>assistant" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )


def test_loading_prints_nothing_and_restores_the_log_level(folder: Path, capfd: pytest.CaptureFixture[str]):
    level = transformers_logging.get_verbosity()
    load_model(config(folder))
    load_tokenizer(config(folder))
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.get_verbosity() == level
    assert transformers_logging.is_progress_bar_enabled()


@pytest.mark.parametrize("name", ["/no/such/folder", "./missing", "a/b/c", "has space"])
def test_missing_path_says_what_was_looked_for(name: str):
    with pytest.raises(InputError, match="no model folder at") as error:
        resolve(name)
    assert repr(name) in str(error.value)
    assert "smollm2-135m" in str(error.value)


def test_hub_ids_pass_through():
    for name in ("owner/model-1.5B", "me/smollm2-135", "gpt2"):
        assert resolve(name) == name


@pytest.mark.parametrize("name", ["smollm2-135", "SmolLM2-135M", "smolm2-135m"])
def test_the_embedded_model_misspelt_is_not_looked_for_on_the_hub(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"no model folder at .*\n  fix: did you mean 'smollm2-135m'\? Or give a folder"
    ):
        resolve(name)


def test_unreachable_hub_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for load in (load_model, load_tokenizer):
        with pytest.raises(InputError, match=r"looked for 'nobody/nothing'.*hub could not be reached"):
            load(ModelConfig(name="nobody/nothing", device="cpu"))
    with pytest.raises(InputError, match="hub could not be reached"):
        fingerprint("nobody/nothing")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smolm2-135m", "smollm2-135m"),
        ("my-modle", "my-model"),
        ("{here}/my-modle", "{here}/my-model"),
        ("models/my-modle", "models/my-model"),
        # An owner's model is not ours, a folder without a model is none, and some names are like nothing here.
        ("HuggingFaceTB/SmolLM2-360M", None),
        ("experiments", None),
        ("{here}/gpt", None),
    ],
)
def test_a_misspelt_model_is_told_the_one_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    for folder in ("my-model", "models/my-model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "experiment").mkdir()
    with pytest.raises(InputError) as caught:
        load_model(ModelConfig(name=name.format(here=tmp_path), device="cpu"))
    told = "" if meant is None else f"did you mean '{meant.format(here=tmp_path)}'? Or "
    assert str(caught.value.fix).startswith((f"{told}check the name", f"{told}give a folder"))


def test_a_hub_model_has_the_fingerprint_of_its_files(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(
        loading, "snapshot_download", lambda name, revision, **_: asked.append((name, revision)) or folder
    )
    assert fingerprint("owner/model", revision="abc") == fingerprint(str(folder))
    assert asked == [("owner/model", "abc")]


def test_config_is_that_of_the_model(folder: Path):
    assert load_config(config(folder)).hidden_size == 32


def test_folder_without_config(tmp_path: Path):
    with pytest.raises(InputError, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_adapter_folder_is_recognised(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="an adapter, not a whole model"):
        resolve(str(tmp_path))


def test_pickles_are_not_opened(folder: Path):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickles"):
        load_model(config(folder))


def test_folder_without_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights"):
        load_model(config(folder))


def test_truncated_weights(folder: Path):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(config(folder))


def test_a_missing_tensor_is_not_replaced_by_noise(folder: Path):
    edit_weights(folder, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(InputError, match=r"1 weights are missing \(model\.norm\.weight\)"):
        load_model(config(folder))


def test_a_text_model_that_cannot_be_loaded_again_is_refused(tmp_path: Path):
    """As Llama 3.2 Vision's: transformers knows the whole model's configuration, and not that of the part."""
    MllamaConfig(architectures=["MllamaForConditionalGeneration"]).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its text model, a MllamaForCausalLM, can be saved but not loaded again"):
        load_config(config(tmp_path))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_in_few_bits_without_a_word_of_how_are_refused(folder: Path, dtype: torch.dtype):
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda weights: weights.update({name: weights[name].to(dtype)}))
    with pytest.raises(InputError, match=rf"the weight '{name}' is held in (I8|U8|F8_E4M3), and config\.json has no"):
        load_model(config(folder))


def test_experts_in_few_bits_without_a_word_of_how_are_refused(tmp_path: Path):
    """They are bare parameters, and have no names that end in `.weight`."""
    build("gpt-oss").save_pretrained(tmp_path)
    name = "model.layers.0.mlp.experts.down_proj"
    edit_weights(tmp_path, lambda weights: weights.update({name: weights[name].to(torch.float8_e4m3fn)}))
    with pytest.raises(InputError, match=rf"the weight '{name}' is held in F8_E4M3, and config\.json has no"):
        load_model(config(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"), [("output_attentions", True), ("output_hidden_states", True), ("return_dict", False)]
)
def test_what_a_configuration_has_a_forward_pass_give_beside_is_left_out(
    folder: Path, tmp_path: Path, name: str, value: bool
):
    ids = torch.tensor([[5, 6, 7]])
    expected = load_model(config(folder))(ids).logits
    edit_config(folder, **{name: value})
    model = load_model(config(folder))
    check_log_probs(model)
    found = model(ids)
    assert torch.equal(found.logits, expected)
    assert found.attentions is found.hidden_states is None
    model.save_pretrained(tmp_path / "saved")


def test_masks_of_truth_values_beside_the_weights_are_as_old_files_have_them(tmp_path: Path):
    model = build("gpt2")
    model.save_pretrained(tmp_path)
    mask = torch.ones(1, 1, 8, 8).tril().to(torch.uint8)
    edit_weights(tmp_path, lambda weights: weights.update({"transformer.h.0.attn.bias": mask}))
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(load_model(config(tmp_path))(ids).logits, model(ids).logits)


def test_a_file_that_was_not_written_to_its_end_is_told(folder: Path, capfd: pytest.CaptureFixture[str]):
    load_model(config(folder))
    assert "zeros" not in capfd.readouterr().err
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    load_model(config(folder))
    told = " ".join(capfd.readouterr().err.split())
    assert "of the model's matrices are nothing but zeros (model.layers." in told


def test_weights_that_the_configuration_has_no_place_for_are_told(folder: Path, capfd: pytest.CaptureFixture[str]):
    edit_config(folder, num_hidden_layers=1, layer_types=None)
    load_model(config(folder))
    told = " ".join(capfd.readouterr().err.split())
    assert "no place for 9 of the weights" in told
    assert "left out (model.layers.1.input_layernorm.weight, " in told


def test_weights_that_the_family_leaves_out_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    settings = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "head_dim": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    model = Glm4MoeForCausalLM(Glm4MoeConfig(**settings))
    patterns = [r"model\.layers\.1.*", r"model\.layers\.2.*"]
    model.save_pretrained(tmp_path)
    edit_weights(tmp_path, lambda weights: weights.update({"model.layers.2.eh_proj.weight": torch.zeros(2, 2)}))
    with pytest.MonkeyPatch.context() as patch:
        # Those of the real sizes: layers 46 and 92.
        patch.setattr(Glm4MoeForCausalLM, "_keys_to_ignore_on_load_unexpected", patterns)
        load_model(config(tmp_path))
    told = " ".join(capfd.readouterr().err.split())
    assert "leaves out 1 weights of the model's files (model.layers.2.eh_proj.weight): layers that" in told


def test_weights_of_another_size(folder: Path):
    edit_config(folder, vocab_size=300)
    problem = "1 weights have another shape than config.json says, such as model.embed_tokens.weight: "
    with pytest.raises(InputError, match=problem + r"\[259, 32\] in the file, \[300, 32\] by config.json"):
        load_model(config(folder))


def test_a_head_of_its_own_is_told_in_the_configuration(folder: Path, tmp_path: Path):
    edit_weights(folder, lambda weights: weights.update({"lm_head.weight": 2 * weights["model.embed_tokens.weight"]}))
    model = load_model(config(folder))
    assert torch.equal(model.lm_head.weight, 2 * model.model.embed_tokens.weight)
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_head_that_is_the_embedding_stays_so(folder: Path):
    assert load_model(config(folder)).config.tie_word_embeddings is True


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["LlamaForSequenceClassification"]},
        {"architectures": ["BertForMaskedLM"], "model_type": "bert"},
        {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True},
    ],
)
def test_only_causal_language_models(folder: Path, changes: dict[str, object]):
    edit_config(folder, **changes)
    with pytest.raises(InputError, match=f"this is a {changes['architectures'][0]}, not a causal language model"):
        load_model(config(folder))


def test_unknown_architecture(folder: Path):
    edit_config(folder, model_type="perpetuum-mobile")
    with pytest.raises(InputError, match="perpetuum-mobile"):
        load_model(config(folder))


def test_foreign_code_needs_consent(folder: Path):
    edit_config(folder, model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    (folder / "own.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InputError, match="trust_remote_code: true"):
        load_model(config(folder))


def test_missing_tokenizer(folder: Path):
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(InputError, match="tokenizer") as error:
        load_tokenizer(config(folder))
    assert "tokenizer.save_pretrained" in str(error.value)


def test_missing_device(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no cuda device"):
        load_model(ModelConfig(name=str(folder), device="cuda"))


def test_fingerprint_is_that_of_the_content(folder: Path, tiny_folder: Path):
    assert fingerprint(str(folder)) == fingerprint(str(tiny_folder))
    save_tiny(folder, seed=1)
    assert fingerprint(str(folder)) != fingerprint(str(tiny_folder))


def test_fingerprint_sees_one_changed_weight(folder: Path):
    before = fingerprint(str(folder))
    edit_weights(folder, lambda weights: weights["model.norm.weight"][3:4].add_(1e-6))
    after = fingerprint(str(folder))
    edit_config(folder, rms_norm_eps=1e-5)
    assert len({before, after, fingerprint(str(folder))}) == 3


def sees_a_byte(digest: Callable[[str], str], folder: Path, position: int) -> bool:
    """Whether a digest of a folder changes with one byte of a large file of weights."""
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(_LARGE))
    before = digest(str(folder))
    with weights.open("r+b") as file:
        file.seek(position)
        file.write(b"\1")
    return digest(str(folder)) != before


@pytest.mark.parametrize("position", [0, 1 << 20, _LARGE - 1])
def test_fingerprint_reads_the_ends_of_a_large_file(folder: Path, position: int):
    seen = position < 1 << 20 or position >= _LARGE - (1 << 20)
    assert sees_a_byte(fingerprint, folder, position) == seen


@pytest.mark.parametrize("position", [0, 1 << 20, _LARGE - 1])
def test_the_digest_of_the_content_reads_all_of_a_large_file(folder: Path, position: int):
    assert sees_a_byte(content_digest, folder, position)


def test_the_digest_of_the_content_is_that_of_model_and_tokenizer(folder: Path, tiny_folder: Path):
    (folder / "README.md").write_text("Read me.")
    assert content_digest(str(folder)) == content_digest(str(tiny_folder))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert content_digest(str(folder)) != content_digest(str(tiny_folder))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"architectures": 7}),
        ("config.json", {"architectures": [None]}),
        ("config.json", {"hidden_size": "x"}),
        ("config.json", {"hidden_act": "x"}),
        ("config.json", {"quantization_config": -1}),
        ("config.json", {"model_type": []}),
        ("config.json", {"auto_map": None}),
        ("config.json", {"pad_token_id": 2**60}),
        ("config.json", {"num_hidden_layers": 2**60}),
        ("config.json", {"text_config": {"n_layer": 10**30}}),
        ("config.json", {"num_labels": 2**60}),
        ("tokenizer_config.json", {"added_tokens_decoder": 7}),
        ("tokenizer_config.json", {"tokenizer_class": {}}),
        ("tokenizer_config.json", {"model_input_names": None}),
        ("tokenizer_config.json", {"model_input_names": -1}),
        ("generation_config.json", {"watermarking_config": "x"}),
        ("generation_config.json", {"eos_token_id": "x"}),
        ("generation_config.json", {"eos_token_id": [2, None]}),
        ("generation_config.json", {"eos_token_id": -1}),
        ("generation_config.json", {"eos_token_id": 10**30}),
    ],
    ids=str,
)
def test_files_of_a_model_that_are_none_are_said(folder: Path, name: str, values: dict[str, object]) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))

    def load() -> None:
        load_tokenizer(config(folder))
        end_ids(config(folder))
        load_model(config(folder))

    with pytest.raises(InputError) as caught:
        load()
    assert name in str(caught.value) or str(folder) in str(caught.value.where)
    assert caught.value.fix


def test_threads_that_load_at_once_leave_the_process_as_it_was(tiny_folder: Path) -> None:
    config, before = ModelConfig(name=str(tiny_folder), device="cpu"), torch.get_default_dtype()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: load_model(config), range(16)))
    for model in (*models, load_model(config)):
        torch.testing.assert_close(model.lm_head.weight, models[0].lm_head.weight, rtol=0, atol=0)
    assert torch.get_default_dtype() == before
