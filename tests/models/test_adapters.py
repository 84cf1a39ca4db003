"""LoRA: what it reaches is told, what would not be exported or would do nothing is refused; the rest is exact."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from families import PROMPTS, RESPONSES, build
from sparring.errors import InputError
from sparring.logprobs import sequence_log_probs
from sparring.models.adapters import Adapter, adapter_of
from tiny import tiny_model

LINEAR = ["q_proj", "v_proj"]
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]


def lora(**fields: Any) -> LoraConfig:
    return LoraConfig(**({"r": 4, "target_modules": "all-linear"} | fields), task_type="CAUSAL_LM")


def shares(adapter: Adapter) -> dict[str, float]:
    return {share.kind: share.reached / share.weights for share in adapter.shares if share.weights}


def log_probs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(sequence_log_probs(model, PROMPTS, RESPONSES))


def trained(model: Any, config: LoraConfig) -> Any:
    """With an adapter as it fits, moved away from where it changes nothing."""
    with torch.random.fork_rng(), warnings.catch_warnings(), torch.no_grad():
        # Peft warns of names that its own conversion left without a match.
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        wrapped = get_peft_model(model, adapter_of(model.config, config).config).eval()
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    return wrapped


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {}),
        ("llama", {"target_modules": [*LINEAR, "embed_tokens", "lm_head"]}),
        ("qwen3-moe", {}),
        ("qwen3-moe", {"target_modules": [], "target_parameters": EXPERTS}),
        ("gpt-oss", {"target_parameters": EXPERTS}),
        ("deepseek-v32", {"target_parameters": ["mlp.down_proj.weight", "shared_experts.down_proj.weight"]}),
        ("mamba", {}),
        ("lfm2", {}),
        ("qwen3-next", {}),
        ("llama4-text", {}),
        ("rwkv", {}),
        ("electra", {}),
    ],
    ids=str,
)
def test_what_is_trained_is_exported(family: str, fields: dict[str, Any], tmp_path: Path) -> None:
    model = build(family)
    before = log_probs(model)
    policy = trained(build(family), lora(**fields))
    of_policy = log_probs(policy)
    assert (of_policy - before).abs().max() > 0.05
    policy.merge_and_unload().save_pretrained(tmp_path)
    of_export = log_probs(AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    torch.testing.assert_close(of_export, of_policy, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target_modules": LINEAR, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"target_modules": LINEAR, "trainable_token_indices": [3, 5, 9]},
    ],
    ids=str,
)
def test_a_tied_model_is_exact_where_its_embedding_is_copied_or_left_alone(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    policy = trained(tiny_model(), lora(**fields))
    of_policy = log_probs(policy)
    policy.merge_and_unload().save_pretrained(tmp_path)
    of_export = log_probs(AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    torch.testing.assert_close(of_export, of_policy, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("names", [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]], ids=str)
@pytest.mark.parametrize("tying", [False, True])
def test_an_adapter_on_a_tied_embedding_or_head_is_refused(names: list[str], tying: bool) -> None:
    config = lora(target_modules=[*LINEAR, *names], ensure_weight_tying=tying)
    with pytest.raises(
        InputError, match=r"^lora\.target_modules: an adapter on '(model\.embed_tokens|lm_head)'"
    ) as caught:
        adapter_of(tiny_model().config, config)
    assert "lm_head.weight" in str(caught.value)
    assert "modules_to_save" in str(caught.value)


def test_an_untied_embedding_is_reached() -> None:
    config = tiny_model(tie_word_embeddings=False).config
    known = adapter_of(config, lora(target_modules=[*LINEAR, "embed_tokens"]))
    assert shares(known)["embedding"] == 1.0
    assert shares(known)["head"] == 0.0
    copied = adapter_of(config, lora(target_modules=LINEAR, modules_to_save=["lm_head"]))
    assert shares(copied)["head"] == 1.0
    assert copied.trained > config.vocab_size * config.hidden_size


def test_copies_of_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"^lora\.layer_replication: copies of layers share their weights"):
        adapter_of(tiny_model().config, lora(layer_replication=[[0, 2], [1, 2]]))


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        # A Llama's layers have no bias, and a GPT-2's have.
        ("llama", {"lora_bias": True}),
        ("llama", {"alora_invocation_tokens": [5, 6]}),
        ("gpt2", {"alora_invocation_tokens": [5, 6], "fan_in_fan_out": True}),
    ],
    ids=str,
)
def test_what_could_not_be_exported_is_refused_before_it_is_trained(family: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^lora: what is trained so cannot be merged into this model") as caught:
        adapter_of(build(family).config, lora(**fields))
    assert next(iter(fields)).split("_")[0] in str(caught.value).lower()


def test_a_bias_beside_a_bias_is_exported(tmp_path: Path) -> None:
    config = lora(lora_bias=True, fan_in_fan_out=True)
    assert adapter_of(build("gpt2").config, config).trained
    policy = trained(build("gpt2"), config)
    of_policy = log_probs(policy)
    policy.merge_and_unload().save_pretrained(tmp_path)
    of_export = log_probs(AutoModelForCausalLM.from_pretrained(tmp_path).eval())
    torch.testing.assert_close(of_export, of_policy, rtol=0.0, atol=1e-4)


def test_a_plain_model_is_reached_but_for_its_ends() -> None:
    known = adapter_of(build("llama").config, lora())
    assert shares(known) == {"attention": 1.0, "MLP": 1.0, "embedding": 0.0, "head": 0.0}
    assert known.left_out == known.parameters == ()
    assert known.told().startswith(
        "LoRA trains 3,712 numbers; it reaches all attention, all MLP, no embedding (where 14 % of"
    )
    # Read off peft's own adapter.
    assert known.trained == sum(w.numel() for w in trained(build("llama"), lora()).parameters() if w.requires_grad)


def test_experts_that_are_left_out_are_told_and_can_be_named() -> None:
    known = adapter_of(build("gpt-oss").config, lora())
    assert shares(known)["experts"] == 0.0
    assert "no experts (where 75 % of the weights are)" in known.told()
    assert "set lora.target_parameters: [experts.down_proj, experts.gate_up_proj]" in known.told()
    named = adapter_of(build("gpt-oss").config, lora(target_parameters=list(known.parameters)))
    assert shares(named)["experts"] > 0.95  # all but their biases
    # Here peft takes the experts itself, and then passes by what is called as they are.
    sparse = adapter_of(build("deepseek-v32").config, lora())
    assert shares(sparse)["experts"] == 1.0
    assert shares(sparse)["shared experts"] == shares(sparse)["MLP"] == 0.0
    assert "shared_experts.down_proj.weight" in sparse.parameters


def test_layers_whose_weight_is_read_past_an_adapter_are_left_out_or_refused() -> None:
    """Mamba multiplies by the weight of `dt_proj` itself: an adapter there does nothing, until it is merged."""
    config = build("mamba").config
    known = adapter_of(config, lora())
    assert known.left_out == ("mixer.dt_proj", "mixer.out_proj", "mixer.x_proj")
    assert "left out, since peft cannot adapt them: mixer.dt_proj, mixer.out_proj, mixer.x_proj" in known.told()
    with pytest.raises(
        InputError, match=r"an adapter on '.*dt_proj' would not work: its model reads the weight itself"
    ):
        adapter_of(config, lora(target_modules=["in_proj", "dt_proj"]))
    named = adapter_of(config, lora(target_modules=["in_proj"]))
    assert named.left_out == ()
    # What a person leaves out stays out, in either way of saying it.
    for given in (["in_proj"], r".*\.in_proj"):
        with pytest.raises(InputError, match="peft cannot adapt this model so"):
            adapter_of(config, lora(exclude_modules=given))


def test_layers_that_are_no_products_are_left_out_or_refused() -> None:
    """Llama 4's router is a linear layer that gives two results."""
    config = build("llama4-text").config
    assert adapter_of(config, lora()).left_out == ("feed_forward.router",)
    with pytest.raises(InputError, match="would not work: it computes something else than a product"):
        adapter_of(config, lora(target_modules=["q_proj", "router"]))


@pytest.mark.parametrize(
    ("family", "fields", "where", "words"),
    [
        ("llama", {"target_parameters": ["experts.nope"]}, "lora.target_parameters", "no weight .* 'experts.nope'"),
        ("llama", {"target_modules": ["nope"]}, "lora", "not found in the base model"),
        ("llama", {"target_modules": ["q_proj", "norm"]}, "lora", "is not supported"),
        ("gpt-oss", {"target_parameters": EXPERTS, "lora_dropout": 0.1}, "lora", "does not work with lora_dropout"),
        ("mamba", {"target_modules": ["out_proj"]}, "lora", "incompatible with Mamba"),
    ],
)
def test_what_peft_rejects_is_refused_in_words(family: str, fields: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)^{where}: .*{words}"):
        adapter_of(build(family).config, lora(**fields))


def test_the_given_configuration_stays_as_it_was() -> None:
    given = lora()
    before = given.to_dict()
    adapter_of(build("qwen3-moe").config, given)
    adapter_of(build("mamba").config, given)
    assert given.to_dict() == before
