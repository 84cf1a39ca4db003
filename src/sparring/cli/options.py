"""Arguments and options of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sparring.cli.completion import configurations

Config = Annotated[
    str,
    typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a recipe.", autocompletion=configurations),
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings to change.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
SkipInvalid = Annotated[bool, typer.Option("--skip-invalid", help="Leave invalid rows out, counted and listed.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(
        help="Number format of an adapter's merged weights; by default the wider of the base's and the run's."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL|RUN", help="A model, a policy such as RUN/iterations/001, or a run: its best one."),
]
Models = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN", help="A model, a policy such as RUN/iterations/001, or a run: base and all its policies."
    ),
]
Policy = Annotated[str, typer.Option(help="best, or a policy's folder in the run, e.g. iterations/001 or warmup.")]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let the model's or run's own code run, and keys go where the run says."),
]
