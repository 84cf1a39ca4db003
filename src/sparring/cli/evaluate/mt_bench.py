"""`sparring evaluate mt-bench`."""

from __future__ import annotations

import hashlib
import json as json_
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.cli.judging import JudgeOptions
from sparring.cli.options import Json, Models, Trust

if TYPE_CHECKING:
    from rich.table import Table

    from sparring.evaluation.mt_bench import Grade, Grader, MtQuestion
    from sparring.judges.correspondence import Correspondent

_FASTCHAT = "in FastChat's format"


def mt_bench(  # noqa: PLR0917 - options of a command
    model: Models,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help=f"question.jsonl {_FASTCHAT}.")],
    settings: JudgeOptions = None,
    judge: Annotated[
        str | None, typer.Option(help="The judge's name, such as llm; without one the questions are only answered.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help=f"judge_prompts.jsonl {_FASTCHAT}.")] = None,
    references: Annotated[Path | None, typer.Option(help=f"Right answers {_FASTCHAT}.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help=f"Answers {_FASTCHAT} to compare with, in place of grades from 1 to 10.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The limit of an answer.")] = 1024,
    seed: Annotated[int, typer.Option(help="The seed of sampled answers and of the bootstrap.")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Where to keep a model's answers; a run keeps those of its policies.")
    ] = None,
    trust_remote_code: Trust = False,
    json: Json = False,
) -> None:
    """Answer the two turns of MT-Bench's questions, and let a judge grade them."""
    from sparring.cli.candidates import candidates, results_folder
    from sparring.cli.output import print_json, print_lines, print_table
    from sparring.errors import InputError
    from sparring.evaluation.mt_bench import answer_questions, read_answers, read_questions

    asked = read_questions(questions)
    found = candidates(model, trust_remote_code=trust_remote_code)
    folders = [results_folder(candidate, output) for candidate in found]
    if None in folders:
        raise InputError("there is no folder for the model's answers", where="--output", fix="name one")
    places = [folder / "mt-bench" for folder in folders if folder is not None]
    grading = None if judge is None else _correspondent(judge, settings or [])
    grader = None if grading is None else _grader(asked, prompts, references, baseline)
    endpoints = [] if grading is None else [grading.connect(place / "endpoint") for place in places]
    rows: list[dict[str, Any]] = []
    for number, (each, place) in enumerate(zip(found, places, strict=True)):
        answers = answer_questions(each.load, asked, name=each.name, max_tokens=max_tokens, seed=seed, folder=place)
        rows.append({"policy": each.name, "answers": str(answers)})
        if grading is not None and grader is not None:
            grades, replies = grader.grade(read_answers(answers), endpoints[number])
            rows[-1] |= _graded(grader, grades, place, seed) | grading.bill(replies)
    if json:
        print_json(rows)
    elif grading is None:
        print_lines(f"{row['policy']}: {row['answers']}" for row in rows)
    else:
        print_table(_table(rows, compared=baseline is not None))
        print_lines(f"{row['policy']}: {row['judgments']}" for row in rows)


def _correspondent(name: str, settings: Sequence[str]) -> Correspondent:
    from sparring.cli import judging
    from sparring.errors import InputError
    from sparring.judges import JUDGES
    from sparring.judges.correspondence import Correspondent

    chosen = judging.judge(name, settings)
    if not isinstance(chosen, Correspondent):
        able = " or ".join(known for known, build in JUDGES.items() if hasattr(build, "connect"))
        raise InputError(f"the judge {name} writes no judgments to read", where="--judge", fix=f"take {able}")
    if chosen.template is not None:
        raise InputError("MT-Bench has its own prompts", where="template", fix="give them with --prompts")
    return chosen


def _grader(
    questions: Sequence[MtQuestion], prompts: Path | None, references: Path | None, baseline: Path | None
) -> Grader:
    """The grader, checked before the judge is asked anything."""
    from sparring.errors import InputError
    from sparring.evaluation.mt_bench import Grader, read_answers, read_prompts

    if prompts is None:
        raise InputError("the judge's prompts are missing", where="--prompts", fix="give judge_prompts.jsonl")
    grader = Grader(
        questions=questions,
        templates=read_prompts(prompts),
        references=None if references is None else read_answers(references),
        baseline=None if baseline is None else read_answers(baseline),
    )
    grader.check()
    return grader


def _graded(grader: Grader, grades: Sequence[Grade], folder: Path, seed: int) -> dict[str, Any]:
    """Writes the judgments as FastChat does; returns the file and the scores."""
    from dataclasses import asdict

    from sparring.evaluation.mt_bench import summarize
    from sparring.files import write_json_lines

    rows = [dict(grade.row) for grade in grades]
    judged = [{key: value for key, value in row.items() if key != "tstamp"} for row in rows]
    path = folder / f"judgments-{hashlib.sha256(json_.dumps(judged).encode()).hexdigest()[:8]}.jsonl"
    write_json_lines(path, rows)
    scores = summarize(grader.questions, grades, seed=seed)
    return {"judgments": str(path), "scores": {name: asdict(score) for name, score in scores.items()}}


def _table(rows: Sequence[Mapping[str, Any]], *, compared: bool) -> Table:
    """A table with a line for each category and a column for each policy."""
    from rich.table import Table

    table = Table("win rate, %" if compared else "grade, 1 to 10")
    for row in rows:
        table.add_column(row["policy"], justify="right")
    scale, names = (100 if compared else 1), list(rows[0]["scores"])
    for name in names:
        if name == "first turn":
            table.add_section()
        table.add_row(name, *(_shown(row["scores"][name], scale) for row in rows))
    table.add_section()
    for count in ("n", "unparsable", "refused"):
        label = "graded turns" if count == "n" else f"{count} judgments"
        table.add_row(label, *(str(row["scores"]["all"][count]) for row in rows))
    return table


def _shown(score: Mapping[str, Any], scale: int) -> str:
    if score["mean"] is None:
        return "–"
    if score["interval"] is None:
        return f"{scale * score['mean']:.2f}"
    low, high = (scale * bound for bound in score["interval"])
    return f"{scale * score['mean']:.2f} ± {scale * score['standard_error']:.2f} [{low:.2f}, {high:.2f}]"
