"""Shards that runs share: samples of the model that they start from, and its log-probs.

Runs that are compared start from one model on the same prompts with one seed, and so need the same samples of the base
model, of iteration 0 and of the held-out set. Such a shard is computed once, kept under a digest of everything that
decides its bits, and copied into every later run that needs it:

    CACHE/samples/DIGEST/shard.parquet     the shard, as in a run directory
    CACHE/samples/DIGEST/origin.json       all that decides it, except the prompts; and the seconds that it took

A change in anything that the digest covers, even a library's version, gives another digest, and the shard is computed
again. If the store cannot be read or written, the run computes its shards itself. The store may be another person's, so
links in it are refused, and only folders with the name of an entry are counted or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from sparring.errors import InputError
from sparring.files import atomic_path, cache_root, lock, remove, write_json
from sparring.links import refuse_link, refuse_links
from sparring.progress import console
from sparring.shard_files import read_shard

_SHARD, _ORIGIN = "shard.parquet", "origin.json"
_DAY_S = 86400.0
# A digest; what a kill left of one has another end.
_ENTRY = re.compile(r"[0-9a-f]{64}(\.\w+)?")


@dataclass(frozen=True)
class Taken:
    """A shard that an earlier run made.

    Attributes:
        rows: Its rows.
        seconds: The time that it took then.
    """

    rows: list[dict[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Store:
    """A folder of shards by digest, each whole or absent; any number of runs may use it at once.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @classmethod
    def of_user(cls) -> Store:
        """The store in the user's cache."""
        return cls(cache_root() / "samples")

    def take(self, digest: str, to: Path) -> Taken | None:
        """Copies a shard to `to`, if the store has it; a damaged one is removed.

        Raises:
            InputError: Something of it is a link.
        """
        entry = self._entry(digest)
        try:
            content, origin = (entry / _SHARD).read_bytes(), (entry / _ORIGIN).read_bytes()
        except OSError:
            # A shard that cannot be read now need not be damaged.
            return None
        try:
            seconds = float(json.loads(origin)["seconds"])
            with atomic_path(to) as partial:
                partial.write_bytes(content)
                rows = read_shard(partial)
        except (InputError, ValueError, TypeError, KeyError):
            self._try(lambda: remove(entry))
            return None
        # In a shared cache this user may not have the right to write.
        with suppress(OSError):
            os.utime(entry)
        return Taken(rows, seconds)

    def put(self, digest: str, shard: Path, origin: Mapping[str, Any]) -> None:
        """Keeps a copy of a shard, unless the store has it; raises what `take` does."""
        entry = self._entry(digest)

        def write() -> None:
            if not (entry / _SHARD).exists() or not (entry / _ORIGIN).exists():
                with atomic_path(entry) as partial:
                    partial.mkdir()
                    (partial / _SHARD).write_bytes(shard.read_bytes())
                    write_json(partial / _ORIGIN, origin)

        self._try(write)

    def entries(self, *, unused_days: float = 0.0) -> dict[Path, int]:
        """The size in bytes of every shard that no run has used for a number of days; raises what `take` does."""
        refuse_link(self.folder)
        since = time.time() - unused_days * _DAY_S
        entries = [self._entry(path.name) for path in self.folder.glob("*") if _ENTRY.fullmatch(path.name)]
        unused = [entry for entry in entries if entry.is_dir() and entry.stat().st_mtime <= since]
        return {entry: _size(entry) for entry in unused}

    def prune(self, *, unused_days: float) -> dict[Path, int]:
        """Removes the shards that no run has used for a number of days, and returns them as `entries` does."""
        refuse_link(self.folder)
        with lock(self.folder / ".lock"):
            unused = self.entries(unused_days=unused_days)
            for entry in unused:
                remove(entry)
        return unused

    def _entry(self, name: str) -> Path:
        """An entry of the store, checked to hold no link, and so is the store's folder."""
        refuse_link(self.folder)
        refuse_links(self.folder / name)
        return self.folder / name

    def _try(self, write: Callable[[], None]) -> None:
        try:
            with lock(self.folder / ".lock"):
                write()
        except OSError as error:
            console.print(f"samples are not kept for other runs in {self.folder} ({error})")


def _size(entry: Path) -> int:
    """The bytes of an entry; files that a run renames meanwhile count as nothing."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in entry.iterdir())
    return 0


@dataclass(frozen=True)
class Shelf:
    """The shards of one job in a store.

    Attributes:
        store: The store.
        find_origin: Computes all that decides the shards besides their pieces; called late, since it may read weights.
    """

    store: Store
    find_origin: Callable[[], Mapping[str, Any]]

    @cached_property
    def origin(self) -> dict[str, Any]:
        """All that decides the shards besides their pieces, as plain values."""
        plain: dict[str, Any] = to_jsonable_python(dict(self.find_origin()))
        return plain

    def take(self, piece: Any, to: Path) -> Taken | None:
        """Copies the shard of a piece to `to`, if the store has it."""
        return self.store.take(self._digest(piece), to)

    def put(self, piece: Any, shard: Path, *, seconds: float) -> None:
        """Keeps a copy of the shard of a piece, with the seconds that it took."""
        self.store.put(self._digest(piece), shard, {"origin": self.origin, "seconds": round(seconds, 3)})

    def _digest(self, piece: Any) -> str:
        # Pieces are token ids, texts, numbers and dataclasses of them, so their `repr` holds everything.
        text = f"{json.dumps(self.origin, sort_keys=True)}\n{piece!r}"
        return hashlib.sha256(text.encode()).hexdigest()
