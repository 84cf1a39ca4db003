"""Commands that take settings as KEY.PATH=VALUE, with an error for a setting that is written as an option."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from typer.core import TyperCommand

from sparring.errors import InputError


class TakesSettings(TyperCommand):
    """A command whose arguments are settings of a run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments that are left after the options.

        Raises:
            InputError: An option is a setting; the message tells how to write it.
        """
        known = {name for option in self.get_params(ctx) for name in (*option.opts, *option.secondary_opts)}
        given = list(takewhile(lambda each: each != "--", args))
        for place, each in enumerate(given):
            option, separator, value = each.partition("=")
            if option.startswith("--") and option not in known:
                _check_setting(option, value if separator else "".join(given[place + 1 : place + 2]))
        return super().parse_args(ctx, args)


def _check_setting(option: str, value: str) -> None:
    """Raises InputError if an unknown option is the name of a setting."""
    from sparring.selfplay.config.schema import SelfPlayConfig
    from sparring.selfplay.config.unknown_keys import keys_meant
    from sparring.trainer.fields import MANAGED

    name = option.lstrip("-").replace("-", "_")
    keys = [name] if "." in name else keys_meant(SelfPlayConfig, name)
    if keys:
        fix = f"write {' or '.join(f'{key}={value}' for key in keys)}"
        raise InputError("is a setting, and no option", where=option, fix=fix)
    if name in MANAGED:
        raise InputError("is no option, and no setting", where=option, fix=MANAGED[name])
