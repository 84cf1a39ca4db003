"""`sparring evaluate …`: benchmarks of a model or a run. A module a command."""

from __future__ import annotations

import typer

from sparring.cli.evaluate.answers import answers
from sparring.cli.evaluate.harness import harness
from sparring.cli.evaluate.judge import judge
from sparring.cli.evaluate.mt_bench import mt_bench
from sparring.cli.evaluate.outputs import outputs
from sparring.cli.evaluate.win_rate import win_rate

app = typer.Typer(help="Benchmarks of a model or a run.", no_args_is_help=True)
for command in (answers, harness, judge, mt_bench, outputs, win_rate):
    app.command()(command)
