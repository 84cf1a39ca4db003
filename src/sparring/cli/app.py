"""The commands. Heavy libraries are imported inside them, so that `sparring --help` answers at once."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from sparring.cli.completion import configurations
from sparring.cli.evaluate import app as evaluate
from sparring.cli.game import app as game
from sparring.cli.options import (
    Config,
    Dtype,
    Json,
    MainAddress,
    MaxTokens,
    Model,
    OnEachNode,
    Overrides,
    Policy,
    Processes,
    Prompts,
    PushTo,
    ReportFile,
    RunFolder,
    RunFolders,
    Sharded,
    Sharding,
    SkipInvalid,
    Temperature,
    TopK,
    TopP,
    Trust,
    Unused,
    Within,
)
from sparring.cli.recipes import app as recipes
from sparring.cli.settings import TakesSettings
from sparring.disk import refusal
from sparring.errors import InputError, SparringError, StopError
from sparring.inputs import is_text
from sparring.terminal import visible

app = typer.Typer(
    name="sparring",
    help="Self-play fine-tuning of language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(evaluate, name="evaluate")
app.add_typer(game, name="game")
app.add_typer(recipes, name="recipes")


def _version(asked: bool) -> None:
    if asked:
        print(importlib.metadata.version("sparring"))  # noqa: T201 - what prints results is heavy to import
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """The options before a command; each does its work by itself."""


@app.command(cls=TakesSettings)
def train(config: Config, overrides: Overrides = None, skip_invalid: SkipInvalid = False, json: Json = False) -> None:
    """Play a whole run: warm-up, then iterations of generate, score, judge, train, evaluate."""
    from sparring.cli.training import train_command

    train_command(config, overrides or [], skip_invalid=skip_invalid, as_json=json)


@app.command()
def resume(run: RunFolder, trust_remote_code: Trust = False, json: Json = False) -> None:
    """Continue a run that was interrupted, from the last finished shard or checkpoint."""
    from sparring.cli.training import resume_command

    resume_command(run, trust_remote_code=trust_remote_code, as_json=json)


@app.command(cls=TakesSettings)
def launch(  # noqa: PLR0917 - options of a command
    target: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|RUN",
            help="A YAML file, or the name of a recipe; or the directory of a run to continue.",
            autocompletion=configurations,
        ),
    ],
    overrides: Overrides = None,
    processes: OnEachNode = None,
    sharded: Sharding = False,
    nodes: Annotated[int, typer.Option(min=1, help="How many machines; give the same command on each.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="The number of this one, counted from 0.")] = 0,
    main_address: MainAddress = None,
    trust_remote_code: Trust = False,
    skip_invalid: SkipInvalid = False,
    json: Json = False,
) -> None:
    """Play or continue a run in several processes, on one GPU each or on processors."""
    from sparring.cli.launch import Nodes, launch_command

    launch_command(
        target,
        overrides or [],
        processes=processes,
        sharded=sharded,
        nodes=Nodes(count=nodes, rank=node_rank, main=main_address),
        trust_remote_code=trust_remote_code,
        skip_invalid=skip_invalid,
        as_json=json,
    )


@app.command(cls=TakesSettings)
def plan(  # noqa: PLR0917 - options of a command
    config: Config,
    overrides: Overrides = None,
    processes: Processes = None,
    sharded: Sharded = False,
    no_calibration: Annotated[bool, typer.Option("--no-calibration", help="Load no weights; give no times.")] = False,
    within: Within = None,
    skip_invalid: SkipInvalid = False,
    json: Json = False,
) -> None:
    """Check a configuration; print its stability number, tokens, memory and time. Trains nothing."""
    from sparring.cli.training import plan_command

    plan_command(
        config,
        overrides or [],
        processes=processes,
        sharded=sharded,
        calibrated=not no_calibration,
        within=within,
        skip_invalid=skip_invalid,
        as_json=json,
    )


@app.command()
def generate(  # noqa: PLR0917 - options of a command
    model: Model,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="A prompt; may be repeated.")] = None,
    data: Prompts = None,
    system: Annotated[str | None, typer.Option(help="A system turn before every prompt.")] = None,
    samples: Annotated[int, typer.Option("--samples", "-k", min=1, help="Responses a prompt.")] = 1,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: MaxTokens = None,
    seed: Annotated[int, typer.Option(help="The seed of what is sampled.")] = 0,
    trust_remote_code: Trust = False,
    json: Json = False,
) -> None:
    """Sample responses and print them. A run's policy gets its prompts as in training."""
    from sparring.cli.models import generate_command

    settings = {"samples_per_prompt": samples, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    generate_command(
        model,
        prompt or [],
        data,
        {name: value for name, value in settings.items() if value is not None},
        system=system,
        max_tokens=max_tokens,
        seed=seed,
        trust_remote_code=trust_remote_code,
        as_json=json,
    )


@app.command(cls=TakesSettings)
def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data file, a folder of them, or a dataset's name.")],
    overrides: Overrides = None,
    to: Annotated[Path, typer.Option(help="The file to write.")] = Path("sparring.yaml"),
    model: Annotated[str, typer.Option(help="The model to train.")] = "smollm2-135m",
) -> None:
    """Look at a data file and write a commented configuration for it."""
    from sparring.cli.init import init_command

    init_command(data, overrides or [], to, model)


