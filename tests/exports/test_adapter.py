"""The adapter of a policy, exported alone, as peft loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sparring import SelfPlayConfig, run
from sparring.cli.models import export_command
from sparring.errors import InputError
from sparring.exports.adapter import AdapterBase
from sparring.exports.policy import load_policy
from sparring.models import ModelConfig
from tiny import save_tiny

POLICY = "iterations/000"


def played(model: Path, folder: Path, **sections: Any) -> Path:
    settings = {
        "output": str(folder / "run"),
        "iterations": 1,
        "model": {"name": str(model), "dtype": "bfloat16"},
        "data": {"source": "arithmetic", "limit": 4, "held_out": 0, "max_response_tokens": 8},
        "objective": {"name": "sft"},
        "training": {"learning_rate": 1e-1},
        "stop": {"enabled": False},
        "reuse": False,
    }
    return run(SelfPlayConfig.model_validate(settings | sections)).directory


def test_it_is_loaded_by_peft_on_the_base_that_its_card_names(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, to = played(tiny_folder, tmp_path, lora={"r": 2}), tmp_path / "mine"
    export_command(source, to, POLICY, adapter=True, trust_remote_code=False, as_json=False)
    held = f"The adapter belongs on {tiny_folder.name} in bfloat16: on a base held otherwise it is another model."
    assert held in " ".join(capsys.readouterr().out.split())

    assert PeftConfig.from_pretrained(to).base_model_name_or_path == tiny_folder.name
    assert not any(
        str(tiny_folder.parent) in file.read_text("utf-8") for file in (to / "README.md", *to.glob("*.json"))
    )
    card = ModelCard.load(to / "README.md")
    assert (card.data.library_name, card.data.tags) == ("peft", ["sparring", "lora", "sft"])
    assert f'AutoModelForCausalLM.from_pretrained("{tiny_folder.name}", dtype=torch.bfloat16)' in card.text
    assert held in card.text
    assert "`sparring export RUN FOLDER --policy base` writes it" in card.text

    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.bfloat16)
    adapted = PeftModel.from_pretrained(base, to).eval()
    prompt = AutoTokenizer.from_pretrained(to)("1 + 2", return_tensors="pt")
    _, policy = load_policy(source, POLICY)
    with torch.no_grad():
        logits, played_by = adapted(**prompt).logits, policy.causal_lm(**prompt).logits
        with adapted.disable_adapter():
            assert not torch.equal(logits, adapted(**prompt).logits)
    torch.testing.assert_close(logits, played_by, rtol=0, atol=0)


def test_the_base_is_told_to_programs_as_well(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = played(tiny_folder, tmp_path, lora={"r": 2})
    capsys.readouterr()
    export_command(source, tmp_path / "mine", POLICY, adapter=True, trust_remote_code=False, as_json=True)
    told = {"name": tiny_folder.name, "revision": None, "dtype": "bfloat16", "quantization": None, "stop_ids": []}
    assert json.loads(capsys.readouterr().out)["base"] == told
    with pytest.raises(InputError, match="--adapter: the base model has no adapter"):
        export_command(source, tmp_path / "base", "base", adapter=True, trust_remote_code=False, as_json=True)
    with pytest.raises(InputError, match="--dtype: an adapter is written as it was trained"):
        export_command(
            source, tmp_path / "a", POLICY, adapter=True, dtype="float32", trust_remote_code=False, as_json=True
        )


def test_it_says_where_to_stop_where_the_base_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = save_tiny(tmp_path / "model")
    for name in ("config.json", "generation_config.json"):
        (base / name).write_text(json.dumps(json.loads((base / name).read_text()) | {"eos_token_id": 0}))
    source, to = played(base, tmp_path, lora={"r": 2}), tmp_path / "mine"
    capsys.readouterr()
    export_command(source, to, POLICY, adapter=True, trust_remote_code=False, as_json=False)
    told = "It ends a response with another token than the base: `generate` needs eos_token_id=[0, 2]"
    assert told in " ".join(capsys.readouterr().out.split())
    card = (to / "README.md").read_text("utf-8")
    assert told in card
    assert "max_new_tokens=256, eos_token_id=[0, 2])" in card


def test_a_run_without_adapters_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    source = played(tiny_folder, tmp_path)
    with pytest.raises(InputError, match="--adapter: the run trained all weights"):
        export_command(source, tmp_path / "mine", POLICY, adapter=True, trust_remote_code=False, as_json=True)
    assert not (tmp_path / "mine").exists()


def test_a_base_is_called_what_others_can_find(tiny_folder: Path) -> None:
    hub = AdapterBase("owner/tiny", "v1", "float32", "nf4", stop_ids=())
    assert "owner/tiny in float32, its linear layers quantised (nf4)" in str(hub)
    assert AdapterBase.of(ModelConfig(name=str(tiny_folder), dtype="auto"), [2]).dtype == "float32"
