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
RunFolders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Run directories; several are compared, a folder of them is listed."),
]
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
    typer.Argument(
        metavar="MODEL|RUN", help="A model, a policy such as RUN/iterations/001, or a run: its best policy."
    ),
]
Models = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN",
        help="A model, a policy such as RUN/iterations/001, or a run: its base model and all its policies.",
    ),
]
Policy = Annotated[str, typer.Option(help="best, or a policy's folder in the run, such as iterations/001 or warmup.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run code that the model or the run brings, and send keys where the run says."
    ),
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="How many processes to plan for; by default those that a launcher started.")
]
Sharded = Annotated[
    bool,
    typer.Option("--sharded", envvar="ACCELERATE_USE_FSDP", help="Plan for weights that processes share out (FSDP2)."),
]
Within = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Find smaller settings with which the run fits into a time: 90s, 15m, 2h."),
]
OnEachNode = Annotated[
    int | None, typer.Option(min=1, help="How many processes on each node; by default one on each GPU.")
]
Sharding = Annotated[bool, typer.Option("--sharded", help="Share out weights, gradients and optimizer states (FSDP2).")]
MainAddress = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where the others reach node 0; the port must be free.")
]
Unused = Annotated[
    float | None,
    typer.Option(metavar="DAYS", min=0, help="Remove samples that no run used for so many days; 0 removes all."),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(help="The file to write; RUN/report.html, comparison.html or FOLDER/index.html by default."),
]
Prompts = Annotated[
    Path | None, typer.Option("--data", help="Prompts from a data file instead, of any format of `data.format`.")
]
Temperature = Annotated[
    float | None, typer.Option(min=1e-6, help="By default the run's, but at most 1; for a model, 1.")
]
TopP = Annotated[
    float | None,
    typer.Option(
        min=1e-6, max=1.0, help="Sample from the likeliest tokens of this share; by default the run's; for a model, 1."
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Sample from so many likeliest tokens; 1 is greedy, 0 takes all. By default the run's; for a model, 0.",
    ),
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="The limit of a response; by default the run's; for a model, 256.")
]
PushTo = Annotated[
    str | None, typer.Option(metavar="OWNER/NAME", help="Upload it to this repository of the Hugging Face hub too.")
]
