"""`sparring evaluate answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.cli.options import Json, Models, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparring.examples import Example


def answers(  # noqa: PLR0917 - options of a command
    model: Models,
    data: Annotated[str, typer.Argument(metavar="DATA", help="A data file, or a data set of the hub.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[data.KEY=VALUE]...", help="How the file is read, as in a configuration."),
    ] = None,
    verifier: Annotated[
        str | None, typer.Option(help="The rule; by default the one that fits the ground truths.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="The limit of an answer.")] = 256,
    trust_remote_code: Trust = False,
    json: Json = False,
) -> None:
    """Answer the prompts of a data file greedily, and count the right answers by a rule."""
    from rich.table import Table

    from sparring.cli.candidates import candidates
    from sparring.cli.output import print_json, print_table
    from sparring.data import VERIFIERS
    from sparring.evaluation import verify

    found = candidates(model, trust_remote_code=trust_remote_code)
    examples, rule = _read(data, settings or [], verifier)
    rows: list[dict[str, Any]] = []
    for item in found:
        told = verify(item.load(), examples, VERIFIERS[rule](), max_tokens=max_tokens, title=item.name)
        rows.append({"policy": item.name, "verifier": rule, "right": told.right.to_json(), "cut": told.cut})
    if json:
        print_json(rows)
        return
    table = Table("policy", f"right by '{rule}'", "95 % interval", f"cut at {max_tokens} tokens")
    for row in rows:
        low, high = row["right"]["interval"]
        share = f"{round(row['right']['mean'] * len(examples))} of {len(examples)} ({row['right']['mean']:.3f})"
        table.add_row(row["policy"], share, f"{low:.2f} to {high:.2f}", f"{row['cut']:.0%}")
    print_table(table)


def _read(source: str, settings: list[str], verifier: str | None) -> tuple[Sequence[Example], str]:
    """The prompts with a right answer, and the name of the rule."""
    from sparring.data import load
    from sparring.data.verifiers import fitting_rule
    from sparring.errors import InputError
    from sparring.selfplay.config.schema import SelfPlayConfig
    from sparring.selfplay.config.yaml import apply_overrides

    given = {"data": {"source": source, "held_out": 0, "verifier": verifier}}
    config = SelfPlayConfig.from_mapping(apply_overrides(given, settings)).data
    examples = load(config, 0, {"evaluate answers": frozenset({"reference_answer"})}).train
    rule = config.verifier or fitting_rule(examples)
    if rule is None:
        problem = "no rule says which answers are right: the rows have experts' responses and no ground truth"
        raise InputError(problem, where="--verifier", fix="name one, such as final-number or exact")
    return examples, rule
