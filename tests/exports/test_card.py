"""The model card of an exported policy, read as the hub reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from reports.finished_run import write_run
from sparring.exports.card import model_card
from sparring.exports.policy import components, is_supervised
from sparring.files import read_json, write_json
from sparring.models import ModelConfig
from sparring.models.origin import Origin, origin
from sparring.reports.summary import summarize
from sparring.selfplay.config.schema import SelfPlayConfig

SETTINGS = {"objective": {"name": "spif", "beta": 0.25}}
LLAMA = {"license": "llama3.2", "license_link": "https://example.org/terms"}


def card(path: Path, *, policy: str = "iterations/000", base: Origin | None = None, **asked: Any) -> ModelCard:
    base = base or Origin(name="tiny", hub_id="owner/tiny", license=LLAMA, note="Its weights are tiny.")
    asked = {"settings": SETTINGS, "supervised": False, "chat": True, "shipped": {}} | asked
    return ModelCard(model_card(summarize(path), policy, name="mine", base=base, **asked))


def test_what_the_hub_reads(tmp_path: Path) -> None:
    data = card(write_run(tmp_path).path).data.to_dict()
    assert data == {
        "base_model": "owner/tiny",
        **LLAMA,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["sparring", "self-play", "spif"],
    }


def test_a_policy_that_was_not_measured_is_no_row_in_bold(tmp_path: Path) -> None:
    directory = write_run(tmp_path, ended=False)
    directory.iteration(1).evaluation.unlink()
    text = card(directory.path, policy="iterations/001").text
    assert "The model of this card was not measured: the run had not got so far." in text
    assert "in bold" not in text
    assert "The model of this card is in bold." in card(directory.path).text


def test_what_people_read(tmp_path: Path) -> None:
    text = card(write_run(tmp_path).path).text
    assert "# mine\n" in text
    assert "the policy after iteration 0, counted from 0 (`iterations/000` of its run)" in text
    assert "is under llama3.2 (https://example.org/terms)" in text
    assert "- data: arithmetic: 16 training examples, 8 held out\n" in text
    assert "- seed: 7\n- versions: python 3.11.7, sparring 0.1.0, torch 2.13.0\n" in text
    assert yaml.safe_load(text.split("```yaml\n")[1].split("```")[0]) == SETTINGS
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| policy | accuracy, greedy | divergence estimate |"
    assert rows[2:] == [
        "| base | 0.125 ± 0.025 | – |",
        "| warm-up | 0.500 ± 0.025 | – |",
        "| **iteration 0** | **0.750 ± 0.025** | **0.200 ± 0.025** |",
        "| iteration 1 | 0.250 ± 0.025 | 0.300 ± 0.025 |",
    ]
    limits = text.split("## Limits")[1].split("## Use")[0]
    assert "over 8 prompts" in limits
    assert "chosen among 4 by accuracy/greedy on these very prompts" in limits
    assert "stopped early: accuracy/greedy fell from 0.75 to 0.25" in limits
    assert "- Its weights are tiny.\n" in limits


def test_what_depends_on_the_policy_and_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, ended=False, data={"source": "/home/somebody/secret/rows.jsonl", "held_out": 8})
    manifest = read_json(run.manifest)
    manifest["data"]["train"]["truncated_responses"] = 3
    write_json(run.manifest, manifest)
    text = card(run.path, policy="warmup").text
    assert "the policy after the warm-up" in text
    assert "- data: rows.jsonl: " in text
    assert "secret" not in text
    assert "3 responses of the data were cut at 256 tokens" in text
    assert "The run had not ended." in text
    assert "chosen among" not in text
    assert "**warm-up**" in text
    assert "the base model itself" in card(run.path, policy="base").text


def test_a_card_tells_of_every_run_that_a_model_went_through(tmp_path: Path) -> None:
    path, models = write_run(tmp_path / "run").path, []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        models.append(folder)
        base = origin(ModelConfig(name=str(models[-2]))) if len(models) > 1 else None
        card(path, base=base, settings={"objective": {"name": "spif", "beta": float(len(models))}}).save(
            folder / "README.md"
        )
    last = card(path, base=origin(ModelConfig(name=str(models[-1]))), settings={"objective": {"name": "dpo"}})
    headings = [line for line in last.text.splitlines() if line.startswith("## ")]
    assert headings[1:5] == [
        "## How it was trained",
        "## How its base, second, was trained",
        "## How its base, first, was trained",
        "## Evaluation",
    ]
    settings = [yaml.safe_load(block.split("```")[0])["objective"] for block in last.text.split("```yaml\n")[1:]]
    assert settings == [{"name": "dpo"}, {"name": "spif", "beta": 2.0}, {"name": "spif", "beta": 1.0}]
    assert "- base model: second\n" in last.text
    # The hub knows what all began with.
    assert last.data.to_dict()["base_model"] == "owner/tiny"


def test_a_card_of_another_program_tells_nothing_of_training(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n## How it was trained\n\nWell.\n", encoding="utf-8")
    assert origin(ModelConfig(name=str(tmp_path))) == Origin(name=tmp_path.name, license={"license": "mit"})


def test_a_card_says_what_a_preference_accuracy_is(tmp_path: Path) -> None:
    summary = summarize(write_run(tmp_path).path)
    value = {"mean": 0.6, "standard_error": 0.1, "n": 8}
    rows = [replace(row, estimates=row.estimates | {"preference/accuracy": value}) for row in summary.rows]
    asked = {"base": Origin(name="tiny"), "settings": SETTINGS, "supervised": False, "chat": True, "shipped": {}}
    told = [model_card(each, "base", name="m", **asked) for each in (summary, replace(summary, rows=rows))]
    assert ["prefers the response that the data prefer" in text for text in told] == [False, True]


def test_a_warm_ups_card_tells_of_no_play(tmp_path: Path) -> None:
    config = SelfPlayConfig.model_validate(
        {
            "data": {"source": "arithmetic", "limit": 16},
            "warmup": {"training": {"max_steps": 2}},
            "training": {"seed": 5},
            "objective": {"name": "sppo"},
            "judge": {"name": "verifier"},
        }
    )
    settings = components(config, "warmup")
    assert settings["warmup"] == {"until": "end", "training": {"seed": 5, "max_steps": 2}}
    assert settings.keys() == {"model", "data", "warmup"}
    assert is_supervised(config, "warmup")
    told = card(write_run(tmp_path).path, policy="warmup", settings=settings, supervised=True)
    assert told.data.tags == ["sparring"]
    assert "tiny, after supervised fine-tuning alone, with [sparring]" in told.text
    assert "- trained on: the expert's responses of 12 of them; 3 more were set apart to tell" in told.text
    assert not [word for word in ("sppo", "pponents", "stopped early", "after self-play") if word in told.text]
    assert components(config, "base").keys() == {"model", "data"}
    assert components(config, "control/001")["control"] == {"training": {"seed": 5, "max_steps": 2}}


def test_a_card_tells_only_of_the_phases_that_trained_the_policy(tmp_path: Path) -> None:
    phases = [{"iterations": 2, "objective": {"name": "dft"}}, {"objective": {"name": "spin"}}]
    config = SelfPlayConfig.model_validate({"data": {"source": "arithmetic", "limit": 1}, "phases": phases})
    first, second = (components(config, f"iterations/{number:03}")["phases"] for number in (1, 2))
    assert [[phase["objective"]["name"] for phase in each] for each in (first, second)] == [["dft"], ["dft", "spin"]]
    assert [is_supervised(config, f"iterations/{number:03}") for number in (1, 2)] == [True, False]
    assert card(write_run(tmp_path).path, settings={"phases": second}).data.tags[2:] == ["dft", "spin"]


def test_a_card_shows_how_to_ask_as_in_training(tmp_path: Path) -> None:
    run = write_run(tmp_path).path
    chat, plain = (card(run, chat=chat).text for chat in (True, False))
    assert 'from_pretrained("mine")\nmessages = [{"role": "user"' in chat
    assert "return_dict=True)\nprint(" in chat
    assert "plain prompts" not in chat
    assert 'from_pretrained("mine")\ninputs = tokenizer("…", return_tensors="pt")\nprint(' in plain
    assert "- It was trained on plain prompts, which no chat template wrote." in plain
    assert "settings of its own" not in plain
    penalised = card(run, shipped={"do_sample": True, "repetition_penalty": 1.1}).text
    assert "came with settings of its own (do_sample: True, repetition_penalty: 1.1), which" in penalised


def test_a_card_says_who_wrote_the_expert_responses(tmp_path: Path) -> None:
    def told(name: str, teacher: dict[str, Any]) -> str:
        data = {"source": "private/rows.jsonl", "held_out": 8, "teacher": teacher}
        return card(write_run(tmp_path / name, data=data).path).text

    other = told("other", {"model": "/home/somebody/large", "temperature": 0.5})
    assert "- data: rows.jsonl: 16 training examples" in other
    assert "- expert responses: written by large at temperature 0.5, not by people; that model's terms" in other
    own = told("own", {"system": "Think."})
    assert "written by the base model, tiny, at temperature 1, under a system turn of its own, not by people\n" in own
    assert "expert responses: " not in card(write_run(tmp_path / "people").path).text


def test_an_unknown_license_is_said_to_be_unknown(tmp_path: Path) -> None:
    unknown = card(write_run(tmp_path).path, base=Origin(name="tiny"))
    assert unknown.data.license == "unknown"
    assert unknown.data.base_model is None
    assert "**Not known**: no card of the base model, tiny, that names a license was found" in unknown.text


@pytest.mark.parametrize(
    ("readme", "known"),
    [
        (None, {}),
        ("# no metadata", {}),
        ("---\nlicense: [\n---\n", {}),
        ("---\n- a list\n---\n", {}),
        ("---\nlanguage: en\n---\n", {}),
        ("---\nlicense: mit\nlanguage: en\n---\n", {"license": "mit"}),
        (
            "---\nlicense: other\nlicense_name: gemma\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "gemma", "license_link": "LICENSE"},
        ),
    ],
)
def test_the_license_of_a_folder_is_what_its_card_says(
    tmp_path: Path, readme: str | None, known: dict[str, Any]
) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    assert origin(ModelConfig(name=str(tmp_path))) == Origin(name=tmp_path.name, license=known)


def test_the_license_of_the_embedded_model_and_of_a_card_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = origin(ModelConfig())
    assert (embedded.hub_id, embedded.license) == ("HuggingFaceTB/SmolLM2-135M-Instruct", {"license": "apache-2.0"})

    def offline(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr("sparring.models.origin.hf_hub_download", offline)
    assert origin(ModelConfig(name="owner/model")) == Origin(name="owner/model", hub_id="owner/model")


def test_the_license_of_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(name: str, file: str, *, revision: str | None) -> str:
        asked.append((name, file, revision))
        (tmp_path / file).write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
        return str(tmp_path / file)

    monkeypatch.setattr("sparring.models.origin.hf_hub_download", download)
    assert origin(ModelConfig(name="owner/model", revision="v1")).license == {"license": "apache-2.0"}
    assert asked == [("owner/model", "README.md", "v1")]


def test_all_sources_of_a_mixture_are_named(tmp_path: Path) -> None:
    sources = [{"source": "/home/somebody/maths.jsonl"}, {"source": "owner/chats"}]
    text = card(write_run(tmp_path, data={"sources": sources, "held_out": 8}).path).text
    assert "- data: maths.jsonl and owner/chats: 16 training examples, 8 held out\n" in text
