"""Nothing but safetensors of the folder itself is read, and every file that is read has a part in the digests."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sparring.errors import InputError
from sparring.models import ModelConfig, content_digest, fingerprint, load_encoder, load_model, load_reward_model
from sparring.models.loading import load_adapter

INDEX = "model.safetensors.index.json"
LOADS: tuple[Callable[[ModelConfig], object], ...] = (load_model, load_reward_model, load_encoder)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    """A model in one shard that an index names; beside it a pickle that would leave a mark."""
    path = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    (path / "model.safetensors").rename(path / "model-00001-of-00001.safetensors")
    index(path, "model-00001-of-00001.safetensors")
    for place in (path / "pytorch_model.bin", tmp_path / "outside.safetensors"):
        place.write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    return path


def index(folder: Path, *names: str) -> None:
    weights = load_file(folder / "model-00001-of-00001.safetensors")
    files = {name: names[number % len(names)] for number, name in enumerate(weights)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))


def config(folder: Path) -> ModelConfig:
    return ModelConfig(name=str(folder), device="cpu")


def test_shards_are_read(folder: Path, tiny_folder: Path) -> None:
    one, other = load_model(config(folder)), load_model(config(tiny_folder))
    assert torch.equal(one.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "no safetensors"),
        ("../outside.safetensors", "outside the folder"),
        ("model-00002-of-00002.safetensors", "is missing"),
        ("/outside.safetensors", "outside the folder"),
    ],
)
def test_an_index_may_name_only_safetensors_of_its_folder(folder: Path, name: str, words: str) -> None:
    index(folder, "model-00001-of-00001.safetensors", name)
    for load in (*LOADS, lambda each: fingerprint(each.name), lambda each: content_digest(each.name)):
        with pytest.raises(InputError, match=words) as caught:
            load(config(folder))
        assert name in str(caught.value)
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', "[" * 9999])
def test_an_index_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(InputError) as caught:
        load_model(config(folder))
    assert INDEX in str(caught.value.where)


def test_a_link_out_of_the_folder_is_refused_and_a_hub_snapshot_is_not(folder: Path, tmp_path: Path) -> None:
    file = folder / "model-00001-of-00001.safetensors"
    blobs = tmp_path / "hub" / "blobs"
    blobs.mkdir(parents=True)
    file.rename(blobs / "abc")
    file.symlink_to(blobs / "abc")
    with pytest.raises(InputError, match="a link to a file outside the folder") as caught:
        load_model(config(folder))
    assert caught.value.where == str(file)
    snapshot = tmp_path / "hub" / "snapshots" / "main"
    shutil.copytree(folder, snapshot, symlinks=True)
    assert load_model(config(snapshot)).config.hidden_size == 32


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../outside.safetensors", "pytorch_model.bin.index.json"])
def test_a_configuration_may_name_only_safetensors_of_its_folder(folder: Path, name: str) -> None:
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"transformers_weights": name}))
    with pytest.raises(InputError, match=r"no safetensors|outside the folder"):
        load_model(config(folder))
    assert not (folder.parent / "ran").exists()


def test_an_adapter_beside_a_model_is_not_loaded_into_it(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "."}))
    (folder / "adapter_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes())
    for load in LOADS:
        with pytest.raises(InputError, match="a model and an adapter"):
            load(config(folder))
    assert not (folder.parent / "ran").exists()


def test_an_adapter_is_read_from_safetensors_alone(tmp_path: Path) -> None:
    like = {"a.lora_A.weight": torch.ones(2, 3)}
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(InputError, match="the adapter cannot be read"):
        load_adapter(tmp_path, like=like)
    assert not (tmp_path / "ran").exists()
    for wrong in ({}, {"a.lora_A.weight": torch.ones(3, 2)}, like | {"b": torch.ones(1)}):
        save_file(wrong, tmp_path / "adapter_model.safetensors")
        with pytest.raises(InputError, match="another adapter"):
            load_adapter(tmp_path, like=like)
    save_file({"a.lora_A.weight": torch.full((2, 3), torch.nan)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"'a.lora_A.weight' has values that are no finite"):
        load_adapter(tmp_path, like=like)
    save_file(like, tmp_path / "adapter_model.safetensors")
    assert torch.equal(load_adapter(tmp_path, like=like)["a.lora_A.weight"], torch.ones(2, 3))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_no_number_is_named(folder: Path, value: float) -> None:
    file = folder / "model-00001-of-00001.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][7] = value
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"'model\.norm\.weight' has values that are no finite numbers"):
        load_model(config(folder))


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", INDEX, "modeling.py"]
)
def test_every_file_that_is_read_has_a_part_in_the_digests(folder: Path, name: str) -> None:
    (folder / "modeling.py").write_text("# The model's own code.\n")
    before = fingerprint(str(folder)), content_digest(str(folder))
    with (folder / name).open("a") as file:
        file.write("\n")
    assert not set(before) & {fingerprint(str(folder)), content_digest(str(folder))}
