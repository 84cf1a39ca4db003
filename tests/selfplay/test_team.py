"""A run against a team: every member's own samples and log-probs, from the files of its own round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from a_run import a_config
from sparring.errors import InputError
from sparring.log_ratios import LogRatios
from sparring.logprobs import sequence_log_probs
from sparring.objectives import OBJECTIVES
from sparring.planning.tokens import trained_rows
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.loop import run
from sparring.selfplay.phases import phases_of
from sparring.selfplay.prepared import prepare
from sparring.selfplay.set_up import reopen, set_up
from sparring.selfplay.stages.score import score
from sparring.shards import read_samples, samples_of
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Round, Triple, Triples
from tiny import tiny_model

DATA = {"source": "arithmetic", "limit": 3, "held_out": 0, "max_response_tokens": 5}
AGAINST = {"objective": {"name": "tpaw"}, "opponent": {"name": "team", "size": 2}}
PLAYED = {
    "data": DATA,
    "generation": {"samples_per_prompt": 2, "batch_size": 4},
    "training": {"learning_rate": 1e-3, "max_steps": 1},
    "stop": {"enabled": False},
    "phases": [{"objective": {"name": "spin"}, "iterations": 1}, AGAINST | {"iterations": 2}],
}


def test_a_member_brings_what_it_generated_and_scored_in_its_own_round(tiny_folder: Path, tmp_path: Path) -> None:
    run(a_config(tiny_folder, tmp_path / "run", **PLAYED))
    directory = RunDirectory(tmp_path / "run")
    again = set_up(*reopen(directory.path, trust_remote_code=False))
    before = {path: path.stat().st_mtime_ns for path in directory.path.rglob("scores/*")}

    def triples(iteration: int) -> list[Triple]:
        return score(again, iteration, list(samples_of(directory.iteration(iteration))))

    # The phase's first round has no member before it, though the phase before sampled too.
    assert [len(triple.rounds) for triple in triples(1)] == [0, 0, 0]
    samples = read_samples(samples_of(directory.iteration(1)))
    again.activate(1)
    for example, triple in zip(again.prompts(2), triples(2), strict=True):
        (earlier,) = triple.rounds
        assert list(earlier.generated_ids) == [row["response_ids"] for row in samples[example.index]]
        answers = [triple.expert_ids, *earlier.generated_ids]
        (log_probs,) = again.policy.log_probs([triple.prompt_ids], [answers], temperature=1.0)
        assert [earlier.expert, *earlier.generated] == pytest.approx([float(each.sum()) for each in log_probs])
    assert {path: path.stat().st_mtime_ns for path in directory.path.rglob("scores/*")} == before


def test_the_trainer_measures_each_member_by_its_own_scores(tmp_path: Path) -> None:
    triples = [
        Triple(
            prompt_ids=[5, 6],
            expert_ids=[9, 2],
            generated_ids=[[7, 2], [8, 3, 2]],
            opponent_expert=-11.0,
            opponent_generated=(-12.0, -13.0),
            rounds=[Round(generated_ids=[[4, 2], [2]], expert=-10.0, generated=(-14.0, -6.0))],
        ),
        Triple(
            prompt_ids=[4],
            expert_ids=[8, 8, 2],
            generated_ids=[[2], [7, 7, 7]],
            opponent_expert=-15.0,
            opponent_generated=(-5.0, -16.0),
            rounds=[Round(generated_ids=[[6], [9, 2]], expert=-17.0, generated=(-7.0, -9.0))],
        ),
    ]
    model, objective = tiny_model(), OBJECTIVES["tpaw"]()
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], save_strategy="no", use_cpu=True)
    trainer = SelfPlayTrainer(model, objective=objective, args=args, train_dataset=Triples(triples))
    expert, generated = [], []
    with torch.no_grad():
        output = trainer.compute_loss(model, trainer.data_collator(triples), return_outputs=True)[1]
        for triple in triples:
            (earlier,) = triple.rounds
            answers = [triple.expert_ids, *triple.generated_ids, *earlier.generated_ids]
            (scored,) = sequence_log_probs(model, [triple.prompt_ids], [answers])
            expert.append([scored[0] - triple.opponent_expert, scored[0] - earlier.expert])
            of_samples = scored[1:] - torch.tensor([*triple.opponent_generated, *earlier.generated])
            generated.append(of_samples.view(2, 2).tolist())
    given = LogRatios(team_expert=torch.tensor(expert), team_generated=torch.tensor(generated))
    assert torch.allclose(output.loss, objective(given).loss, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "where", "problem"),
    [
        ({"objective": {"name": "tpaw"}}, "opponent.name", "'tpaw' plays against a team, and 'previous' is none"),
        ({"opponent": {"name": "team"}}, "opponent.name", "'team' is a team, and 'spif' reads one opponent alone"),
    ],
)
def test_a_team_and_who_reads_it_need_each_other(settings: dict[str, Any], where: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        phases_of(SelfPlayConfig.from_mapping({"data": DATA} | settings))
    assert caught.value.where == where


def test_prompts_that_change_leave_a_team_without_samples(tiny_folder: Path, tmp_path: Path) -> None:
    rotating = {"data": DATA | {"prompts_per_iteration": 2}}
    with pytest.raises(InputError, match="earlier policies' responses to the same prompts"):
        prepare(a_config(tiny_folder, tmp_path, **AGAINST, **rotating))


def test_a_plan_counts_the_samples_of_every_member(tiny_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(a_config(tiny_folder, tmp_path, **PLAYED))
    counts = [len(next(trained_rows(prepared, prepared.phases[1], iteration)).responses) for iteration in (1, 2)]
    # The expert's and two of the newest member; then two of the one before, too.
    assert counts == [3, 5]
