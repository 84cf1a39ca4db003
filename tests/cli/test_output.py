"""Results on standard output."""

from __future__ import annotations

import pytest
from rich.table import Table

from sparring.cli.output import print_table


def test_names_in_a_table_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[/INST] [red]x :smile:"
    table = Table(name, title=name)
    table.add_row(name)
    print_table(table)
    assert capsys.readouterr().out.count(name) == 3
