"""What people of TRL's trainers have: their columns, their conversations, a model's id, an objective's name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainingArguments

from sparring.errors import InputError
from sparring.objectives import OBJECTIVES
from sparring.progress import console
from sparring.regularizers import RaftPenalty, Regularized
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import triples_from
from tiny import quiet_arguments, save_tiny, tiny_model, tiny_tokenizer

TEXT = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n * n}"} for n in range(4)]


def asked(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


CHAT = [
    {"prompt": [asked(row["prompt"])], "chosen": [said(row["chosen"])], "rejected": [said(row["rejected"])]}
    for row in TEXT
]
WHOLE = [{name: [*row["prompt"], *row[name]] for name in ("chosen", "rejected")} for row in CHAT]


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    return quiet_arguments(folder, **{"max_steps": 1, **settings})


def ids(rows: Any) -> list[tuple[Any, Any, Any]]:
    items = triples_from(rows, tiny_tokenizer()).items
    return [(item.prompt_ids, item.expert_ids, item.generated_ids) for item in items]


def test_chosen_and_rejected_are_the_expert_and_the_generated_response_and_it_is_said_once() -> None:
    ours = [{"prompt": row["prompt"], "expert": row["chosen"], "generated": row["rejected"]} for row in TEXT]
    with console.capture() as shown:
        assert ids(TEXT) == ids(ours)
    assert shown.get() == (
        "train_dataset: chosen is taken as expert, rejected is taken as generated, as if the model itself had drawn "
        "it; an objective such as dpo compares the two\n"
    )


@pytest.mark.parametrize(
    "rows",
    [CHAT, WHOLE, datasets.Dataset.from_list(CHAT), [{**row, "prompt": row["prompt"][0]["content"]} for row in CHAT]],
    ids=["turns", "with the prompt inside", "dataset", "a text as prompt"],
)
def test_conversations_become_the_tokens_that_the_chat_template_writes(rows: Any) -> None:
    tokenizer = tiny_tokenizer()
    for (prompt, expert, generated), row in zip(ids(rows), CHAT, strict=True):
        for response, name in ((expert, "chosen"), (generated[0], "rejected")):
            whole = tokenizer.apply_chat_template([*row["prompt"], *row[name]], return_dict=False)
            # The template's line end after the end token belongs to no response.
            assert [*prompt, *response] == whole[: len(prompt) + len(response)]
            assert tokenizer.decode(whole[len(prompt) + len(response) :]) == "\n"
            assert response[-1] == tokenizer.eos_token_id


def test_a_turn_ends_as_the_template_ends_it_though_the_tokenizer_ends_a_text_otherwise() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|pad|>"})
    (triple, *_) = triples_from(CHAT, tokenizer).items
    assert triple.expert_ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    (triple, *_) = triples_from(TEXT, tokenizer).items
    assert triple.expert_ids[-1] == tokenizer.convert_tokens_to_ids("<|pad|>")


def test_a_turn_may_end_with_an_added_token_that_is_not_special() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens("<turn_end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<turn_end>{% endfor %}"
    (end,) = tokenizer("<turn_end>", add_special_tokens=False)["input_ids"]
    (triple, *_) = triples_from(CHAT, tokenizer).items
    assert triple.expert_ids[-1] == end


def test_several_generated_conversations_are_several_responses() -> None:
    rows = [
        {"prompt": row["prompt"], "expert": row["chosen"], "generated": [row["rejected"], row["chosen"]]}
        for row in CHAT
    ]
    (_, expert, generated), *_ = ids(rows)
    assert len(generated) == 2
    assert generated[1] == expert


def test_a_response_is_one_message_of_the_assistant() -> None:
    longer = [{**CHAT[0], "rejected": [said("a"), asked("b"), said("c")]}]
    with pytest.raises(InputError, match="must be one message of the assistant") as caught:
        triples_from(longer, tiny_tokenizer(), where="eval_dataset")
    assert caught.value.where == "eval_dataset row 0, generated"


def test_a_model_by_its_folder_an_objective_by_its_name_an_adapter_and_an_evaluation_set(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = SelfPlayTrainer(
        str(tiny_folder),
        "spin",
        args=arguments(tmp_path),
        train_dataset=TEXT,
        eval_dataset=TEXT[:2],
        peft_config=LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    assert trainer.objective == OBJECTIVES["spin"]()
    assert trainer.processing_class.eos_token == tiny_tokenizer().eos_token
    assert trainer.evaluate()["eval_loss"] == pytest.approx(0.693147, abs=1e-4)
    trainer.train()
    assert trainer.state.global_step == 1


Build = Callable[..., SelfPlayTrainer]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(objective: Any = "spin", *, rows: Any = TEXT, evaluated: Any = None, **settings: Any) -> SelfPlayTrainer:
        args = settings.pop("args", None) or arguments(tmp_path, **settings)
        return SelfPlayTrainer(tiny_model(), objective, args, rows, evaluated, processing_class=tiny_tokenizer())

    return make


def test_an_objective_may_be_given_with_its_settings(build: Build) -> None:
    assert build({"name": "spif", "beta": 0.5}).objective == OBJECTIVES["spif"](beta=0.5)
    ready = OBJECTIVES["space"]()
    assert build(ready).objective is ready


@pytest.mark.parametrize(
    ("objective", "problem"),
    [
        ("SPIN", "did you mean 'spin'"),
        ({"beta": 1.0}, "objective: has no name"),
        ({"name": "spin", "bta": 1.0}, "did you mean 'beta'"),
        (None, r'the objective is missing\n  fix: pass objective=\{"name": "dpo", "beta": 0.1\}'),
        (tiny_model(), "objective: must be an objective, got LlamaForCausalLM"),
    ],
)
def test_a_wrong_objective_is_named(build: Build, objective: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        build(objective)


SEVERAL = [{**row, "rejected": [row["rejected"], "worse"]} for row in TEXT]


@pytest.mark.parametrize("rows", [TEXT, CHAT, SEVERAL], ids=["text", "chat", "several rejected"])
def test_dpo_on_chosen_and_rejected_takes_the_steps_of_spin(build: Build, rows: Any) -> None:
    logs, weights = [], []
    for objective in ({"name": "dpo", "beta": 0.1}, {"name": "spin", "beta": 0.1}):
        trainer = build(objective, rows=rows, max_steps=3, learning_rate=1e-3, logging_steps=1)
        trainer.train()
        names = ("loss", "grad_norm", "rewards/margins")
        logs.append([[event[name] for name in names] for event in trainer.state.log_history if "loss" in event])
        weights.append(trainer.model.state_dict())
    assert logs[0][-1][0] < logs[0][0][0] == pytest.approx(math.log(2.0), abs=1e-6)
    for ours, theirs in zip(*logs, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=0, atol=1e-4)


def test_raft_beside_dpo_holds_up_what_was_chosen(build: Build) -> None:
    """Iterative RPO's loss on pairs of the data: DPO's at the start is log 2, to which the anchor adds its own."""
    anchored = Regularized(OBJECTIVES["dpo"](beta=0.1), [RaftPenalty(weight=1.0, length_normalized=True)])
    trainer = build(anchored, max_steps=30, learning_rate=1e-3, logging_steps=1)
    trainer.train()
    first, *_, last = [event for event in trainer.state.log_history if "loss" in event]
    assert first["loss"] == pytest.approx(math.log(2.0) + first["regularizer/raft"], abs=1e-5)
    assert last["regularizer/raft"] < 0.5 * first["regularizer/raft"]


def test_all_pairs_are_known_of_two_responses_and_not_of_more(build: Build) -> None:
    with console.capture() as shown:
        (first, *_) = build({"name": "dpo", "pairs": "all"}).train_dataset.items
    assert shown.get() == "train_dataset: chosen is preferred to rejected\n"
    assert (first.preference, first.pairwise) == ([1.0, 0.0], [[0.5, 1.0], [0.0, 0.5]])
    with pytest.raises(InputError, match='"spin"}: on chosen and rejected it is DPO\'s loss'):
        build({"name": "dpo", "pairs": "all"}, rows=SEVERAL)


def test_numbers_of_a_judge_and_scores_are_honoured(build: Build) -> None:
    known = {"opponent_expert_log_prob": -1.0, "opponent_generated_log_probs": [-2.0]}
    (first, *_) = build("dpo", rows=[{**row, **known} for row in TEXT]).train_dataset.items
    assert (first.opponent_expert, first.opponent_generated) == (None, [-1.0, -2.0])
    judged = [{**row, "rejected": [row["rejected"], "worse"], "preference": [0.9, 0.2]} for row in TEXT]
    (first, *_) = build("dpo", rows=judged).train_dataset.items
    assert (first.preference, len(first.expert_ids) > 0) == ([0.9, 0.2], True)


def test_pairs_are_no_draws_of_the_opponent_and_have_no_reference_beside_it(build: Build) -> None:
    with pytest.raises(InputError, match="the objective needs a judge's 'preference'"):
        build("sppo")
    with pytest.raises(InputError, match="needs the log-probs of a reference beside the opponent"):
        build("inpo")


def test_arguments_of_trl_are_told_what_replaces_them() -> None:
    given = {"ref_model": None, "beta": 0.1, "tokenizer": tiny_tokenizer(), "max_length": 512}
    with pytest.raises(InputError) as caught:
        SelfPlayTrainer(tiny_model(), train_dataset=TEXT, **given)
    assert caught.value.where == "ref_model, beta, tokenizer, max_length"
    for part in ("ref_model: none is needed", "beta: it belongs to the objective", "tokenizer: write processing_class"):
        assert part in str(caught.value.fix)
    assert "max_length: nothing is cut here" in str(caught.value.fix)


def test_a_row_longer_than_the_models_context_is_refused(build: Build) -> None:
    room = 512 - len(triples_from(TEXT, tiny_tokenizer()).items[0].prompt_ids) - 1
    build(rows=[{**TEXT[0], "rejected": "x" * room}])
    with pytest.raises(InputError, match="1 of 2 rows are longer than the model's context of 512 tokens") as caught:
        build(rows=[TEXT[1], {**TEXT[0], "rejected": "x" * (room + 1)}])
    assert caught.value.where == "train_dataset row 1"
    assert "has 513, prompt and response together" in caught.value.problem


@pytest.mark.parametrize("tracker", ["wandb", "nobodys-tracker"])
def test_a_tracker_that_is_missing_is_told_when_the_trainer_is_made(build: Build, tracker: str) -> None:
    with pytest.raises(InputError, match=tracker) as caught:
        build(report_to=tracker)
    assert caught.value.where == "args.report_to"


@dataclass
class OtherArguments(TrainingArguments):
    """As DPOConfig: training arguments with a loss's settings among them."""

    beta: float = 0.1
    loss_type: list[str] = field(default_factory=lambda: ["sigmoid"])
    packing: bool = False
    sync_ref_model: bool = False
    pad_to_multiple_of: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pad_to_multiple_of = self.pad_to_multiple_of or 8


