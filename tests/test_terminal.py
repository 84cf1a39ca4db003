"""What others wrote is shown on a terminal, and none of it is obeyed."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from sparring.cli import app, output
from sparring.errors import InputError
from sparring.terminal import Terminal, visible

OBEYED = [*map(chr, [*range(9), 11, 12, 13, *range(14, 32), *range(127, 160)])]
OBEYED += [*"\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufffb", "\ud800", "\udfff"]
HOSTILE = "a\x1b[2J\x1b]52;c;eA==\x07\x9b31m\rb\x08\u202ec[red]d[/red]:smile:\ud800e"
SHOWN = r"a\u001b[2J\u001b]52;c;eA==\u0007\u009b31m\u000db\u0008\u202ec[red]d[/red]:smile:\ud800e"


@pytest.mark.parametrize("character", OBEYED, ids=lambda character: f"{ord(character):04x}")
def test_what_a_terminal_obeys_is_written_out(character: str) -> None:
    assert visible(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_what_a_person_may_write_stays() -> None:
    text = "Δ ½ é 漢字 👩‍👩‍👧 العربية\tand a\nline\r\nend \\u001b"
    assert visible(text) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_text_tables_and_titles(terminal: bool) -> None:
    to = io.StringIO()
    console = Terminal(file=to, force_terminal=terminal, width=200, color_system=None)
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    console.print(HOSTILE)
    console.print(table)
    lines = to.getvalue().split("\n")
    assert sum(SHOWN in line for line in lines) == 4
    assert not [character for character in to.getvalue() if character in OBEYED]
    # Shown before it is measured: the frame stays straight.
    assert len({len(line) for line in lines if line.startswith(("│", "┃"))}) == 1


def test_json_stays_the_same_document(monkeypatch: pytest.MonkeyPatch) -> None:
    to = io.StringIO()
    monkeypatch.setattr(output, "out", Terminal(file=to, soft_wrap=True))
    output.print_json({"text": HOSTILE})
    assert json.loads(to.getvalue()) == {"text": HOSTILE}
    assert not [character for character in to.getvalue() if character in OBEYED]


def test_an_error_shows_what_it_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app._fail(InputError("is empty", where=f"row 1, field '{HOSTILE}'", fix="fill it in"), 2)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"sparring: row 1, field '{SHOWN}': is empty\n  fix: fill it in\n"
