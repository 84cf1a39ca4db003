"""`recipes`: the vetted configurations."""

from __future__ import annotations

from typing import Annotated

import typer

from sparring.cli.completion import recipe_names
from sparring.cli.options import Json

app = typer.Typer(help="List the vetted configurations, or show one.", invoke_without_command=True)


@app.callback()
def list_recipes(context: typer.Context, json: Json = False) -> None:
    """List the vetted configurations, or show one."""
    from sparring.cli.output import print_json, print_lines
    from sparring.recipes import recipes

    if context.invoked_subcommand is not None:
        return
    if json:
        print_json(recipes())
    else:
        print_lines(f"{name:24}{description}" for name, description in recipes().items())


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name.", autocompletion=recipe_names)],
) -> None:
    """Print a recipe as it is: a file to begin with."""
    from sparring.cli.output import print_lines
    from sparring.recipes import text

    print_lines(text(name).splitlines())
