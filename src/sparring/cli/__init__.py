"""The command line; only here are results printed, and errors turned into exit codes.

`app` defines the commands and their options, `options` the options that several commands share; the module that does
the work is imported when its command runs.
"""

from __future__ import annotations

from sparring.cli.app import main

__all__ = ["main"]
