"""One model in memory that becomes any saved policy, exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparring.digests import DamagedError
from sparring.errors import RunError
from sparring.logprobs import sequence_log_probs
from sparring.models import ModelConfig
from sparring.selfplay.policy import Policy
from tiny import move, save_tiny, tiny_model, tiny_tokenizer

PROMPTS = [[1, 40, 50], [1, 41]]
RESPONSES = [[[60, 61, 2], [62]], [[63, 2]]]
LORA = {"r": 4, "lora_alpha": 8}
Build = Callable[..., Policy]


@pytest.fixture
def build(tiny_folder: Path) -> Build:
    def make(lora: Mapping[str, Any] | None, **kwargs: Any) -> Policy:
        config = ModelConfig(name=str(tiny_folder), device="cpu")
        return Policy(config, tiny_tokenizer(), lora=lora, seed=3, **kwargs)

    return make


def scores(policy: Policy) -> list[list[float]]:
    return [[tokens.sum().item() for tokens in answers] for answers in policy.log_probs(PROMPTS, RESPONSES)]


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_every_policy_comes_back_exactly(build: Build, lora: Any, tmp_path: Path) -> None:
    policy = build(lora)
    known: dict[Path | None, list[list[float]]] = {None: scores(policy)}
    for number in range(2):
        policy.start_training(max(known, key=str) if number else None)
        move(policy.model, number)
        folder = tmp_path / f"{number}" / "model"
        known[folder] = scores(policy)
        policy.save(folder)
    assert len({str(value) for value in known.values()}) == 3
    first, second = (folder for folder in known if folder is not None)
    for folder in (first, None, second, second, first, None):
        policy.activate(folder)
        assert scores(policy) == known[folder]


@pytest.mark.parametrize("lora", [None, LORA, LORA | {"init_lora_weights": "gaussian"}, LORA | {"use_dora": True}])
def test_the_base_is_the_model_itself(build: Build, lora: Any, tmp_path: Path, tiny_folder: Path) -> None:
    policy = build(lora)
    with torch.no_grad():
        base = [values.tolist() for values in sequence_log_probs(tiny_model(), PROMPTS, RESPONSES)]
    exact = pytest.approx([value for values in base for value in values], abs=1e-5 if lora else 0.0)
    assert [value for values in scores(policy) for value in values] == exact
    policy.start_training(None)
    move(policy.model, 0)
    assert [value for values in scores(policy) for value in values] != exact
    policy.save(tmp_path / "model")
    policy.activate(None)
    assert [value for values in scores(policy) for value in values] == exact


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_a_model_in_training_is_none_of_the_policies(build: Build, lora: Any, tmp_path: Path) -> None:
    """Activating where training started must undo what training did, as after a failed stage."""
    policy = build(lora)
    before = scores(policy)
    policy.start_training(None)
    move(policy.model, 0)
    policy.activate(None)
    assert scores(policy) == before


def test_the_initial_adapter_depends_on_the_seed_and_leaves_chance_alone(tiny_folder: Path) -> None:
    def initial(seed: int) -> torch.Tensor:
        policy = Policy(ModelConfig(name=str(tiny_folder), device="cpu"), tiny_tokenizer(), lora=LORA, seed=seed)
        return torch.cat([value.flatten() for name, value in policy.model.named_parameters() if "lora_A" in name])

    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = initial(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(initial(0), one)
    assert not torch.equal(initial(1), one)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_it_gives_way_to_another_model_and_comes_back_exactly(build: Build, lora: Any, tmp_path: Path) -> None:
    other = ModelConfig(name=str(save_tiny(tmp_path / "other", seed=9)), device="cpu")
    policy = build(lora)
    base = scores(policy)
    policy.start_training(None)
    move(policy.model, 0)
    policy.save(tmp_path / "model")
    trained = scores(policy)
    policy.activate_other(other)
    with torch.no_grad():
        expected = [values.tolist() for values in sequence_log_probs(tiny_model(seed=9), PROMPTS, RESPONSES)]
    assert scores(policy) == expected
    with pytest.raises(ValueError, match="not the run's"):
        _ = policy.folder
    policy.activate(tmp_path / "model")
    assert scores(policy) == trained
    policy.activate_other(other)
    policy.activate(None)
    assert scores(policy) == base
    assert policy.has_adapter == (lora is not None)


def test_there_are_never_two_models(build: Build, tmp_path: Path) -> None:
    """Full weights: the old model is let go before the next is loaded."""
    import gc
    import weakref

    from sparring.selfplay import policy as module

    policy = build(None)
    policy.save(tmp_path / "model")
    move(policy.model, 0)
    policy.save(tmp_path / "other")
    old = weakref.ref(policy.model)
    alive: list[bool] = []
    load = module.load_model

    def spy(config: ModelConfig) -> Any:
        alive.append(old() is not None)
        return load(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_model", spy)
        policy.activate(tmp_path / "model")
        policy.activate(tmp_path / "model")
    gc.collect()
    assert alive == [False]


VARIANTS = {
    "full": None,
    "lora": LORA,
    "dora": LORA | {"use_dora": True},
    "whole module": LORA | {"target_modules": ["q_proj"], "modules_to_save": ["up_proj"]},
}


@pytest.mark.parametrize("lora", VARIANTS.values(), ids=VARIANTS)
def test_the_base_beside_the_policy(build: Build, lora: Any, tmp_path: Path, tiny_folder: Path) -> None:
    """Its logits are the base model's to the bit, and the policy neither notices nor keeps anything of it."""
    policy = build(lora)
    policy.start_training(None)
    move(policy.model, 0)
    policy.save(tmp_path / "model")
    before, trained = scores(policy), [weight.requires_grad for weight in policy.model.parameters()]
    ids = torch.tensor([[1, 40, 50, 60]])
    with torch.no_grad(), policy.base_forward() as base:
        own = policy.causal_lm(input_ids=ids).logits
        logits = base(input_ids=ids).logits
        assert torch.equal(policy.causal_lm(input_ids=ids).logits, own)
    with torch.no_grad():
        assert torch.equal(logits, tiny_model()(input_ids=ids).logits)
    assert not torch.allclose(logits, own, atol=1e-2)
    assert scores(policy) == before
    assert [weight.requires_grad for weight in policy.model.parameters()] == trained


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_a_whole_model_takes_the_weights_that_were_gathered(build: Build, lora: Any, tmp_path: Path) -> None:
    policy = build(lora)
    move(policy.model, 0)
    trained = {
        name: weight.detach().clone() for name, weight in policy.model.named_parameters() if weight.requires_grad
    }
    expected = scores(policy)
    policy.replace_sharded(trained)
    policy.save(tmp_path / "model")
    assert scores(policy) == expected
    lost = min(trained)
    with pytest.raises(RunError, match=f"did not give the weights {lost}, which it trained"):
        policy.replace_sharded({name: weight for name, weight in trained.items() if name != lost})
    with pytest.raises(RunError, match=r"weights that the model does not have: no\.such"):
        policy.replace_sharded(trained | {"no.such": trained[lost]})


