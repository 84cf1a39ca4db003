"""That a training trains what it seems to, measures what it says, and saves it: adapters, optimizers, batches, sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model

from sparring.errors import InputError
from sparring.logprobs import sequence_log_probs
from sparring.trainer.trainer import SelfPlayTrainer
from tiny import quiet_arguments, tiny_model, tiny_tokenizer

ROWS = [{"prompt": f"q{n}", "chosen": f"good {n}" * (1 + n % 3), "rejected": f"bad {n * n}"} for n in range(5)]
OTHERS = [{"prompt": f"e{n}", "chosen": f"yes {n}", "rejected": f"no {n}" * (1 + n % 2)} for n in range(5)]

Build = Callable[..., SelfPlayTrainer]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(model: Any = None, *, rows: Any = ROWS, passed: Any = None, **settings: Any) -> SelfPlayTrainer:
        args = quiet_arguments(tmp_path / "out", **{"max_steps": 2, "learning_rate": 1e-2, **settings})
        model = tiny_model() if model is None else model
        return SelfPlayTrainer(model, "spin", args, rows, processing_class=tiny_tokenizer(), **(passed or {}))

    return make


def lora(*modules: str) -> LoraConfig:
    return LoraConfig(r=2, target_modules=list(modules), task_type="CAUSAL_LM")


def test_a_model_that_has_an_adapter_gets_no_other_one(build: Build) -> None:
    base = tiny_model()
    wrapped = get_peft_model(base, lora("q_proj"))
    for model in (wrapped, base):
        with pytest.raises(InputError, match="the model has an adapter already") as caught:
            build(model, passed={"peft_config": lora("v_proj")})
        assert caught.value.where == "peft_config"
    build(wrapped.unload(), passed={"peft_config": lora("v_proj")})


def test_the_adapter_that_was_trained_on_is_the_one_that_is_saved(build: Build, tmp_path: Path) -> None:
    first = build(passed={"peft_config": lora("q_proj")}, learning_rate=0.1)
    first.train()
    second = build(first.model, learning_rate=0.1)
    second.train()
    second.save_model(tmp_path / "adapter")
    ids = torch.tensor([[70, 71, 72]])
    read = PeftModel.from_pretrained(tiny_model(), tmp_path / "adapter").eval()
    torch.testing.assert_close(read(ids).logits, second.model.eval()(ids).logits)
    assert not torch.allclose(read(ids).logits, tiny_model()(ids).logits, atol=1e-2)


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_an_adapter_that_learns_a_prompt_is_refused(build: Build, config: Any) -> None:
    learned = config(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(InputError, match="its adapter learns a prompt"):
        build(passed={"peft_config": learned})
    with pytest.raises(InputError, match="its adapter learns a prompt"):
        sequence_log_probs(get_peft_model(tiny_model(), learned), [[5, 6]], [[[7, 8]]])


def test_a_training_that_would_change_no_weight_is_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of its weights is trained"):
        build(tiny_model().requires_grad_(requires_grad=False))
    get_peft_model(tiny_model(), lora("q_proj")).save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="is_trainable=True"):
        build(PeftModel.from_pretrained(tiny_model(), tmp_path / "adapter"))
    build(PeftModel.from_pretrained(tiny_model(), tmp_path / "adapter", is_trainable=True))


def test_an_optimizer_of_other_weights_than_those_that_are_trained_is_refused(build: Build) -> None:
    model = tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    build(model, passed={"optimizers": (optimizer, None)}).train()
    for given in ({"peft_config": lora("q_proj")}, {}):
        other = model if given else tiny_model()
        with pytest.raises(InputError, match="holds none of the weights that are trained"):
            build(other, passed={"optimizers": (optimizer, None), **given})


def test_where_all_rows_would_be_left_out_it_is_told(build: Build) -> None:
    with pytest.raises(InputError, match="leaves out all 5 rows: a batch has 8"):
        build(dataloader_drop_last=True, per_device_train_batch_size=8)
    build(dataloader_drop_last=True, per_device_train_batch_size=5)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"passed": {"compute_loss_func": lambda *_: 0.0}}, "compute_loss_func"),
        ({"passed": {"compute_metrics": lambda _: {}}}, "compute_metrics"),
        ({"passed": {"data_collator": list}}, "data_collator"),
        ({"label_smoothing_factor": 0.1}, "args.label_smoothing_factor"),
        ({"optim": "lomo"}, "args.optim"),
        ({"train_sampling_strategy": "group_by_length"}, "args.train_sampling_strategy"),
    ],
)
def test_what_would_not_be_heeded_is_refused(build: Build, given: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as caught:
        build(**given)
    assert caught.value.where == where


@pytest.mark.parametrize("token", [99_999, -1])
def test_a_token_that_the_model_does_not_have_is_told_with_its_row(build: Build, token: int) -> None:
    row = {"prompt_ids": [5, 6], "expert_ids": [7, 2], "generated_ids": [[8, 2]]}
    with pytest.raises(InputError, match=f"the token id {token} is none of the model's, which has 259") as caught:
        build(rows=[row, row | {"generated_ids": [[token, 2]]}])
    assert caught.value.where == "train_dataset row 1"


@pytest.mark.parametrize(("size", "steps"), [(2, 3), (4, 2), (1, 5)])
def test_every_prompt_of_an_accumulated_step_weighs_the_same_though_the_last_batch_is_smaller(
    build: Build, size: int, steps: int
) -> None:
    def after(size: int, steps: int) -> tuple[torch.Tensor, float]:
        settings = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "max_steps": 1}
        trainer = build(per_device_train_batch_size=size, gradient_accumulation_steps=steps, **settings)
        trainer.train()
        return trainer.model.get_input_embeddings().weight.detach().clone(), trainer.state.log_history[0]["loss"]

    (whole, loss), (parts, told) = after(5, 1), after(size, steps)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
    assert told == pytest.approx(loss, rel=1e-5)


def test_an_evaluation_is_of_its_own_set_alone(build: Build) -> None:
    trainer = build(passed={"eval_dataset": OTHERS})
    trainer.train()
    alone = trainer.evaluate()
    predicted = trainer.predict(trainer.train_dataset).metrics
    again = trainer.evaluate()
    assert again["eval_rewards/margins"] == alone["eval_rewards/margins"]
    assert predicted["test_rewards/margins"] != pytest.approx(alone["eval_rewards/margins"], rel=0.05)
    renamed = trainer.evaluate(metric_key_prefix="other")
    assert renamed["other_rewards/margins"] == alone["eval_rewards/margins"]


def test_what_an_evaluation_that_was_broken_off_had_seen_is_in_no_other(build: Build) -> None:
    trainer = build(passed={"eval_dataset": OTHERS}, per_device_eval_batch_size=1)
    trainer.train()
    whole, compute, seen = trainer.evaluate(), trainer.compute_loss, []

    def broken(*args: Any, **kwargs: Any) -> Any:
        seen.append(args)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return compute(*args, **kwargs)

    trainer.compute_loss = broken
    with pytest.raises(KeyboardInterrupt):
        trainer.evaluate()
    assert trainer.evaluate()["eval_rewards/margins"] == whole["eval_rewards/margins"]


def test_rows_to_predict_on_are_read_and_scored_as_any_others(build: Build) -> None:
    trainer = build()
    metrics = trainer.predict(OTHERS).metrics
    assert metrics["test_loss"] == pytest.approx(0.693147, abs=1e-4)
    trainer.train()
    with pytest.raises(InputError, match="no longer in memory to score this set") as caught:
        trainer.predict(ROWS)
    assert caught.value.where == "test_dataset"
    with pytest.raises(InputError, match="eval_dataset: must be rows, got dict"):
        trainer.evaluate({"a": OTHERS})
