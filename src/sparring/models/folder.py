"""A model's folder: the files that are read, the check that none of them is a pickle, and their digests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparring.errors import InputError, nearest
from sparring.integrity import DIGESTS
from sparring.models.config import EMBEDDED

# Some repositories hold the same weights a second time, as consolidated.safetensors.
WEIGHTS = "model*.safetensors"
SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.py")
"""The other files that are read of a folder: configuration, tokenizer, chat template, the model's own code."""

ADAPTER = "adapter_model.safetensors"
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth")
_MEBIBYTE = 1 << 20
# The names of the numbers of layers and of labels in the families of transformers.
_COUNTED = re.compile(r"(^|_)(layers?|labels|blocks)$")
_MOST = 10_000
# The part of the layout of `sparring.run_directory` by which a folder of a run is recognised.
_FILES_OF_RUN = ("config.yaml", "manifest.json")
_POLICY_OF_RUN = re.compile(r"(base|warmup|(iterations|control)/[0-9]{3,9})(/model)?")
_SAVE_AGAIN = "where you trust the model, load it in transformers and save it again with `save_pretrained`"


def check_whole_model(folder: Path) -> None:
    """Raises InputError unless a folder holds a whole model, of a plausible size, rather than an adapter."""
    adapter = folder / "adapter_config.json"
    if (folder / "config.json").is_file():
        _check_counts(_json_object(folder / "config.json"), str(folder / "config.json"))
        if adapter.exists():
            problem = "the folder holds a model and an adapter, which transformers would load into it unasked"
            fix = "merge the adapter into the model (peft's `merge_and_unload()`, then `save_pretrained`), or remove it"
            raise InputError(problem, where=str(adapter), fix=fix)
        return
    _refuse_part_of_run(folder)
    if adapter.is_file():
        fix = "merge it into its base model (peft's `merge_and_unload()`, then `save_pretrained`) and give that folder"
        raise InputError("this is an adapter, not a whole model", where=str(folder), fix=fix)
    fix = "give the folder that `save_pretrained` wrote"
    raise InputError("the folder holds no config.json, so it is not a model", where=str(folder), fix=fix)


def _refuse_part_of_run(folder: Path) -> None:
    """Raises InputError if a folder is a run of sparring, or a policy's stage in one."""
    here = folder.resolve()
    near = (here, *here.parents[:3])
    run = next((each for each in near if all((each / name).is_file() for name in _FILES_OF_RUN)), None)
    if run is None:
        return
    policy = _POLICY_OF_RUN.fullmatch(here.relative_to(run).as_posix())
    if policy is None and run != here:
        return
    what, kind, option = ("it", "a policy of a", f" --policy {policy[1]}") if policy else ("its best policy", "a", "")
    shown = shlex.quote(str(run) if folder.is_absolute() else os.path.relpath(run))
    fix = f"write {what} as a whole model with `sparring export {shown} FOLDER{option}`, and give that FOLDER"
    raise InputError(f"this is {kind} run of sparring, and no whole model", where=str(folder), fix=fix)


def near_by(name: str) -> str:
    """The beginning of the fix for an unknown model: the folder beside it, or the embedded model, of a similar name."""
    path = Path(name).expanduser()
    # A hub id with an owner is no misspelt name of the embedded model.
    known = {} if "/" in name else {EMBEDDED: EMBEDDED}
    with suppress(OSError):
        beside = (each for each in sorted(path.parent.iterdir()) if (each / "config.json").is_file())
        known |= {each.name: str(each) for each in beside}
    near = nearest(path.name, known)
    return f"did you mean '{known[near]}'? Or " if near else ""


def weight_files(folder: Path) -> list[Path]:
    """The files from which transformers reads a model's weights: one, or those that an index names.

    Raises:
        InputError: There are none, or one of them is no safetensors file of this folder.
    """
    # A configuration may name the file itself.
    named = _json_object(folder / "config.json").get("transformers_weights")
    first = str(named) if named is not None else next((n for n in (_WHOLE, _INDEX) if (folder / n).exists()), None)
    if first is None:
        raise _no_weights(folder)
    if not first.endswith(".index.json"):
        return [_safe(folder, first, by="config.json")]
    if Path(first).name != first:
        raise InputError(f"the index '{first}' lies outside the folder", where=str(folder), fix=_SAVE_AGAIN)
    files = _json_object(folder / first).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise InputError("the index of the weights has no weight_map", where=str(folder / first), fix=_SAVE_AGAIN)
    return [_safe(folder, name, by=first) for name in sorted({str(name) for name in files.values()})]


