"""Whether the weights that a model's files hold are those that its configuration describes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sparring.errors import InputError
from sparring.progress import console

_SHOWN = 3


def check_loaded(report: Mapping[str, Collection[str]], path: str, *, optional: tuple[str, ...], whole: bool) -> None:
    """Refuses a model that lacks weights, and says which of its files' weights it has no place for.

    transformers would fill the ones with random numbers, leave out the others, and only log it.

    Args:
        report: What `from_pretrained` says of the loading.
        path: The model's folder or name.
        optional: How the names of weights begin that may be missing.
        whole: Whether it has a place for all that such files hold: a model without its head has not.

    Raises:
        InputError: Weights are missing.
    """
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(optional))
    if missing:
        problem = f"{len(missing)} weights are missing ({', '.join(missing[:_SHOWN])})"
        raise InputError(problem, where=path, fix="save the whole model again with `save_pretrained`")
    left = sorted(report["unexpected_keys"]) if whole else []
    if left:
        shown = ", ".join(left[:_SHOWN]) + (", …" if len(left) > _SHOWN else "")
        console.print(
            f"warning: {path}: its config.json has no place for {len(left)} of the weights in its files, which are "
            f"left out ({shown}): where they belong to the model, mend config.json"
        )
