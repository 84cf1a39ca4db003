"""`sparring evaluate judge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparring.cli.judging import JudgeName, JudgeOptions
from sparring.cli.options import Json, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparring.evaluation import Outputs
    from sparring.judges import JudgeSettings


def judge(
    model: Annotated[str, typer.Argument(metavar="A", help="Whose win rate: MODEL|RUN, or a file of answers.")],
    baseline: Annotated[str, typer.Argument(metavar="B", help="The baseline: MODEL|RUN, or a file of answers.")],
    to: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="The JSON file to write.")],
    settings: JudgeOptions = None,
    *,
    judge: JudgeName,
    instructions: Annotated[Path, typer.Option(help="A data file.")],
    column: Annotated[str, typer.Option(help="The column of the instructions.")] = "instruction",
    reference: Annotated[str | None, typer.Option(help="The column of right answers, which some judges need.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The limit of an answer that is generated here.")] = 2048,
    seed: Annotated[int, typer.Option(help="The seed of the bootstrap.")] = 0,
    trust_remote_code: Trust = False,
    json: Json = False,
) -> None:
    """Let a judge compare the answers of two models; print the win rate of the first."""
    from sparring.cli import judging
    from sparring.cli.evaluate.win_rate import row, table
    from sparring.cli.output import print_json, print_lines, print_table
    from sparring.data import load_prompts
    from sparring.evaluation import annotate, read_annotations
    from sparring.files import write_json
    from sparring.links import refuse_links

    chosen = judging.judge(judge, settings or [])
    _check(judge, chosen, reference)
    texts = load_prompts(instructions, column)
    references = [None] * len(texts) if reference is None else load_prompts(instructions, reference)
    answers = to.parent / "answers"
    refuse_links(answers)
    deciding = chosen.start(answers)
    sides = [_outputs(side, texts, max_tokens, trust_remote_code=trust_remote_code) for side in (model, baseline)]
    annotations, counts = annotate(
        deciding,
        texts,
        model=sides[0],
        baseline=sides[1],
        references=references,
        annotator=" ".join([judge, *(settings or [])]),
    )
    write_json(to, annotations)
    rows = [row(item, None, seed) for item in read_annotations(to)]
    if json:
        print_json([rows[0] | counts])
    else:
        print_table(table(rows))
        shown = "  ".join(f"{name.replace('_', ' ')}: {value:g}" for name, value in counts.items())
        print_lines([shown, f"annotations: {to.resolve()}"])


def _check(name: str, chosen: JudgeSettings, reference: str | None) -> None:
    from sparring.errors import InputError

    if not chosen.ranks_policies:
        problem = "this judge never prefers one model's answer to another's"
        raise InputError(problem, where=f"--judge {name}", fix="take another judge")
    chosen.check()
    if chosen.needs_reference_answer and reference is None:
        problem, fix = "this judge compares with right answers", "name their column with --reference"
        raise InputError(problem, where="--judge", fix=fix)


def _outputs(text: str, instructions: Sequence[str], max_tokens: int, *, trust_remote_code: bool) -> Outputs:
    """The answers in a file, or greedy answers of a model."""
    from sparring.cli.candidates import candidate
    from sparring.data.sources import is_data
    from sparring.evaluation import Outputs, answer
    from sparring.generation import generation_config

    if is_data(Path(text)):
        return Outputs.read(Path(text), instructions)
    loaded = candidate(text, trust_remote_code=trust_remote_code).load()
    samples = answer(loaded, instructions, generation_config().greedy(), max_tokens=max_tokens, seed=0, title=text)
    return Outputs(generator=text, texts=tuple(sample.text for sample in samples))