def test_settings_of_another_trainers_loss_are_said_not_to_be_read(build: Build, tmp_path: Path) -> None:
    with console.capture() as shown:
        build(args=OtherArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", packing=True))
    head, *lines = shown.get().splitlines()
    assert head == "args: what TrainingArguments does not have is not read:"
    named = [line.split(":")[0] for line in lines if line.startswith("  ")]
    # Neither the loss nor what the class itself sets: nobody has asked for them.
    assert named == ["  beta", "  packing"]
    assert lines[0] == '  beta: it belongs to the objective, as in objective={"name": "dpo", "beta": 0.1}'
    with console.capture() as shown:
        build("ipo", args=OtherArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", loss_type=["ipo"]))
    assert '  loss_type: it is the name of the objective: "sigmoid" is "dpo", "ipo" is "ipo"' in shown.get()


def test_a_loss_among_the_arguments_that_is_not_the_objective_is_refused(build: Build, tmp_path: Path) -> None:
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none"}
    with pytest.raises(InputError) as caught:
        build({"name": "dpo", "beta": 0.1}, args=OtherArguments(**settings, loss_type=["ipo"], beta=0.3))
    assert caught.value.problem == (
        "loss_type is 'ipo', and the objective is 'dpo'; beta is 0.3, and the objective's is 0.1"
    )
    # The default of another's class is nobody's wish, and the same loss is no contradiction.
    build({"name": "dpo", "beta": 0.4}, args=OtherArguments(**settings))
    build({"name": "dpo", "beta": 0.3}, args=OtherArguments(**settings, beta=0.3))
    build({"name": "ipo"}, args=OtherArguments(**settings, loss_type=["ipo"], beta=0.3))


def test_prompts_that_are_trained_on_and_evaluated_are_told_of_once(build: Build) -> None:
    with console.capture() as shown:
        build("dpo", evaluated=[TEXT[0]])
    _, line = " ".join(shown.get().split()).split("warning: ")
    assert line.startswith("1 of 1 prompts of eval_dataset are in train_dataset too")
    with console.capture() as shown:
        build("dpo", evaluated=[TEXT[0] | {"prompt": "Another?"}])
    assert "warning" not in shown.get()


def test_a_setting_that_was_hung_onto_the_arguments_is_said_not_to_be_read(build: Build, tmp_path: Path) -> None:
    given = arguments(tmp_path)
    with console.capture() as shown:
        build(args=given)
    assert "not read" not in shown.get()
    given.beta = 0.5
    with console.capture() as shown:
        build(args=given)
    assert "beta: it belongs to the objective" in shown.get()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompt": "question"}, "row 0: the field 'prompt' is missing\n  fix: rename 'question' to 'prompt'"),
        ({"prompt": None}, "row 0: the field 'prompt' is missing"),
        (
            {"rejected": "reject"},
            "row 0: the field 'rejected' is missing\n  fix: did you mean 'reject'",
        ),
        ({"chosen": "accepted"}, "row 0: the field 'chosen' is missing\n  fix: known: accepted, prompt, rejected"),
    ],
)
@pytest.mark.parametrize("rows", [TEXT, CHAT], ids=["text", "chat"])
def test_a_column_of_another_name_is_no_empty_prompt(
    build: Build, rows: list[dict[str, Any]], change: dict[str, str | None], problem: str
) -> None:
    renamed = [
        {change.get(name, name): value for name, value in row.items() if change.get(name, name) is not None}
        for row in rows
    ]
    with pytest.raises(InputError) as caught:
        build("dpo", rows=renamed)
    assert problem in str(caught.value)


