"""Uploads an exported model to the Hugging Face hub, in one commit, with errors in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it exports it lazily

from sparring.errors import InputError, RunError
from sparring.links import refuse_links

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_LOG_IN = "`hf auth login` with a token that may write (https://huggingface.co/settings/tokens), or export HF_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A model's repository on the hub.

    Attributes:
        name: Its id, OWNER/NAME.
        url: Its address.
        private: Whether only its owner sees it, or will see it once it exists.
        files: The files in it; None if it does not exist yet.
    """

    name: str
    url: str
    private: bool
    files: frozenset[str] | None


def find_repository(name: str, *, private: bool) -> Repository:
    """Looks a repository up, with the user's token, before anything expensive is done. Changes nothing.

    Args:
        name: OWNER/NAME.
        private: Whether it must be private; an existing repository is left as it is.

    Raises:
        InputError: The name is invalid, the hub is switched off, there is no token or it is refused, or the repository
            is public although it must be private.
        RunError: The hub does not answer.
    """
    _check_name(name)
    if constants.is_offline_mode():
        fix = "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or export without --push-to and upload later"
        raise InputError("the hub is switched off (HF_HUB_OFFLINE)", where="--push-to", fix=fix)
    api = HfApi(token=_token())
    url = f"{api.endpoint}/{name}"
    with _in_words(name, fix="nothing was written yet: give the command again"):
        api.whoami()
        try:
            there = api.model_info(name)
        except RepositoryNotFoundError:
            return Repository(name=name, url=url, private=private, files=None)
    if private and not there.private:
        fix = f"leave --private out, choose another name, or make it private first ({url}/settings)"
        raise InputError("the repository is there already, and is public", where=name, fix=fix)
    names = frozenset(each.rfilename for each in there.siblings or ())
    return Repository(name=name, url=url, private=bool(there.private), files=names)


def announcement(folder: Path, to: Repository) -> list[str]:
    """Lines that say what `upload` will send, and what it will replace and remove there."""
    seen = "private" if to.private else "public"
    files = _files(folder)
    sizes = [f"  {path.stat().st_size:>15,} bytes  {name}" for name, path in files.items()]
    state = "which is new" if to.files is None else "in place of files of the same name"
    stale = _stale(to, files)
    removed = [f"and removing weights there that are not this model's: {', '.join(stale)}"] if stale else []
    return [f"uploading {len(files)} files to the {seen} repository {to.url}, {state}:", *sizes, *removed]


def upload(folder: Path, to: Repository) -> str:
    """Uploads an exported model in one commit, so that the hub has all of it or nothing.

    Weights of another model that would stay beside it are removed: transformers might load them in its place.

    Args:
        folder: The folder from `export`, which is uploaded as a whole.
        to: The repository, from `find_repository`.

    Returns:
        The address of the commit.

    Raises:
        InputError: A file in the folder leads out of it, or the token may not write there.
        RunError: The hub does not answer, or answers otherwise.
    """
    files = _files(folder)
    api = HfApi(token=_token())
    private = " --private" if to.private else ""
    with _in_words(to.name, fix=f"the model is whole in {folder}: `hf upload {to.name} {folder}{private}` sends it"):
        if to.files is None:
            api.create_repo(to.name, private=to.private)
        commit = api.create_commit(
            to.name,
            [
                *(CommitOperationDelete(name) for name in _stale(to, files)),
                *(CommitOperationAdd(name, path) for name, path in files.items()),
            ],
            commit_message="A policy of sparring, with its model card",
        )
    return str(commit.commit_url)


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(str(error), where="--push-to", fix="write it as OWNER/NAME") from error
    if "/" not in name:
        raise InputError(f"'{name}' has no owner", where="--push-to", fix="write it as OWNER/NAME")


def _token() -> str:
    token = get_token()
    if not token:
        raise InputError("there is no token of the Hugging Face hub on this machine", where="--push-to", fix=_LOG_IN)
    # An invalid token is refused here, since an error of the connection would show it.
    if not re.fullmatch(r"[!-~]+", token):
        raise InputError("the token holds white space or characters that none has", where="HF_TOKEN", fix=_LOG_IN)
    return token


def _files(folder: Path) -> dict[str, Path]:
    refuse_links(folder)
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _stale(to: Repository, files: dict[str, Path]) -> list[str]:
    weights = (name for name in to.files or () if any(fnmatch(name, pattern) for pattern in _WEIGHTS))
    return sorted(name for name in weights if name not in files)


@contextmanager
def _in_words(name: str, *, fix: str) -> Iterator[None]:
    """Within, errors of the connection to the hub become plain words, without the token."""
    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # An error of this machine, such as an unreadable file; those of Xet have no number.
            raise
        # The error of a single file is wrapped in another.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ is not None else error
        told = _told(cause).replace(get_token() or "", "***")
        if isinstance(cause, HfHubHTTPError) and cause.response.status_code in {401, 403}:
            refused = "knows no such token" if cause.response.status_code == 401 else "does not let this token do that"
            raise InputError(f"the hub {refused}: {told}", where=name, fix=f"{_LOG_IN}; {fix}") from None
        raise RunError(f"{name}: {told}\n  fix: {fix}") from None


def _told(error: BaseException) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered {error.response.status_code}, {error.server_message or str(error).splitlines()[0]}"
    what = f"{type(error).__name__} {error}".strip()
    if isinstance(error, httpx2.HTTPError):
        return f"the connection to {constants.ENDPOINT} failed ({what})"
    if isinstance(error, RuntimeError | OSError):
        return f"the upload failed ({what})"
    return f"the hub at {constants.ENDPOINT} gave an answer that cannot be read ({what})"
