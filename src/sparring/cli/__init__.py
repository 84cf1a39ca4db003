"""The command line; only here are results printed, and errors turned into exit codes."""

from __future__ import annotations

from sparring.cli.app import main

__all__ = ["main"]
