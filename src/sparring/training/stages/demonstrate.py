"""Demonstrate: a teacher writes the expert's responses, once, before anything is played."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sparring.run_directory import TEACHER
from sparring.seeding import derive_seed
from sparring.training.game import Game
from sparring.training.stages.generate import read_samples, sample_shards
from sparring.types import EncodedExample


def demonstrate(game: Game) -> Game:
    """The game with the responses of its teacher, if it has one, as the expert's; they are shards of the run.

    They are draws of π_E itself, at the teacher's temperature and without top-k or top-p, whatever the run's
    generation has.
    """
    if game.teacher is None:
        return game
    return dataclasses.replace(
        game,
        train=_answered(game, "train", game.train, game.teacher.train),
        held_out=_answered(game, "held-out", game.held_out, game.teacher.held_out),
    )


def _answered(
    game: Game, part: str, examples: Sequence[EncodedExample], asked: Sequence[EncodedExample]
) -> list[EncodedExample]:
    shards = sample_shards(
        game,
        TEACHER,
        game.config.generation.untruncated(1, temperature=game.temperature(TEACHER)),
        asked,
        folder=game.directory.teacher.samples,
        prefix=part,
        seed=derive_seed(game.config.seed, "teacher", part),
        title=f"teacher: answer {part}",
    )
    answers = {index: rows[0] for index, rows in read_samples(shards).items()}
    return [
        dataclasses.replace(
            example, expert_ids=answers[example.index]["response_ids"], response=answers[example.index]["text"]
        )
        for example in examples
    ]