@app.command()
def schema() -> None:
    """Print the JSON schema of configurations, with which editors complete and check them."""
    from sparring.cli.output import print_json
    from sparring.selfplay.config.json_schema import json_schema

    print_json(json_schema())


@app.command()
def report(
    runs: RunFolders,
    to: ReportFile = None,
    watch: Annotated[bool, typer.Option("--watch", help="Serve it live on this machine while the run lasts.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to serve it; 0 takes any free port.")] = 8777,
    json: Json = False,
) -> None:
    """Print a run's table and write its report: one page that needs no network."""
    from sparring.cli.report import report_command

    report_command(runs, to=to, watch=watch, port=port, as_json=json)


@app.command()
def export(  # noqa: PLR0917 - options of a command
    run: RunFolder,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write the model.")],
    policy: Policy = "best",
    push_to: PushTo = None,
    private: Annotated[bool, typer.Option("--private", help="Upload to a private repository only.")] = False,
    dtype: Dtype = None,
    adapter: Annotated[bool, typer.Option("--adapter", help="Write the adapter alone, for peft.")] = False,
    trust_remote_code: Trust = False,
    json: Json = False,
) -> None:
    """Write a policy as a whole model, its adapter merged, with a model card; or write its adapter alone."""
    from sparring.cli.models import export_command

    export_command(
        run,
        to,
        policy,
        push_to=push_to,
        private=private,
        dtype=dtype,
        adapter=adapter,
        trust_remote_code=trust_remote_code,
        as_json=json,
    )


@app.command()
def export_samples(
    run: RunFolder,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The Parquet file to write.")],
    json: Json = False,
) -> None:
    """Write all responses of a run as one Parquet file, with prompts, log-probs and verdicts."""
    from sparring.cli.models import export_samples_command

    export_samples_command(run, to, as_json=json)


@app.command()
def cache(remove_unused: Unused = None, json: Json = False) -> None:
    """Show the size of the samples that runs share, or remove them."""
    from sparring.cli.cache import cache_command

    cache_command(remove_unused, as_json=json)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 128 + n stopped by signal n."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that is not UTF-8 lacks some characters, and a path may hold bytes that are no characters.
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_text(sys.argv[1:])
        app()
    except InputError as error:
        _fail(error, 2)
    except StopError as error:
        _fail(error, error.exit_code)
    except SparringError as error:
        _fail(error, 1)
    except Exception as error:
        refused = refusal(error, again=_again(sys.argv[1:]))
        if refused is None:
            raise
        _fail(refused, 2 if isinstance(refused, InputError) else 1)


def _check_text(arguments: list[str]) -> None:
    """Raises InputError for arguments that are no text: no report, tokenizer or configuration can hold such a path."""
    for argument in arguments:
        if not is_text(argument):
            fix = "rename the file; or, where it is text, take a locale that can write it (LC_ALL=C.UTF-8)"
            raise InputError("holds bytes that are no text here", where=argument[:200], fix=fix)


def _again(arguments: list[str]) -> str:
    """The fix for a command that ran out of space."""
    plays = arguments[:1] in (["train"], ["resume"])
    return "`sparring resume RUN`: nothing finished is lost" if plays else "give the command again"


def _fail(message: object, code: int) -> None:
    if _reports_errors():
        print(visible(f"sparring: {message}"), file=sys.stderr)  # noqa: T201 - the one place that reports an error
    sys.exit(code)


def _reports_errors() -> bool:
    """Whether this process reports the error that ends a launch; exactly one of its processes does."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from sparring.work.processes import reports_errors

    return reports_errors()