def test_tied_weights_may_come_under_either_name(build: Build) -> None:
    policy = build(None)
    names = [name for name, _ in policy.model.named_parameters(remove_duplicate=False)]
    tied = set(names) - {name for name, _ in policy.model.named_parameters()}
    assert tied == {"lm_head.weight"}
    weights = policy.model.state_dict()
    policy.replace_sharded({name: weight for name, weight in weights.items() if name != "model.embed_tokens.weight"})
    with pytest.raises(RunError, match="embed_tokens"):
        policy.replace_sharded({name: weight for name, weight in weights.items() if "norm" in name or "layers" in name})


def test_with_an_adapter_the_base_needs_no_second_model(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = build(LORA)
    monkeypatch.setattr("sparring.selfplay.policy.load_model", None)
    with policy.base_forward() as base, torch.no_grad():
        assert base(input_ids=torch.tensor([[1]])).logits.shape == (1, 1, 259)
        with pytest.raises(ValueError, match="input_ids"):
            base(input_ids=None)
    before = scores(policy)
    move(policy.model, 0)
    assert scores(policy) != before  # the adapter is on again, even after a failure


def test_without_one_the_base_is_gone_after(build: Build) -> None:
    import gc
    import weakref

    policy = build(None)
    with policy.base_forward() as base:
        model = weakref.ref(base.__self__)
        assert model() is not policy.model
    del base
    gc.collect()
    assert model() is None


def test_a_saved_policy_is_a_complete_folder(build: Build, tmp_path: Path) -> None:
    full = build(None)
    move(full.model, 0)
    full.save(tmp_path / "full")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "full").eval()
    with torch.no_grad():
        values = [values.tolist() for values in sequence_log_probs(loaded, PROMPTS, RESPONSES)]
    assert values == scores(full)
    assert AutoTokenizer.from_pretrained(tmp_path / "full").chat_template == tiny_tokenizer().chat_template
    adapter = build(LORA)
    adapter.save(tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not any(name.startswith("model") for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "full"]


def test_only_the_adapter_is_trained(build: Build) -> None:
    policy = build(LORA)
    assert policy.has_adapter
    trained = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert policy.causal_lm is policy.model.get_base_model()
    full = build(None)
    assert not full.has_adapter
    assert full.causal_lm is full.model
    assert all(weight.requires_grad for weight in full.model.parameters())


def test_scoring_runs_in_the_dtype_of_training(build: Build) -> None:
    plain, mixed = build(None), build(None, autocast=torch.bfloat16)
    dtypes: list[torch.dtype] = []
    mixed.model.get_decoder().layers[0].mlp.register_forward_hook(lambda *args: dtypes.append(args[2].dtype))
    exact, rounded = scores(plain), scores(mixed)
    assert set(dtypes) == {torch.bfloat16}
    for one, other in zip(exact, rounded, strict=True):
        assert one != other
        assert one == pytest.approx(other, abs=0.5)


def test_log_probs_are_those_of_evaluation_mode_without_a_gradient(tiny_folder: Path) -> None:
    policy = Policy(
        ModelConfig(name=str(tiny_folder), device="cpu"), tiny_tokenizer(), lora=LORA | {"lora_dropout": 0.5}, seed=0
    )
    move(policy.model, 0)
    policy.model.train()
    assert scores(policy) == scores(policy)
    assert not policy.model.training


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_a_damaged_policy_is_not_played(build: Build, lora: Any, tmp_path: Path) -> None:
    policy, folder = build(lora), tmp_path / "model"
    policy.save(folder)
    weights = next(folder.glob("*.safetensors"))
    content = weights.read_bytes()
    for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:-40], b""):
        weights.write_bytes(damaged)
        policy = build(lora)
        with pytest.raises(DamagedError, match="its sha256 is another") as caught:
            policy.activate(folder)
        assert caught.value.where == str(weights)
        assert f"remove {folder} and run `sparring resume RUN`" in str(caught.value.fix)
    weights.write_bytes(content)
    (folder / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(DamagedError, match="put there after"):
        build(lora).activate(folder)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_a_trained_weight_that_is_no_number_is_found(build: Build, lora: Any) -> None:
    policy = build(lora)
    assert policy.broken_weight() is None
    name, weight = next((name, each) for name, each in policy.model.named_parameters() if each.requires_grad)
    with torch.no_grad():
        weight.view(-1)[-1] = torch.nan
    assert policy.broken_weight() == name
