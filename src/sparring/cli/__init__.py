"""The command line: thin, lazy, and the only place that prints results or turns errors into exit codes."""

from __future__ import annotations

from sparring.cli.app import main

__all__ = ["main"]
