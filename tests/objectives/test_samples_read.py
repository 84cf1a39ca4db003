"""What an objective says it does not read changes neither its loss, nor its metrics, nor a trained weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.regularizers import REGULARIZERS
from sparring.regularizers.composition import Regularized
from sparring.trainer.collation import collate
from sparring.trainer.reading import read_by, taught
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple
from sparring.types import Objective
from tiny import quiet_arguments, tiny_model

# Of each row: all tie, one is best, two share the place, three levels.
WIN_RATES = [[0.5, 0.5, 0.5, 0.5], [0.3, 0.3, 1.0, 0.3], [0.7, 0.2, 0.7, 0.4], [0.9, 0.6, 0.6, 0.1]]
ALL = [True] * 4
READ = {
    "raft": [[False] * 4, [False, False, True, False], [True, False, True, False], [True, False, False, False]],
    "dpo": [ALL, ALL, [True, True, True, False], [True, False, False, True]],
}
PROMPTS = [[1, 40, 41], [1, 42], [1, 43, 44, 45], [1, 46]]


def triples(win_rates: list[list[float]]) -> list[Triple]:
    return [
        Triple(
            prompt_ids=prompt,
            generated_ids=[[50 + k, 60 + b, *range(70, 70 + k), 2] for k in range(4)],
            opponent_generated=[-3.0, -4.0, -5.0, -6.0],
            preference=row,
            row=b,
        )
        for b, (prompt, row) in enumerate(zip(PROMPTS, win_rates, strict=True))
    ]


@pytest.mark.parametrize("name", READ)
def test_the_samples_that_have_a_weight(name: str) -> None:
    assert read_by(OBJECTIVES[name](), collate(triples(WIN_RATES))) == READ[name]


@pytest.mark.parametrize("name", ["sppo", "nash-md"])
def test_an_objective_that_says_nothing_reads_all(name: str) -> None:
    assert read_by(OBJECTIVES[name](), collate(triples(WIN_RATES))) == [ALL] * 4


def test_a_penalty_on_the_samples_reads_all() -> None:
    held = Regularized(OBJECTIVES["raft"](), [REGULARIZERS["reverse-kl"](weight=0.1)])
    assert read_by(held, collate(triples(WIN_RATES))) == [ALL] * 4


def test_of_a_batch_that_teaches_nothing_the_shortest_response_is_read() -> None:
    masks = read_by(OBJECTIVES["raft"](), collate(triples([[0.5] * 4] * 4)))
    assert [(b, k) for b, row in enumerate(masks) for k, read in enumerate(row) if read] == [(0, 0)]


def test_only_prompts_that_teach_something_are_trained_on() -> None:
    rows = triples(WIN_RATES)
    assert taught(OBJECTIVES["raft"](), rows) == rows[1:]
    assert taught(OBJECTIVES["dpo"](), rows) == rows
    assert taught(OBJECTIVES["sppo"](), rows) == rows
    # Where there is nothing to learn, an iteration still has its steps.
    assert taught(OBJECTIVES["raft"](), triples([[0.5] * 4] * 4)) == triples([[0.5] * 4] * 4)
    assert taught(OBJECTIVES["raft"](), []) == []


@pytest.mark.parametrize("name", ["raft", "dpo", "ipo", "inpo"])
def test_what_is_not_read_changes_nothing(name: str) -> None:
    objective = OBJECTIVES[name]()
    judged: dict[str, Any] = {"preference": torch.tensor(WIN_RATES)}
    mask = objective.samples_read(LogRatios(**judged))
    assert mask is not None
    assert not mask.all()
    fields: dict[str, Any] = {field: torch.randn(4, 4) for field in sorted(objective.requires - judged.keys())}
    whole = objective(LogRatios(**fields, **judged))
    part = objective(LogRatios(**{field: value * mask for field, value in fields.items()}, **judged))
    torch.testing.assert_close(part.loss, whole.loss)
    assert part.metrics.keys() == whole.metrics.keys()
    for metric, value in whole.metrics.items():
        torch.testing.assert_close(part.metrics[metric], value)


class _ReadsAll(Objective):
    """An objective that reads what it does not need."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    @property
    def requires(self) -> frozenset[str]:
        return self._objective.requires

    def __call__(self, ratios: LogRatios) -> Any:
        return self._objective(ratios)


@pytest.mark.parametrize("name", ["raft", "dpo"])
@pytest.mark.parametrize("undecided", [False, True])
def test_training_ends_at_the_same_weights(name: str, undecided: bool, tmp_path: Path) -> None:
    rows = triples([[0.5] * 4] * 4 if undecided else WIN_RATES)
    trained = []
    for objective in (OBJECTIVES[name](), _ReadsAll(OBJECTIVES[name]())):
        args = quiet_arguments(
            tmp_path, per_device_train_batch_size=2, num_train_epochs=2, learning_rate=1e-2, optim="sgd"
        )
        model = tiny_model()
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        SelfPlayTrainer(model, objective=objective, args=args, train_dataset=_rows(rows)).train()
        trained.append({key: value.detach() - before[key] for key, value in model.named_parameters()})
    moved = max(float(value.abs().max()) for value in trained[1].values())
    assert (moved == 0.0) == (undecided and name == "raft")
    for key, value in trained[1].items():
        torch.testing.assert_close(trained[0][key], value, atol=1e-6, rtol=1e-4)


def _rows(items: list[Triple]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_ids": each.prompt_ids,
            "expert_ids": [99, 2],
            "generated_ids": each.generated_ids,
            "opponent_expert_log_prob": -1.0,
            "opponent_generated_log_probs": each.opponent_generated,
            "preference": each.preference,
        }
        for each in items
    ]
