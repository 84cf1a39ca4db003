"""`recipes`: the vetted configurations."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sparring.cli.completion import recipe_names
from sparring.cli.options import Json
from sparring.errors import InputError, nearest


class _Recipes(TyperGroup):
    """The commands of `recipes`; a recipe's name without `show` gets an error that tells how to show it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named.

        Raises:
            InputError: There is none of that name.
        """
        from sparring.recipes import recipes

        if self.get_command(ctx, args[0]) is None:
            shown = nearest(args[0], recipes()) or "NAME, with a NAME of sparring recipes"
            fix = f"write sparring recipes show {shown}"
            raise InputError("is no command of `sparring recipes`", where=args[0], fix=fix)
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_Recipes, help="List the vetted configurations, or show one.", invoke_without_command=True)


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
