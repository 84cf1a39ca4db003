"""The policies of a run by name: the folder of each, and whether it is there. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path, PurePath

from sparring.errors import InputError, did_you_mean
from sparring.run_directory import RunDirectory
from sparring.run_files import read_result

BEST = "best"
NONE_BETTER = "no policy that was trained after it was better"
"""The remark on a policy that play started from, if it is the best."""


def policy_folder(directory: RunDirectory, name: str) -> str:
    """The folder of a policy in its run: `name` itself, or the folder of the best policy if it is "best".

    Raises:
        InputError: The run has not ended, so it has no best policy.
    """
    if name != BEST:
        # The name may end with a slash, which shells put after a folder's name.
        return str(PurePath(name))
    if not directory.result.exists():
        there = ", ".join(_trained(directory))
        raise InputError(
            "the run has not ended, so it has no best policy yet",
            where=str(directory.path),
            fix=f"wait for its end, or `sparring resume` it; or name a policy that is there: {there}",
        )
    best: str = read_result(directory.result)["best"]
    return best


def in_words(folder: str) -> str:
    """A policy in words: "the base model", "the run's iterations/001"."""
    return "the base model" if folder == "base" else f"the run's {folder}"


def last_instead(directory: RunDirectory, best: str) -> str | None:
    """The folder of the last iteration if the best policy is none of the play's; else None."""
    if best.startswith("iterations/"):
        return None
    trained = [stage for stage in directory.played() if stage.model.exists()]
    return directory.name_of(trained[-1]) if trained else None


def weights_of(directory: RunDirectory, name: str) -> Path | None:
    """The folder with a policy's weights; None for the base model.

    Raises:
        InputError: The run has no policy of that name.
    """
    if name == "base":
        return None
    if name in directory.removed("model"):
        problem, fix = f"the weights of '{name}' were removed when nothing needed them any more", "name another policy"
        raise InputError(problem, where=f"{directory.path}, keep.models", fix=f"{fix}; `best` is always kept")
    # By name: the name of the best policy comes from the run, and a path could lead out of it.
    known = _trained(directory)
    if name not in known:
        raise InputError(f"the run has no policy '{name}'", where=str(directory.path), fix=did_you_mean(name, known))
    return known[name]


def _trained(directory: RunDirectory) -> dict[str, Path]:
    """The folders with the weights of every policy, by its name; None for the base model, which has no weights here."""
    return {directory.name_of(stage): stage.model for stage in directory.stages()}


def check_free(run: Path, to: Path) -> None:
    """Raises InputError unless a folder can be created: it does not exist, and is no part of the run."""
    RunDirectory(run).refuse_own(to)
    if to.exists():
        raise InputError("the folder is there already", where=str(to), fix="choose another, or remove it")
