"""From sample shards to verdict files to triples with preferences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from a_run import a_run, a_sample, judged_by, on
from sparring.errors import InputError, RunError
from sparring.examples import EncodedExample
from sparring.judges import JUDGES, Question, StartedJudge, Verdict, fingerprint
from sparring.judges.protocol import verdict_of_scores
from sparring.objectives import OBJECTIVES
from sparring.policies import Drawn
from sparring.run_directory import RunDirectory
from sparring.selfplay.run import Run
from sparring.selfplay.stages.judge import join, judge_samples
from sparring.shard_files import read_shard, write_shard
from sparring.shards import samples_path
from sparring.trainer.collation import collate
from sparring.trainer.trainer import SelfPlayTrainer
from sparring.trainer.triples import Triple, Triples, triples_from
from tiny import tiny_model

TEXTS = {7: ("= 3", "= 4", "= 3"), 9: ("no", "idea", "5")}


class Counting:
    """A judge that counts what it is asked, by exact answers; it abstains from "idea"."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        self.asked += questions
        scores = [
            [
                None if text == "idea" else float(text.endswith(question.reference_answer[-1]))
                for text in question.responses
            ]
            for question in questions
        ]
        return [verdict_of_scores(each, 0.0) for each in scores]


Play = Callable[..., Run]


@pytest.fixture
def game(tiny_folder: Path, tmp_path: Path) -> Play:
    """A run with a judge of ours, on two prompts."""

    def of(objective: str = "sppo", judge: Any = None, **settings: Any) -> Run:
        options = {"judge": {"name": "verifier", **settings}, "generation": {"samples_per_prompt": 3}}
        run = a_run(tiny_folder, tmp_path, objective={"name": objective}, **options)
        (phase,) = run.prepared.phases
        run = judged_by(run, StartedJudge(judge or Counting(), fingerprint(phase.judge)))
        experts = {index: f"= {index - 4}" for index in TEXTS}
        return on(
            run,
            train=[
                EncodedExample(index=index, prompt_ids=[3], expert_ids=[4, index], prompt="p", response=text)
                for index, text in experts.items()
            ],
        )

    return of


def asked(playing: Run) -> list[Question]:
    return playing.judges.of_phases[0].judge.asked


def shards(folder: Path) -> list[Path]:
    stage = RunDirectory(folder).iteration(0)
    paths = [samples_path(stage, Drawn(0, "sampled"), number) for number in range(len(TEXTS))]
    for path, (index, texts) in zip(paths, TEXTS.items(), strict=True):
        write_shard(path, [a_sample(index=index, sample=k, text=text) for k, text in enumerate(texts)])
    return paths


def triples() -> list[Triple]:
    scores = {"opponent_expert": -1.0, "opponent_generated": (-2.0, -3.0, -4.0)}
    return [Triple(prompt_ids=[3], expert_ids=[4, index], generated_ids=[[5], [6], [7]], **scores) for index in TEXTS]


def test_each_shard_is_judged_once_and_what_was_open_is_logged(game: Play, tmp_path: Path) -> None:
    playing, paths = game(), shards(tmp_path)
    verdicts = judge_samples(playing, 0, paths)
    assert verdicts[7].win_rates() == (0.75, 0.0, 0.75)
    assert verdicts[9].win_rates() == (0.0, None, 1.0)
    (event,) = playing.directory.events()
    assert (event["judge/ties"], event["judge/abstentions"], event["judge/cost"]) == (1, 2, 0)
    assert (event["judge/comparisons"], event["judge/decided"]) == (6, 2)
    again = game()
    assert judge_samples(again, 0, paths) == verdicts
    assert asked(again) == []
    paths[0].unlink()
    write_shard(paths[0], [a_sample(index=7, sample=k, text=text) for k, text in enumerate(("= 3", "= 8", "= 9"))])
    other = game()
    assert judge_samples(other, 0, paths)[7].win_rates() == (1.0, 0.25, 0.25)
    assert [question.responses for question in asked(other)] == [("= 3", "= 8", "= 9")]
    assert len(read_shard(playing.directory.iteration(0).judgements / paths[0].name)) == 1


def test_it_is_said_where_there_is_nothing_to_learn(
    game: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def all_even(questions: Sequence[Question]) -> list[Verdict]:
        return [verdict_of_scores([1.0] * len(question.responses), 0.0) for question in questions]

    judge_samples(game(judge=all_even), 0, shards(tmp_path))
    said = " ".join(capsys.readouterr().err.split())
    assert "of 6 comparisons 6 are ties, 0 abstentions, 0 unreadable" in said
    assert "preferred to another on 0 of 2 prompts, so there is nothing to learn" in said
    assert "(generation.samples_per_prompt)" in said


@pytest.mark.parametrize(
    ("scores", "said"), [((1.0, 1.0), True), ((0.0, 1.0), False), ((None, None), False)], ids=["ties", "half", "open"]
)
def test_what_decides_more_prompts_is_said_where_most_tie(
    game: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str], scores: tuple[float | None, ...], said: bool
) -> None:
    def judge(questions: Sequence[Question]) -> list[Verdict]:
        # Of prompt 9 the responses tie, or nothing is known of them.
        return [
            verdict_of_scores([*(scores if "= 3" in question.responses else [scores[-1]] * 2), scores[-1]], 0.0)
            for question in questions
        ]

    judge_samples(game(judge=judge), 0, shards(tmp_path))
    assert ("Some response is preferred on more prompts where" in " ".join(capsys.readouterr().err.split())) == said


