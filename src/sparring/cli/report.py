"""`report`: one run, several side by side, or one that is still played."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparring.cli.output import print_json, print_lines, print_report, print_table
from sparring.errors import InputError
from sparring.run_directory import RunDirectory

if TYPE_CHECKING:
    from rich.table import Table

    from sparring.reports.page import Page

COMPARISON = Path("comparison.html")


def report_command(runs: Sequence[Path], *, to: Path | None, watch: bool, port: int, as_json: bool) -> None:
    """Writes the page of a run, of several, or the index of a folder of them; or serves it until it is interrupted.

    Raises:
        InputError: A folder is not a run, or options contradict each other.
    """
    if watch:
        if to is not None or as_json:
            fix = "leave out --to and --json"
            raise InputError("a live report is neither written nor printed", where="--watch", fix=fix)
        _serve(runs, port)
    elif len(runs) == 1 and not RunDirectory(runs[0]).is_begun():
        _index(runs[0], to, as_json=as_json)
    elif len(runs) == 1:
        print_report(runs[0], to=to, as_json=as_json)
    else:
        _compare(runs, to or COMPARISON, as_json=as_json)


def _serve(runs: Sequence[Path], port: int) -> None:
    from sparring.reports.watch import LivePage, watch

    page = LivePage(runs, lambda: _page(runs))
    watch(page, port, lambda address: print_lines([f"live report: {address} (Ctrl-C ends it)"]))


def _page(runs: Sequence[Path]) -> Page:
    from sparring.reports.comparison import comparison_page
    from sparring.reports.run import run_page
    from sparring.reports.summary import summarize

    summaries = [summarize(run) for run in runs]
    return run_page(summaries[0]) if len(summaries) == 1 else comparison_page(summaries)


def _compare(runs: Sequence[Path], to: Path, *, as_json: bool) -> None:
    from sparring.reports.comparison import against_first, group, group_table, write_comparison
    from sparring.reports.plain import plain
    from sparring.reports.summary import summarize
    from sparring.reports.terminal import Compared

    summaries = [summarize(run) for run in runs]
    write_comparison(summaries, to)
    if as_json:
        runs_as_json = [plain(summary) for summary in summaries]
        print_json({"runs": runs_as_json, "against_first": against_first(summaries), "report": str(to)})
        return
    wide, lettered = (_table(*group_table(summaries, lettered=lettered)) for lettered in (False, True))
    print_table(Compared(wide, lettered, {each.letter: each.label for each in group(summaries)}))
    print_lines([*against_first(summaries), f"report: {to.resolve()}"])


def _index(folder: Path, to: Path | None, *, as_json: bool) -> None:
    from sparring.reports.index import write_index
    from sparring.reports.plain import plain

    path, entries = write_index(folder, to)
    if as_json:
        runs = [
            plain(entry.summary) if entry.summary else {"run": entry.name, "problem": entry.told} for entry in entries
        ]
        print_json({"runs": runs, "report": str(path)})
        return
    print_lines([f"{entry.name}: {entry.told}" for entry in entries])
    print_lines([f"index: {path.resolve()}"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    over = "mean ± standard deviation over seeds; of one seed ± standard error over prompts, or 95 % interval"
    table = Table(title=over, title_justify="left")
    for number, heading in enumerate(head):
        table.add_column(heading, justify="left" if number < 3 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
