"""The trainer as a drop-in: ready triples in, a trained model and SPIN's logged values out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import integration_utils

from sparring.errors import InputError, RunError
from sparring.log_ratios import LogRatios
from sparring.logprobs import per_token_log_probs, sequence_log_probs
from sparring.objectives import OBJECTIVES
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple, Triples
from sparring.types import Objective, ObjectiveOutput
from tiny import quiet_arguments, tiny_model, tiny_tokenizer

TEXT = [{"prompt": f"q{n}" * (n + 1), "expert": f"answer {n}", "generated": f"wrong {n * n}"} for n in range(4)]
IDS = [
    {
        "prompt_ids": [1, 40 + n, 50] * (n + 1),
        "expert_ids": [60 + n, 61, 2],
        "generated_ids": [[70 + n, 2], [71, 72, 73, 74 + n, 2], [75]],
    }
    for n in range(4)
]
LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., SelfPlayTrainer]:
    def make(rows: Any = TEXT, *, objective: str = "spin", model: Any = None, **kwargs: Any) -> SelfPlayTrainer:
        own = {name: kwargs.pop(name) for name in ("eval_dataset", "peft_config", "callbacks") if name in kwargs}
        settings = {
            "logging_steps": 1,
            "per_device_train_batch_size": 2,
            "num_train_epochs": 1,
        }
        return SelfPlayTrainer(
            model=tiny_model() if model is None else model,
            objective=OBJECTIVES[objective](**kwargs.pop("options", {})),
            args=quiet_arguments(tmp_path, **(settings | kwargs)),
            train_dataset=rows,
            processing_class=tiny_tokenizer(),
            **own,
        )

    return make


def logged(trainer: SelfPlayTrainer, name: str) -> list[float]:
    return [event[name] for event in trainer.state.log_history if name in event]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# What each objective is worth where the policy still is the opponent, so that every log ratio is 0.
AT_START = {"spin": math.log(2.0), "spif": 0.0, "space": 2.0 * math.log(2.0)}


@pytest.mark.parametrize("rows", [TEXT, IDS], ids=["text", "ids"])
@pytest.mark.parametrize("objective", AT_START)
def test_without_a_step_every_log_ratio_is_exactly_zero(
    build: Callable[..., SelfPlayTrainer], objective: str, rows: Any
) -> None:
    trainer = build(rows, objective=objective, learning_rate=0.0, num_train_epochs=2, per_device_train_batch_size=4)
    trainer.train()
    assert logged(trainer, "loss") == pytest.approx([AT_START[objective]] * 2, abs=1e-6)
    for name in ("rewards/expert", "rewards/generated", "rewards/margins", "rewards/accuracies"):
        assert logged(trainer, name) == [0.0, 0.0], name
    assert logged(trainer, "divergence_estimate") == pytest.approx([0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("objective", AT_START)
def test_other_batches_than_those_of_scoring_move_the_log_ratio_by_rounding_alone(
    build: Callable[..., SelfPlayTrainer], objective: str
) -> None:
    trainer = build(IDS, objective=objective, learning_rate=0.0, per_device_train_batch_size=1)
    trainer.train()
    assert logged(trainer, "loss") == pytest.approx([AT_START[objective]] * 4, abs=1e-5)
    for name in ("rewards/expert", "rewards/generated", "rewards/margins"):
        assert logged(trainer, name) == pytest.approx([0.0] * 4, abs=2e-5), name


@pytest.mark.parametrize("rows", [TEXT, IDS, datasets.Dataset.from_list(TEXT)], ids=["text", "ids", "dataset"])
def test_training_widens_the_margin(build: Callable[..., SelfPlayTrainer], rows: Any) -> None:
    trainer = build(rows, learning_rate=1e-3, num_train_epochs=10)
    trainer.train()
    assert logged(trainer, "loss")[0] == pytest.approx(math.log(2.0), abs=1e-6)
    assert logged(trainer, "loss")[-1] < 0.1
    assert logged(trainer, "rewards/margins")[-1] > 2.0
    assert logged(trainer, "rewards/accuracies")[-1] == 1.0


def by_hand(model: Any, rows: list[dict[str, Any]], opponent: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Δ of the expert [B] and of the generated responses [B, K]."""
    prompts = [row["prompt_ids"] for row in rows]
    responses = [[row["expert_ids"], *row["generated_ids"]] for row in rows]
    with torch.no_grad():
        ratio = torch.stack(sequence_log_probs(model, prompts, responses)) - torch.stack(
            sequence_log_probs(opponent, prompts, responses)
        )
    return ratio[:, 0], ratio[:, 1:]


