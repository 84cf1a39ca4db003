"""The command line: thin, lazy, and the only place that prints results or turns errors into exit codes.

`app` says which commands there are and what each takes, `options` what several of them take; the module that does the
work is imported when its command runs.
"""

from __future__ import annotations

from sparring.cli.app import main

__all__ = ["main"]
