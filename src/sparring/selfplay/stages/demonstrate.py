"""Demonstrate: a teacher writes the expert's responses, once, before anything is played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sparring.examples import EncodedExample
from sparring.policies import TEACHER
from sparring.seeding import derive_seed
from sparring.selfplay.run import Run
from sparring.selfplay.stages.generate import Wanted, sample_shards
from sparring.shards import Split, read_samples, teacher_path


def demonstrate(run: Run) -> Run:
    """The run with its teacher's responses, if it has a teacher, in the expert's place; they are written to shards.

    They are draws of π_E itself: at the teacher's temperature and without top-k or top-p, whatever `generation` says.
    """
    teacher, prepared = run.teacher, run.prepared
    if teacher is None:
        return run
    train = replace(prepared.train, examples=_with_responses(run, "train", run.train, teacher.train))
    held_out = prepared.held_out and replace(
        prepared.held_out, examples=_with_responses(run, "held-out", run.held_out, teacher.held_out)
    )
    return replace(run, prepared=replace(prepared, train=train, held_out=held_out))


def _with_responses(
    run: Run, split: Split, examples: Sequence[EncodedExample], asked: Sequence[EncodedExample]
) -> list[EncodedExample]:
    shards = sample_shards(
        run,
        TEACHER,
        Wanted(
            config=run.config.generation.untruncated(1, temperature=run.temperature(TEACHER)),
            path=lambda number: teacher_path(run.directory.teacher, split, number),
            seed=derive_seed(run.config.seed, "teacher", split),
        ),
        asked,
        title=f"teacher: answer {split}",
    )
    answers = {index: rows[0] for index, rows in read_samples(shards).items()}
    return [
        replace(example, expert_ids=answers[example.index]["response_ids"], response=answers[example.index]["text"])
        for example in examples
    ]
