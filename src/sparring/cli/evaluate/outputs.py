"""`sparring evaluate outputs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.options import Model, Trust


def outputs(  # noqa: PLR0917 - options of a command
    model: Model,
    data: Annotated[Path, typer.Argument(metavar="INSTRUCTIONS", help="A data file.")],
    to: Annotated[Path, typer.Argument(metavar="OUTPUTS", help="The JSON file to write.")],
    column: Annotated[str, typer.Option(help="The column of the instructions.")] = "instruction",
    generator: Annotated[str | None, typer.Option(help="What to call the model; MODEL|RUN by default.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1)] = 2048,
    trust_remote_code: Trust = False,
) -> None:
    """Answer instructions greedily and write the answers as `alpaca_eval` reads them."""
    from sparring.cli.candidates import candidate
    from sparring.cli.output import print_lines
    from sparring.data import load_prompts
    from sparring.evaluation import answer, write_outputs
    from sparring.generation import generation_config

    instructions = load_prompts(data, column)
    loaded = candidate(model, trust_remote_code=trust_remote_code).load()
    samples = answer(loaded, instructions, generation_config().greedy(), max_tokens=max_tokens, seed=0)
    write_outputs(to, instructions, [sample.text for sample in samples], generator=generator or model)
    cut = sum(sample.finish_reason != "stop" for sample in samples)
    print_lines([f"{len(samples)} answers, {cut} of them cut at {max_tokens} tokens: {to.resolve()}"])