def test_the_loss_is_the_formula_and_the_opponent_stays_where_it_was(build: Callable[..., SelfPlayTrainer]) -> None:
    opponent = tiny_model()
    trainer = build(
        IDS, options={"beta": 0.3}, per_device_train_batch_size=4, max_steps=3, learning_rate=1e-3, optim="sgd"
    )
    seen: list[dict[str, float]] = []

    class Check(TrainerCallback):
        def on_step_begin(self, *_: Any, model: Any, **__: Any) -> None:
            expert, generated = (0.3 * delta for delta in by_hand(model, IDS, opponent))
            pairs = expert[:, None] - generated
            seen.append(
                {
                    "loss": float((1 + (-pairs).exp()).log().mean()),
                    "rewards/expert": float(expert.mean()),
                    "rewards/generated": float(generated.mean()),
                    "rewards/margins": float(pairs.mean()),
                    "rewards/accuracies": float((pairs > 0).float().mean()),
                }
            )

    trainer.add_callback(Check())
    trainer.train()
    assert len(seen) == 3
    assert seen[2]["rewards/margins"] > 0.01
    for name in seen[0]:
        assert logged(trainer, name) == pytest.approx([values[name] for values in seen], abs=2e-5), name


def test_the_opponent_is_scored_once_and_before_the_first_step(
    build: Callable[..., SelfPlayTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparring.trainer import ratios, trainer

    calls: list[bool] = []

    def spied(module: Any, name: str, scored: Callable[..., Any]) -> None:
        def spy(*args: Any, **kwargs: Any) -> Any:
            calls.append(torch.is_grad_enabled())
            return scored(*args, **kwargs)

        monkeypatch.setattr(module, name, spy)

    # The one for what is scored once, the other for training.
    spied(trainer, "sequence_log_probs", sequence_log_probs)
    spied(ratios, "per_token_log_probs", per_token_log_probs)
    build(TEXT, num_train_epochs=3, per_device_eval_batch_size=4).train()
    assert calls == [False] + [True] * 6


def test_the_opponent_is_scored_without_dropout(build: Callable[..., SelfPlayTrainer]) -> None:
    trainer = build(IDS, model=tiny_model(attention_dropout=0.5).train(), learning_rate=0.0)
    trainer.train()
    with torch.no_grad():
        exact = sequence_log_probs(
            tiny_model(), [row["prompt_ids"] for row in IDS], [[row["expert_ids"]] for row in IDS]
        )
    scored = torch.tensor([item.opponent_expert for item in trainer.train_dataset.items])
    torch.testing.assert_close(scored, torch.cat(exact), rtol=0.0, atol=2e-5)
    # The policy in training has it, as in any training.
    assert abs(logged(trainer, "rewards/expert")[0]) > 0.01


def test_scores_that_are_given_are_honoured(build: Callable[..., SelfPlayTrainer]) -> None:
    model = tiny_model()
    given = [
        row | {"opponent_expert_log_prob": -20.0, "opponent_generated_log_probs": [-7.0, -8.0, -9.5]} for row in IDS
    ]
    trainer = build(given, model=model, learning_rate=0.0, per_device_train_batch_size=4)
    prompts = [row["prompt_ids"] for row in IDS]
    with torch.no_grad():
        expert = torch.stack(sequence_log_probs(model, prompts, [[row["expert_ids"]] for row in IDS])).mean() + 20.0
        generated = torch.stack(sequence_log_probs(model, prompts, [row["generated_ids"] for row in IDS]))
    trainer.train()
    assert logged(trainer, "rewards/expert") == pytest.approx([float(expert)], abs=1e-4)
    assert logged(trainer, "rewards/generated") == pytest.approx(
        [float((generated + torch.tensor([7.0, 8.0, 9.5])).mean())], abs=1e-4
    )


def test_a_chat_prompt_is_rendered_by_the_template(build: Callable[..., SelfPlayTrainer]) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    rows = [{"prompt": chat, "expert": "yes", "generated": ["no", "nay"]}] * 2
    tokenizer = tiny_tokenizer()
    (first, _) = build(rows).train_dataset.items
    assert tokenizer.decode(first.prompt_ids) == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [tokenizer.decode(ids) for ids in first.responses] == ["yes<|im_end|>", "no<|im_end|>", "nay<|im_end|>"]


def test_accumulated_gradients_are_those_of_the_whole_batch(build: Callable[..., SelfPlayTrainer]) -> None:
    settings: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.05, "max_steps": 2, "lr_scheduler_type": "constant"}
    whole = build(IDS, per_device_train_batch_size=4, **settings)
    parts = build(IDS, per_device_train_batch_size=2, gradient_accumulation_steps=2, **settings)
    whole.train()
    parts.train()
    assert furthest(weights(whole.model), weights(tiny_model())) > 1e-3
    assert furthest(weights(whole.model), weights(parts.model)) < 1e-5
    # What is logged is a mean over the accumulated parts too.
    for name in ("loss", "rewards/margins", "rewards/expert"):
        assert logged(parts, name) == pytest.approx(logged(whole, name), abs=1e-4), name


@pytest.mark.parametrize("peft", [None, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_trains_the_same(build: Callable[..., SelfPlayTrainer], peft: Any) -> None:
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        trainer = build(
            IDS, peft_config=peft, gradient_checkpointing=checkpointing, learning_rate=1e-2, num_train_epochs=2
        )
        trainer.train()
        results.append((logged(trainer, "loss"), weights(trainer.model)))
    (plain, plain_weights), (checkpointed, checkpointed_weights) = results
    assert plain[-1] < 0.6
    assert checkpointed == pytest.approx(plain, abs=1e-5)
    assert furthest(plain_weights, checkpointed_weights) < 1e-5


def test_lora_trains_the_adapter_alone(build: Callable[..., SelfPlayTrainer]) -> None:
    before = tiny_model().state_dict()
    trainer = build(IDS, peft_config=LORA, learning_rate=1e-2, num_train_epochs=2)
    trainer.train()
    after = {
        name.replace(".base_layer", ""): value for name, value in trainer.model.get_base_model().named_parameters()
    }
    base = {name: value for name, value in after.items() if "lora_" not in name}
    assert len(base) == len(dict(tiny_model().named_parameters()))
    assert all(torch.equal(value, before[name]) for name, value in base.items())
    assert any(value.abs().max() > 1e-3 for name, value in after.items() if "lora_B" in name)
    assert logged(trainer, "rewards/margins")[-1] > 0.1


def test_the_opponent_of_an_adapter_is_the_adapter_at_the_start_not_the_base(
    build: Callable[..., SelfPlayTrainer],
) -> None:
    torch.manual_seed(0)
    model = get_peft_model(tiny_model(), copy.deepcopy(LORA))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    trainer = build(IDS, model=model, learning_rate=0.0)
    trainer.train()
    assert logged(trainer, "rewards/expert") == pytest.approx([0.0, 0.0], abs=2e-5)
    prompts, responses = [row["prompt_ids"] for row in IDS], [[row["expert_ids"]] for row in IDS]
    with torch.no_grad():
        adapter = torch.cat(sequence_log_probs(model, prompts, responses))
        with model.disable_adapter():
            base = torch.cat(sequence_log_probs(model, prompts, responses))
    scored = torch.tensor([item.opponent_expert for item in trainer.train_dataset.items])
    torch.testing.assert_close(scored, adapter, rtol=0.0, atol=1e-4)
    assert (scored - base).abs().min() > 0.01


def test_mixed_precision_runs_and_agrees_with_itself(build: Callable[..., SelfPlayTrainer]) -> None:
    trainer = build(IDS, bf16=True, learning_rate=1e-3, num_train_epochs=3)
    dtypes: set[torch.dtype] = set()
    trainer.model.get_decoder().layers[0].mlp.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
    trainer.train()
    assert dtypes == {torch.bfloat16}
    assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())
    assert logged(trainer, "loss")[0] == pytest.approx(math.log(2.0), abs=0.05)
    assert abs(logged(trainer, "rewards/expert")[0]) < 0.1
    assert logged(trainer, "loss")[-1] < 0.65


def test_a_value_that_is_not_a_number_ends_the_run(build: Callable[..., SelfPlayTrainer]) -> None:
    trainer = build(IDS, learning_rate=1e30, optim="sgd", max_grad_norm=0.0, max_steps=5, warmup_steps=0)
    told = r"^step 2: grad_norm is not .*; the weight 'model.embed_tokens.weight' is not\n  fix: .*lower learning"
    with pytest.raises(RunError, match=told):
        trainer.train()
    assert len(trainer.state.log_history) == 1


def test_held_out_triples_are_measured_under_eval_names(build: Callable[..., SelfPlayTrainer]) -> None:
    trainer = build(
        IDS,
        eval_dataset=IDS[:2],
        eval_strategy="steps",
        eval_steps=1,
        max_steps=2,
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=2,
        eval_on_start=True,
    )
    opponent = tiny_model()
    trainer.train()
    evaluations = [event for event in trainer.state.log_history if "eval_loss" in event]
    assert [event["step"] for event in evaluations] == [0, 1, 2]
    assert evaluations[0]["eval_loss"] == pytest.approx(math.log(2.0), abs=1e-6)
    assert evaluations[0]["eval_rewards/margins"] == 0.0
    expert, generated = by_hand(trainer.model.eval(), IDS[:2], opponent)
    pairs = expert[:, None] - generated
    assert evaluations[2]["eval_rewards/margins"] == pytest.approx(float(pairs.mean()), abs=1e-4)
    assert evaluations[2]["eval_loss"] == pytest.approx(float((1 + (-pairs).exp()).log().mean()), abs=1e-4)
    assert evaluations[2]["eval_rewards/margins"] > 0.01
    # The training events hold none of it.
    assert not any(name.startswith("eval_") for event in trainer.state.log_history if "loss" in event for name in event)


def test_a_set_that_is_given_later_is_measured_like_one_of_the_constructor(
    build: Callable[..., SelfPlayTrainer],
) -> None:
    given, before = build(IDS), build(IDS, eval_dataset=IDS[:2])
    assert given.evaluate(IDS[:2])["eval_loss"] == before.evaluate()["eval_loss"]


def test_values_are_averaged_over_the_steps_since_the_last_log(build: Callable[..., SelfPlayTrainer]) -> None:
    settings: dict[str, Any] = {"learning_rate": 1e-3, "num_train_epochs": 2, "logging_first_step": False}
    each, pairs = build(IDS, **settings), build(IDS, **settings, logging_steps=2)
    each.train()
    pairs.train()
    single = logged(each, "rewards/margins")
    assert logged(pairs, "rewards/margins") == pytest.approx(
        [(single[0] + single[1]) / 2, (single[2] + single[3]) / 2], abs=1e-6
    )


def test_a_resumed_training_logs_what_an_uninterrupted_one_does(
    build: Callable[..., SelfPlayTrainer], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "learning_rate": 1e-3,
        "num_train_epochs": 4,
        "logging_steps": 3,
        "save_strategy": "steps",
        "save_steps": 4,
    }
    whole, resumed = build(IDS, **settings), build(IDS, **settings)
    whole.train()
    # The last steps are done again from a checkpoint between two logs.
    told = resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    # Times and rates, in the summary at the end, are of the resumed steps alone.
    events = [
        [{name: each[name] for name in each if not name.endswith(("runtime", "second"))} for each in history]
        for history in (whole.state.log_history, resumed.state.log_history)
    ]
    assert events[0] == events[1]
    assert [event["step"] for event in events[0]] == [3, 6, 8, 8]
    # 3 + 3 + 2 steps.
    losses = [event["loss"] for event in events[0][:3]]
    assert told.training_loss == events[1][-1]["train_loss"]
    assert told.training_loss == pytest.approx((3 * losses[0] + 3 * losses[1] + 2 * losses[2]) / 8, rel=1e-6)


def test_a_training_resumed_after_its_last_step_reports_the_loss_of_all(
    build: Callable[..., SelfPlayTrainer], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"learning_rate": 1e-3, "num_train_epochs": 2, "save_strategy": "steps"}
    whole, resumed = build(IDS, **settings), build(IDS, **settings)
    told = whole.train()
    again = resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.training_loss == told.training_loss > 0.0


def test_a_checkpoint_of_another_trainer_is_refused(build: Callable[..., SelfPlayTrainer], tmp_path: Path) -> None:
    build(IDS, num_train_epochs=1, save_strategy="steps").train()
    (tmp_path / "checkpoint-2" / "unlogged-0.safetensors").unlink()
    with pytest.raises(InputError, match="the checkpoint lacks this file"):
        build(IDS, num_train_epochs=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_supervised_fine_tuning_needs_no_opponent(build: Callable[..., SelfPlayTrainer]) -> None:
    triples = Triples(Triple(prompt_ids=row["prompt_ids"], expert_ids=row["expert_ids"]) for row in IDS)
    trainer = build(triples, objective="sft", learning_rate=1e-3, num_train_epochs=5)
    with torch.no_grad():
        prompts, responses = [row["prompt_ids"] for row in IDS], [[row["expert_ids"]] for row in IDS]
        start = float(torch.cat(sequence_log_probs(trainer.model, prompts, responses)).mean())
    trainer.train()
    losses = logged(trainer, "loss")
    assert sum(losses[:2]) / 2 == pytest.approx(-start, rel=0.05)
    assert sum(losses[-2:]) < sum(losses[:2]) - 1.0
    assert not any(item.scored for item in triples.items)


@pytest.mark.parametrize(
    ("row", "where", "message"),
    [
        ({"prompt": "a", "expert": "b"}, "train_dataset row 1", "the field 'generated' is missing"),
        ({"prompt": "a", "expert": None, "generated": "c"}, "train_dataset row 1", "the field 'expert' is null"),
        ({"promt": "a", "expert": "b", "generated": "c"}, "train_dataset row 1", "the field 'prompt' is missing"),
        ({"prompt_ids": [1], "expert_ids": [2]}, "train_dataset row 1", "the field 'generated_ids' is missing"),
        (
            {"prompt": "a", "expert": "b", "generated": ["c", "d"]},
            "train_dataset",
            r"the prompts have different numbers of generated responses: \[1, 2\]",
        ),
    ],
)
def test_a_triple_that_lacks_something_is_named(
    build: Callable[..., SelfPlayTrainer], row: dict[str, Any], where: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build([TEXT[0], row])
    assert caught.value.where == where
    assert caught.value.fix


def test_a_misspelt_column_gets_a_suggestion(build: Callable[..., SelfPlayTrainer]) -> None:
    with pytest.raises(InputError) as caught:
        build([{"promt": "a", "expert": "b", "generated": "c"}])
    assert caught.value.fix == "did you mean 'promt'?"


@pytest.mark.parametrize(("rows", "problem"), [([], "training set is empty"), (None, "training set is missing")])
def test_nothing_to_train_on_is_an_error(build: Callable[..., SelfPlayTrainer], rows: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        build(rows)


def test_text_needs_a_tokenizer(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(InputError, match="text needs a tokenizer"):
        SelfPlayTrainer(tiny_model(), OBJECTIVES["spin"](), args, TEXT)
    SelfPlayTrainer(tiny_model(), OBJECTIVES["spin"](), args, IDS)


def test_report_to_reaches_a_tracker_with_every_value(
    build: Callable[..., SelfPlayTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[dict[str, float]] = []

    class Tracker(TrainerCallback):
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            received.append(dict(logs))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "mine", Tracker)
    build(IDS, report_to="mine").train()
    names = {"loss", "rewards/expert", "rewards/generated", "rewards/margins", "rewards/accuracies"}
    assert names | {"divergence_estimate", "learning_rate", "grad_norm"} <= received[0].keys()
    assert "train_runtime" in received[-1]


def test_the_seed_decides_the_order_of_the_triples(build: Callable[..., SelfPlayTrainer]) -> None:
    results = []
    for seed in (1, 1, 5):
        trainer = build(IDS, seed=seed, data_seed=seed, learning_rate=1e-3, per_device_train_batch_size=1)
        trainer.train()
        results.append(weights(trainer.model))
    assert furthest(results[0], results[1]) == 0.0
    assert furthest(results[0], results[2]) > 0.0


@dataclass(frozen=True, kw_only=True)
class EachSample(Objective):
    """A loss of each sample, where one of each prompt is needed."""

    requires: ClassVar[frozenset[str]] = frozenset({"generated"})

    def __call__(self, ratios: LogRatios) -> ObjectiveOutput:
        return ObjectiveOutput(loss=ratios.require("generated").square())


def test_a_loss_of_another_shape_is_not_trained(build: Callable[..., SelfPlayTrainer]) -> None:
    trainer = build()
    trainer.objective = EachSample()
    with pytest.raises(ValueError, match=r"one number a prompt; for B = 2 this one has shape \[2, 1\]"):
        trainer.train()
