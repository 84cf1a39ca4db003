"""Runs of models that are not like the others: right, or refused in words before anything is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from families import build
from sparring.errors import InputError
from sparring.files import read_json
from sparring.selfplay.loop import run
from sparring.selfplay.prepared import prepare
from tiny import tiny_model, tiny_tokenizer

SMALL: dict[str, Any] = {
    "data": {"source": "arithmetic", "limit": 3, "held_out": 2, "max_response_tokens": 4},
    "generation": {"batch_size": 4, "samples_per_prompt": 2},
    "training": {"learning_rate": 1e-3, "max_steps": 1},
    "iterations": 1,
}


def saved(model: Any, folder: Path, tokenizer: Any = None) -> Path:
    model.save_pretrained(folder)
    (tokenizer or tiny_tokenizer()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("mamba", {"lora": {"r": 2}}),
        ("mamba", {"opponent": {"name": "geometric-mixture", "samples": "mixture"}}),
        ("rwkv", {"opponent": {"name": "geometric-mixture", "samples": "mixture"}, "lora": {"r": 2}}),
        ("electra", {}),
        ("gpt-oss", {"lora": {"r": 2, "target_parameters": ["experts.down_proj"]}}),
    ],
    ids=str,
)
def test_a_run_of_an_unusual_model(family: str, fields: dict[str, Any], tmp_path: Path) -> None:
    folder = saved(build(family, vocab_size=259, max_position_embeddings=512), tmp_path / "model")
    result = run(a_config(folder, tmp_path / "run", **(SMALL | fields)))
    assert read_json(result.directory / "result.json")["best"]


def test_what_lora_reaches_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(build("mamba", vocab_size=259), tmp_path / "model")
    run(a_config(folder, tmp_path / "run", **SMALL, lora={"r": 2}))
    told = " ".join(capsys.readouterr().err.split())
    assert "LoRA trains" in told
    assert "left out, since peft cannot adapt them: mixer.dt_proj, mixer.out_proj, mixer.x_proj" in told


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
def test_an_adapter_on_a_tied_end_is_refused_without_the_weights(name: str, tmp_path: Path) -> None:
    folder = saved(tiny_model(), tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"^lora\.target_modules: an adapter on .* several parts of the model share"):
        prepare(a_config(folder, tmp_path / "run", **SMALL, lora={"target_modules": ["q_proj", name]}))


def test_tokens_beyond_the_embedding_are_refused_without_the_weights(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<turn>"], special_tokens=True)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "<turn>")
    folder = saved(tiny_model(), tmp_path / "model", tokenizer)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"260 tokens .* 259 rows.*'<turn>' \(259\)"):
        prepare(a_config(folder, tmp_path / "run", **SMALL))
    # One that nothing uses is no problem.
    tokenizer.chat_template = tiny_tokenizer().chat_template
    tokenizer.save_pretrained(folder)
    prepare(a_config(folder, tmp_path / "run", **SMALL))


def test_a_model_that_looks_ahead_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    folder = saved(build("electra", vocab_size=259, is_decoder=False), tmp_path / "model")
    with pytest.raises(InputError, match="depends on the tokens that follow it"):
        run(a_config(folder, tmp_path / "run", **SMALL))
    assert not list((tmp_path / "run").glob("**/*.parquet"))
