"""What is said of the machine before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from a_run import a_config
from sparring.errors import InputError
from sparring.progress import console
from sparring.selfplay import notes as told
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.prepared import prepare
from tiny import save_tiny


def says_bf16(tiny_folder: Path, tmp_path: Path, **changes: Any) -> bool:
    config = a_config(tiny_folder, tmp_path / "run", training=changes.pop("training", {}))
    config = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    lines = told.notes(prepare(config))
    return any("model.dtype=bfloat16" in line for line in lines)


@pytest.mark.parametrize("has", [True, False])
def test_a_processor_with_products_in_bf16_is_told_of(
    has: bool, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.selfplay.arguments.multiplies_bf16", lambda: has)
    assert says_bf16(tiny_folder, tmp_path) == has
    assert not says_bf16(tiny_folder, tmp_path, dtype="bfloat16")
    assert not says_bf16(tiny_folder, tmp_path, training={"bf16": True})


@pytest.mark.parametrize(("held_out", "warned"), [(3, True), (128, False)])
def test_too_few_held_out_prompts_for_a_control_are_told(
    held_out: int, warned: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    data = {"source": "arithmetic", "limit": 8, "held_out": held_out, "max_response_tokens": 12}
    config = a_config(tiny_folder, tmp_path / "run", data=data, control=True)
    found = [line for line in told.notes(prepare(config)) if line.startswith("warning: on 3 held-out prompts")]
    assert bool(found) == warned
    # 2 · 0.47 / √3.
    assert not warned or "less than about 0.54 cannot be told from chance" in found[0]


@pytest.mark.parametrize(("experts", "told_of"), [(6, True), (12, False)])
def test_held_out_prompts_that_take_some_of_few_experts_are_told(
    experts: int, told_of: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    """Where all prompts have an expert, it takes one to hold out a prompt."""
    rows = [{"prompt": f"{n} + 1?", "response" if n < experts else "ground_truth": f"#### {n + 1}"} for n in range(12)]
    source = tmp_path / "few.jsonl"
    source.write_text("".join(json.dumps({"response": None, "ground_truth": None} | row) + "\n" for row in rows))
    data = {"source": str(source), "held_out": 2, "verifier": "final-number", "max_response_tokens": 12}
    judged = {"objective": {"name": "raft"}, "judge": {"name": "verifier"}, "generation": {"samples_per_prompt": 2}}
    lines = told.notes(prepare(a_config(tiny_folder, tmp_path / "run", data=data, control=True, **judged)))
    (found,) = [line for line in lines if line.startswith("warning: on 2 held-out prompts")]
    assert ("data.held_out_source" in found) == told_of


@pytest.mark.parametrize(("limit", "told_of"), [(64, False), (400, True)])
def test_a_limit_far_beyond_the_experts_is_told(limit: int, told_of: bool, tiny_folder: Path, tmp_path: Path) -> None:
    data = {"source": "arithmetic", "limit": 4, "held_out": 2, "max_response_tokens": limit}
    prepared = prepare(a_config(tiny_folder, tmp_path / "run", data=data))
    longest = max(len(item.expert_ids) for item in prepared.train.examples)
    text = f"a response may have {limit} tokens, and the longest expert's has {longest}: data.max_response_tokens="
    assert any(line.startswith(f"{text}{2 * longest} ") for line in told.notes(prepared)) == told_of


def test_one_iteration_and_one_row_are_not_told_as_several(tiny_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"{number}?", "response": f"{number}!"} for number in range(4)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"prompt": "", "response": "x"}])), encoding="utf-8")
    data = {"source": str(path), "held_out": 0, "max_response_tokens": 8, "skip_invalid": True}
    phases = [{"iterations": 1}, {"iterations": 2}]
    with console.capture() as shown:
        told.announce(prepare(a_config(tiny_folder, tmp_path / "run", data=data, phases=phases)))
    lines = shown.get().splitlines()
    assert "phase 0, objective 'spif': iteration 0, on all 4 prompts" in lines
    assert "phase 1, objective 'spif': iterations 1 to 2, on all 4 prompts" in lines
    assert "1 row was left out (1 invalid):" in lines


def test_rows_left_out_are_as_many_as_the_error_said_and_those_of_held_out_prompts(
    tiny_folder: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"{number}?", "response": reply} for number in range(12) for reply in ("a", "b")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, *rows[:11]])), encoding="utf-8")
    data = {"source": str(path), "held_out": 1, "max_response_tokens": 8}
    with pytest.raises(InputError, match=r"leave out all 11 invalid rows with data\.skip_invalid: true"):
        prepare(a_config(tiny_folder, tmp_path / "run", data=data))
    lines = told.notes(prepare(a_config(tiny_folder, tmp_path / "run", data=data | {"skip_invalid": True})))
    (found,) = (line for line in lines if "left out" in line)
    head, *_, last = found.splitlines()
    assert head == "12 rows were left out (11 invalid, 1 with the prompt of a held-out row):"
    # `plan` says it too, and writes no manifest.
    assert last == "  … and 2 more; the manifest.json of a run lists them all"


@pytest.mark.parametrize(
    ("training", "epochs"),
    [({}, ""), ({"num_train_epochs": 3}, "3 epochs of warm-up (8), ")],
    ids=["as it is", "fewer"],
)
def test_what_is_less_than_auto_was_measured_with_is_told(
    training: dict[str, int], epochs: str, tiny_folder: Path
) -> None:
    data = {"source": "arithmetic", "limit": 12, "experts": 4, "held_out": 2, "max_response_tokens": 12}
    config = {"recipe": "auto", "model": {"name": str(tiny_folder)}, "data": data, "warmup": {"training": training}}
    (found,) = [
        line
        for line in told.notes(prepare(SelfPlayConfig.from_mapping(config)))
        if line.startswith("less than auto was measured with: ")
    ]
    less = f"4 experts (16), {epochs}12 prompts in an iteration (192)"
    assert found == f"less than auto was measured with: {less}. Play may then lose more than it brings"


def of_few_experts(folder: Path, tiny_folder: Path, **data: Any) -> list[str]:
    rows = [{"prompt": f"{n} + 1?", "response": f"#### {n + 1}" if n < 10 else None} for n in range(40)]
    lines = [json.dumps(row | {"ground_truth": str(n + 1)}) + "\n" for n, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("".join(lines[:20]))
    (folder / "more.jsonl").write_text("".join(lines).replace("+ 1?", "+ 1 is?"))
    given = {"source": str(folder / "rows.jsonl"), "verifier": "final-number", "max_response_tokens": 12, **data}
    judged = {"objective": {"name": "raft"}, "judge": {"name": "verifier"}, "generation": {"samples_per_prompt": 2}}
    return told.notes(prepare(a_config(tiny_folder, folder / "run", data=given, **judged)))


@pytest.mark.parametrize(("held_out", "warned"), [(4, False), (16, True)])
def test_held_out_prompts_that_take_most_of_few_experts_are_told(
    held_out: int, warned: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    found = [line for line in of_few_experts(tmp_path, tiny_folder, held_out=held_out) if "are left to learn" in line]
    told_of = (
        "warning: 6 of the 10 experts' responses are held out, so that 4 are left to learn from: a smaller "
        "data.held_out takes fewer"
    )
    assert found == ([told_of] if warned else [])


def test_rows_of_a_held_out_source_that_are_left_are_told(tiny_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.jsonl"
    lines = of_few_experts(tmp_path, tiny_folder, held_out_source=str(other))
    assert f"32 of the 40 rows of '{other}' are held out; data.held_out=40 takes all" in lines


@pytest.mark.parametrize(("setting", "said"), [("auto", True), ("none", False)])
def test_prompts_in_plain_text_for_want_of_a_chat_template_are_told(setting: str, said: bool, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model", chat_template=None)
    data = {"source": "arithmetic", "limit": 4, "held_out": 2, "max_response_tokens": 12, "chat_template": setting}
    lines = told.notes(prepare(a_config(folder, tmp_path / "run", data=data)))
    assert any(line.startswith("the tokenizer has no chat template") for line in lines) == said


@pytest.mark.parametrize(
    ("training", "told_of"),
    [
        ({}, "2 steps"),
        ({"per_device_train_batch_size": 2}, "4 steps"),
        ({"per_device_train_batch_size": 1}, None),
        ({"num_train_epochs": 3}, None),
        ({"max_steps": 1}, None),
    ],
)
def test_a_training_of_a_few_steps_is_told_unless_it_was_asked_for(
    tiny_folder: Path, tmp_path: Path, training: dict[str, Any], told_of: str | None
) -> None:
    config = a_config(tiny_folder, tmp_path / "run", iterations=2, training=training)
    found = [line for line in told.notes(prepare(config)) if "steps of the optimizer" in line]
    assert len(found) == (told_of is not None)
    assert not found or found[0].startswith(f"warning: all training together takes {told_of} of the optimizer")
