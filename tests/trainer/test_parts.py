"""A batch in parts: which prompts are together, and that training ends where the whole batch would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparring.objectives import OBJECTIVES
from sparring.regularizers import REGULARIZERS
from sparring.regularizers.composition import Regularized
from sparring.trainer import parts as module
from sparring.trainer.collation import collate
from sparring.trainer.parts import in_parts, parts
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple
from tiny import quiet_arguments, tiny_model

SPIN = OBJECTIVES["spin"]()


def triple(number: int, prompt: int, *responses: int) -> Triple:
    """Of so many tokens; the first response is the expert's."""
    ids = [[40 + number + (n + k) % 50 for n in range(length)] for k, length in enumerate(responses)]
    return Triple(prompt_ids=[1] * prompt, expert_ids=ids[0], generated_ids=ids[1:], row=number)


def rows_of(triples: list[Triple]) -> list[list[int]]:
    return [part["rows"] for part in parts(collate(triples), SPIN)]


def test_as_many_prompts_are_together_as_there_is_room_for() -> None:
    of_400 = [triple(n, 200, 100, 100) for n in range(5)]
    assert rows_of(of_400) == [[0, 1], [2, 3], [4]]
    assert rows_of([triple(0, 24, 500, 500)]) == [[0]]
    # One that is longer than a part is alone, and one that fits exactly is with others.
    assert rows_of([triple(0, 500, 500, 500), triple(1, 10, 10, 10), triple(2, 500, 494, 30)]) == [[0], [1], [2]]
    assert rows_of([triple(0, 10, 10, 10), triple(1, 500, 464, 30)]) == [[0, 1]]


def test_a_response_that_is_not_read_takes_no_room() -> None:
    judged = [
        Triple(prompt_ids=[1] * 100, generated_ids=[[5] * 400, [6] * 400], preference=row, row=n)
        for n, row in enumerate([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
    ]
    assert [part["rows"] for part in parts(collate(judged), OBJECTIVES["raft"]())] == [[0, 1, 2], [3]]


def test_a_part_has_its_own_prompts_of_everything() -> None:
    scored = [triple(n, 400, 100, 100).with_scores([-1.0 - n, -2.0 - n]) for n in range(3)]
    *_, last = parts(collate(scored), SPIN)
    assert last["rows"] == [2]
    assert last["whole"] == 3
    assert (len(last["prompts"]), len(last["responses"])) == (1, 1)
    assert last["opponent_expert"].tolist() == [-3.0]
    assert last["opponent_generated"].tolist() == [[-4.0]]


@pytest.mark.parametrize(
    ("name", "device", "processes", "expected"),
    [("spin", "cpu", 1, True), ("spin", "cuda", 1, False), ("spin", "cpu", 2, False), ("renyi", "cpu", 1, False)],
)
def test_where_batches_are_trained_on_in_parts(name: str, device: str, processes: int, expected: bool) -> None:
    objective = OBJECTIVES[name]()
    assert in_parts(objective, device, processes) == expected
    assert in_parts(Regularized(objective, [REGULARIZERS["sft"](weight=0.1)]), device, processes) == expected


@pytest.fixture
def train(tmp_path: Path) -> Callable[[], tuple[dict[str, torch.Tensor], list[dict[str, Any]]]]:
    def trained() -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
        args = quiet_arguments(
            tmp_path,
            per_device_train_batch_size=3,
            gradient_accumulation_steps=2,
            num_train_epochs=2,
            logging_steps=1,
            learning_rate=1e-2,
            optim="sgd",
        )
        rows = [
            {"prompt_ids": each.prompt_ids, "expert_ids": each.expert_ids, "generated_ids": each.generated_ids}
            for each in (triple(n, 3 + n, 4 + n, 6, 9 - n) for n in range(8))
        ]
        model = tiny_model()
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        trainer = SelfPlayTrainer(model, objective="spif", args=args, train_dataset=rows)
        trainer.train()
        moved = {name: value.detach() - before[name] for name, value in model.named_parameters()}
        return moved, [entry for entry in trainer.state.log_history if "loss" in entry]

    return trained


def test_training_in_parts_ends_where_whole_batches_do(
    train: Callable[[], tuple[dict[str, torch.Tensor], list[dict[str, Any]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, logged = train()
    monkeypatch.setattr(module, "PART_TOKENS", 1)
    apart, logged_apart = train()
    assert max(float(value.abs().max()) for value in whole.values()) > 1e-3
    for name, value in whole.items():
        torch.testing.assert_close(apart[name], value, atol=1e-6, rtol=1e-4)
    for one, other in zip(logged, logged_apart, strict=True):
        for key in ("loss", "grad_norm", "rewards/margins", "divergence_estimate"):
            assert other[key] == pytest.approx(one[key], rel=1e-4, abs=1e-6)
