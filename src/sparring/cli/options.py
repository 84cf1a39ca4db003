"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

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
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let the model's or run's own code run, and keys go where the run says."),
]