def test_verdicts_of_another_judge_are_not_taken_for_its_own(game: Play, tmp_path: Path) -> None:
    paths = shards(tmp_path)
    judge_samples(game(), 0, paths)
    other = game(rule="exact")
    judge_samples(other, 0, paths)
    assert len(asked(other)) == 2


def test_a_template_that_changes_while_the_judge_is_at_work_is_not_its_own(tmp_path: Path) -> None:
    template = tmp_path / "t.txt"
    template.write_text("{prompt} {first} {second}")
    settings = JUDGES["llm"](model="m", api_key_env=None, template=str(template))
    started = StartedJudge.of(settings, tmp_path)
    template.write_text("{prompt}: {first} {second}")
    assert started.identity != StartedJudge.of(settings, tmp_path).identity


def test_prompts_on_which_something_needed_is_open_sit_out(
    game: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    playing = game()
    verdicts = judge_samples(playing, 0, shards(tmp_path))
    (triple,) = join(playing, 0, triples(), verdicts)
    assert triple.preference == (0.75, 0.0, 0.75)
    assert triple.pairwise is None
    assert "1 of 2 prompts; they sit out" in capsys.readouterr().err
    open_ones = dict.fromkeys(TEXTS, verdicts[9])
    with pytest.raises(RunError, match="nothing to train on"):
        join(playing, 0, triples(), open_ones)
    everyone = replace(playing.phase(0), objective=OBJECTIVES["ipo"](pairs="all"))
    other = replace(playing, prepared=replace(playing.prepared, phases=(everyone,)))
    (triple,) = join(other, 0, triples(), verdicts)
    assert triple.pairwise == verdicts[7].pairwise
    assert triple.preference is None


def test_the_published_win_rate_counts_the_response_itself(game: Play, tmp_path: Path) -> None:
    playing = game(include_self=True)
    (triple, *_) = join(playing, 0, triples(), judge_samples(playing, 0, shards(tmp_path)))
    assert triple.preference == pytest.approx((2 / 3, 1 / 6, 2 / 3))


def test_an_expert_that_plays_is_one_more_sample(game: Play, tmp_path: Path) -> None:
    playing = game(expert_plays=True)
    verdicts = judge_samples(playing, 0, shards(tmp_path))
    assert asked(playing)[0].responses == ("= 3", "= 3", "= 4", "= 3")
    (triple,) = join(playing, 0, triples(), verdicts)
    assert triple.generated_ids == [[4, 7], [5], [6], [7]]
    assert triple.opponent_generated == (-1.0, -2.0, -3.0, -4.0)
    assert triple.preference == pytest.approx((2 / 3, 0.75, 0.0, 0.75))


def test_an_expert_that_plays_against_a_single_response(game: Play, tmp_path: Path) -> None:
    playing = game("dpo", JUDGES["expert"]().start(tmp_path), expert_plays=True)
    path = tmp_path / "samples.parquet"
    write_shard(path, [a_sample(index=index, sample=0, text=texts[0]) for index, texts in TEXTS.items()])
    single = [replace(each, generated_ids=[[5]], opponent_generated=(-2.0,)) for each in triples()]
    joined = join(playing, 0, single, judge_samples(playing, 0, [path]))
    assert [triple.preference for triple in joined] == [(1.0, 0.5)] * 2


def test_the_trainer_learns_what_the_judge_prefers(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    rows = [{"prompt_ids": [5, 6], "expert_ids": [9, 2], "generated_ids": [[7, 2], [8, 2]], "preference": [1.0, 0.0]}]
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=40, learning_rate=3e-3, report_to=[], save_strategy="no", use_cpu=True
    )
    trainer = SelfPlayTrainer(tiny_model(), OBJECTIVES["sppo"](eta=2.0), args, rows)
    trainer.train()
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, collate(trainer.train_dataset.items))
    assert loss.item() < 0.05 * 0.5


def test_triples_without_preferences_are_refused_before_training() -> None:
    rows = [{"prompt_ids": [5, 6], "expert_ids": [9, 2], "generated_ids": [[7, 2], [8, 2]]}]
    for objective, name in ((OBJECTIVES["sppo"](), "preference"), (OBJECTIVES["dpo"](pairs="all"), "pairwise")):
        with pytest.raises(InputError, match=f"needs a judge's '{name}'"):
            SelfPlayTrainer(tiny_model(), objective, None, rows)
    for wrong in ({"preference": [1.0]}, {"pairwise": [[0.5, 1.0]]}, {"pairwise": [[0.5], [0.5]]}):
        with pytest.raises(InputError, match="entries are given for 2 generated responses"):
            triples_from([rows[0] | wrong], None)
    given = Triples(triples_from([rows[0] | {"pairwise": [[0.5, 1.0], [0.0, 0.5]]}], None).items)
    assert collate(given.items)["pairwise"].shape == (1, 2, 2)


def test_the_built_in_judge_plays_in_the_stage(game: Play, tmp_path: Path) -> None:
    playing = game(judge=JUDGES["verifier"]().start(tmp_path))
    assert judge_samples(playing, 0, shards(tmp_path))[9].win_rates() == (0.25, 0.25, 1.0)