@pytest.mark.parametrize("rows", [TEXT, CHAT], ids=["text", "chat"])
@pytest.mark.parametrize("name", ["prompt", "chosen", "rejected"])
def test_a_value_that_is_null_is_called_as_the_row_calls_it(
    build: Build, rows: list[dict[str, Any]], name: str
) -> None:
    with pytest.raises(
        InputError, match=f"train_dataset row 1: the field '{name}' is null\n  fix: fill it in, or leave"
    ):
        build("dpo", rows=[rows[0], rows[1] | {name: None}])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"args": {"learning_rate": 1e-4}}, "args: must be training arguments, got dict"),
        ({"processing_class": "smollm2-135m"}, "processing_class: must be a tokenizer, got str"),
        ({"peft_config": {"r": 16}}, "peft_config: must be a peft configuration, got dict"),
        ({"train_dataset": "prefs.jsonl"}, "train_dataset: must be rows, got str"),
        ({"eval_dataset": {"train": TEXT}}, "eval_dataset: must be rows, got dict"),
    ],
)
def test_a_name_or_a_mapping_in_the_place_of_an_object_is_told(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        SelfPlayTrainer(tiny_model(), "spin", **{"train_dataset": TEXT, **given})


@pytest.mark.parametrize("rows", [TEXT, CHAT], ids=["text", "chat"])
@pytest.mark.parametrize("name", ["chosen", "rejected"])
@pytest.mark.parametrize("text", ["", " \n"], ids=["empty", "blank"])
def test_an_empty_response_is_refused_with_its_row_and_the_other_rows_that_are_wrong(
    build: Build, rows: list[dict[str, Any]], name: str, text: str
) -> None:
    empty = {name: text if rows is TEXT else [said(text)]}
    with pytest.raises(InputError) as caught:
        build("dpo", rows=[rows[0], rows[1] | empty, *rows[2:]])
    where = f"train_dataset row 1, {name}"
    assert str(caught.value) == f"{where}: is empty\n  fix: fill it in or remove the row"
    with pytest.raises(InputError, match=f"{where}: is empty\n  fix: .*; rows 2, 3, 4, 5, 6 and 1 more are wrong too"):
        build("dpo", rows=[rows[0], *[rows[1] | empty] * 7, rows[2]])


def test_of_several_rejected_responses_the_empty_one_is_told(build: Build) -> None:
    wrong = [TEXT[0] | {"rejected": ["a", "b"]}, TEXT[1] | {"rejected": ["a", ""]}]
    with pytest.raises(InputError, match=r"row 1, rejected\[1\]: is empty"):
        build("dpo", rows=wrong)
    with pytest.raises(InputError, match="row 0, rejected: must be text, got int"):
        build("dpo", rows=[TEXT[0] | {"rejected": 5}])


@pytest.mark.parametrize("objective", ["dpo", "spin"])
@pytest.mark.parametrize("rows", [TEXT, CHAT], ids=["text", "chat"])
def test_equal_responses_and_repeated_rows_are_told_once_and_trained_on(
    build: Build, rows: list[dict[str, Any]], objective: str
) -> None:
    equal = [row | {"rejected": row["chosen"]} for row in rows[2:]]
    with console.capture() as shown:
        trainer = build(objective, rows=[*rows[:2], *equal, rows[1]])
    assert len(trainer.train_dataset) == 5
    _, *told = " ".join(shown.get().split()).split("warning: ")
    assert [line.strip() for line in told] == [
        "train_dataset: in 2 of 5 rows, the first of them row 2, chosen and rejected are the same: "
        "nothing tells them apart",
        "train_dataset: 1 of 5 rows repeat another, the first of them row 4, which repeats row 1 "
        "(same prompt and responses): they count twice",
    ]
    with console.capture() as shown:
        build(objective, rows=rows)
    assert "warning" not in shown.get()


@pytest.mark.parametrize(
    "shipped", [{"temperature": 0.6, "top_p": 0.9}, {"temperature": 0.0}, {"num_beams": 1, "early_stopping": True}]
)
@pytest.mark.parametrize("by_name", [True, False])
def test_a_model_is_saved_whatever_sampling_settings_it_came_with(
    tmp_path: Path, shipped: dict[str, Any], by_name: bool
) -> None:
    folder = save_tiny(tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | shipped | {"eos_token_id": [2, 77]}))
    model = str(folder) if by_name else AutoModelForCausalLM.from_pretrained(folder)
    trainer = SelfPlayTrainer(
        model, "spin", args=arguments(tmp_path), train_dataset=TEXT, processing_class=tiny_tokenizer()
    )
    trainer.save_model(str(tmp_path / "saved"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generation_config.eos_token_id == [2, 77]


def test_a_saved_model_stops_where_its_responses_end(tmp_path: Path) -> None:
    """The template's end is neither the tokenizer's eos nor one of the model's."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.generation_config.eos_token_id = model.config.eos_token_id = 7
    tokenizer.eos_token = "<|pad|>"
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for rows, known in ((CHAT, {7, end}), (TEXT, {0, 7, end})):
        trainer = SelfPlayTrainer(
            model, "spin", args=arguments(tmp_path), train_dataset=rows, processing_class=tokenizer
        )
        trainer.save_model(str(tmp_path / "saved"))
        saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
        assert {*saved.generation_config.eos_token_id} == {*saved.config.eos_token_id} == known
    bare = tiny_model()
    bare.generation_config.eos_token_id = None
    ids = [{"prompt_ids": [5], "expert_ids": [6], "generated_ids": [[7]]}]
    SelfPlayTrainer(bare, "spin", args=arguments(tmp_path), train_dataset=ids)
    assert bare.generation_config.eos_token_id is None
