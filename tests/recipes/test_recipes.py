"""Every recipe is a configuration that a run accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from sparring.errors import InputError
from sparring.models.lora import lora_config
from sparring.recipes import find, recipes
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.phases import phases_of
from sparring.trainer.arguments import training_arguments

# What a person must say themselves.
ALSO = {"auto": ["data.source=mine.jsonl"]}
# What its authors published is kept, and its first line warns.
UNSTABLE = {"spin-7b"}


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_is_a_valid_configuration(name: str, tmp_path: Path) -> None:
    config = SelfPlayConfig.from_yaml(find(name), ALSO.get(name, []))
    for phase in phases_of(config):
        training_arguments(phase.config.training, output=tmp_path, seed=config.seed, device="cpu")
        stability = phase.objective.stability
        stable = stability is None or stability.verdict.startswith("converges")
        assert stable == (name not in UNSTABLE), "a vetted setting is a stable one"
    if config.warmup is not None:
        training_arguments(config.warmup.fields(config.training), output=tmp_path, seed=0, device="cpu")
    if config.lora is not None:
        lora_config(config.lora)


@pytest.mark.parametrize("name", [name for name in recipes() if re.search(r"-\d+b$", name)])
def test_a_recipe_of_a_paper_says_where_its_numbers_are_from_and_that_it_was_not_run(name: str) -> None:
    head, body = find(name).read_text(encoding="utf-8").split("\noutput:")
    assert "Not run by us." in head
    assert "github.com/" in head or "released scripts" in head
    assert set(re.findall(r"\[[A-Z]\]", body)) <= set(re.findall(r"\[[A-Z]\]", head))


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_says_first_what_it_is(name: str) -> None:
    first = find(name).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert recipes()[name] == first.removeprefix("# ")
    assert len(recipes()[name]) > 20


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_survives_being_written_out(name: str, tmp_path: Path) -> None:
    config = SelfPlayConfig.from_yaml(find(name), ALSO.get(name, []))
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert SelfPlayConfig.from_yaml(path) == config
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["stop"]["enabled"] is True


def test_the_quickstart_is_there() -> None:
    assert "quickstart" in recipes()


def test_a_file_goes_before_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("quickstart").parent.name == "recipes"
    Path("quickstart").write_text("mine")
    assert find("quickstart").read_text() == "mine"


@pytest.mark.parametrize("name", ["quikstart", "quickstart.yaml", "none/quickstart"])
def test_what_is_neither_gets_a_suggestion(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file, and no recipe of that name") as caught:
        find(name)
    assert caught.value.where == name
    assert caught.value.fix is not None
    assert "quickstart" in caught.value.fix