def ends_digest(folder: Path) -> str:
    """A sha256 of the files that are read of a model; of weights, only the sizes and the ends; see `fingerprint`."""
    digest = hashlib.sha256()
    for file in _small_files(folder):
        digest.update(f"\n{file.name} ".encode() + hashlib.sha256(file.read_bytes()).digest())
    for file in weight_files(folder):
        size = file.stat().st_size
        digest.update(f"\n{file.name} {size}\n".encode())
        with file.open("rb") as weights:
            digest.update(weights.read(_MEBIBYTE))
            # Where the two ends overlap, the second read continues the first.
            weights.seek(max(size - _MEBIBYTE, min(size, _MEBIBYTE)))
            digest.update(weights.read())
    return digest.hexdigest()


def content_digest(path: str) -> str:
    """A sha256 of every byte of a model or adapter in a folder, its tokenizer included.

    Unlike `fingerprint` it misses nothing, and takes a second for every GB or so.
    """
    folder, digest = Path(path), hashlib.sha256()
    weights = [folder / ADAPTER] if (folder / ADAPTER).exists() else weight_files(folder)
    for file in [*_small_files(folder), *weights]:
        with file.open("rb") as content:
            digest.update(f"\n{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def _small_files(folder: Path) -> list[Path]:
    return sorted({file for pattern in SMALL for file in folder.glob(pattern) if file.name != DIGESTS})


def _no_weights(folder: Path) -> InputError:
    if any(file for pattern in _PICKLES for file in folder.glob(pattern)):
        problem = "the weights are pickles (.bin, .pt), which can run code when they are opened"
        return InputError(problem, where=str(folder), fix=_SAVE_AGAIN)
    fix = "give the folder that `save_pretrained` wrote"
    return InputError(f"the folder holds no weights ({_WHOLE})", where=str(folder), fix=fix)


def _check_counts(settings: dict[str, Any], where: str) -> None:
    """Refuses absurd numbers of layers or labels, for which transformers would create objects without end."""
    waiting = [settings]
    while waiting:
        for name, value in waiting.pop().items():
            if isinstance(value, dict):
                waiting.append(value)
            elif _COUNTED.search(name) and isinstance(value, int) and value > _MOST:
                problem = f"{name} is {str(value)[:30]}, and no model has more than {_MOST:,}"
                raise InputError(problem, where=where, fix="take a whole copy of the model")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the file cannot be read ({error})", where=str(path), fix=_SAVE_AGAIN) from error
    if not isinstance(value, dict):
        raise InputError("the file holds no JSON object", where=str(path), fix=_SAVE_AGAIN)
    return value


def _safe(folder: Path, name: str, *, by: str) -> Path:
    """A file of weights that an index names, if it is a safetensors file in the folder itself."""
    path, where = folder / name, str(folder / by)
    if Path(name).name != name:
        problem = f"it names the weights '{name}', which lie outside the folder and are not read"
        raise InputError(problem, where=where, fix=_SAVE_AGAIN)
    if not name.endswith(".safetensors"):
        problem = f"it names the weights '{name}', which are no safetensors: others can run code when they are opened"
        raise InputError(problem, where=where, fix=_SAVE_AGAIN)
    if not path.is_file():
        raise InputError("the file of weights is missing", where=str(path), fix=_SAVE_AGAIN)
    # Snapshots of the hub are links into a folder of blobs beside them.
    blobs = folder.resolve().parents[1] / "blobs" if folder.resolve().parent.name == "snapshots" else None
    if path.resolve().parent not in {folder.resolve(), blobs}:
        fix = "put a copy of the file in its place"
        raise InputError("the weights are a link to a file outside the folder", where=str(path), fix=fix)
    return path
