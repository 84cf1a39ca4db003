"""One shard: a Parquet file, whole or absent, with a digest of all its bytes in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparring.columns import check_columns
from sparring.digests import DamagedError
from sparring.files import atomic_path, remove
from sparring.progress import console


def write_shard(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows as one Parquet file, atomically, with a digest of all its bytes in the metadata of its footer."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pylist([dict(row) for row in rows])
    with atomic_path(path) as partial:
        # Absolute, since pyarrow takes a relative path such as "s3:run" for an address.
        with parquet.ParquetWriter(partial.absolute(), table.schema) as writer:
            writer.write_table(table)
            # Zeros in place of the digest, which is computed of the file with these zeros.
            writer.add_key_value_metadata({_DIGEST.decode(): _ZEROS.decode()})
        content = partial.read_bytes()
        at = _digest_place(content)
        assert at is not None  # noqa: S101 - it was just written
        partial.write_bytes(content[:at] + _digest(content, at) + content[at + len(_ZEROS) :])


def read_shard(path: Path) -> list[dict[str, Any]]:
    """Reads one shard, as rows.

    Raises:
        DamagedError: It is damaged; the fix names the file to delete.
    """
    rows: list[dict[str, Any]] = _read(path).to_pylist()
    return rows


def read_columns(path: Path, row: type) -> Any:
    """Reads one shard, as a table of pyarrow with the columns of a type of row.

    Raises:
        DamagedError: It is damaged; the fix names the file to delete.
        InputError: It is whole, but has not the columns that the run writes.
    """
    table = _read(path)
    check_columns(table, row, where=str(path), fix=_FIX)
    return table


def _read(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from error
    if not _is_whole(content):
        raise _damaged(path, "its sha256 is not that of its content")
    return parquet.read_table(pa.BufferReader(content))


def remove_damaged(path: Path) -> None:
    """Removes a shard if it is damaged, and says that it is computed again."""
    if path.exists() and not _is_whole(path.read_bytes()):
        console.print(f"{path} is damaged, and computed again")
        remove(path)


_FIX = "delete it and run `sparring resume RUN`, which computes what is missing again, with the same seed"
_DIGEST, _ZEROS = b"sparring.sha256", b"0" * 64


def _is_whole(content: bytes) -> bool:
    at = _digest_place(content)
    return at is not None and content[at : at + len(_ZEROS)] == _digest(content, at)


def _digest_place(content: bytes) -> int | None:
    """The byte at which the digest begins in a Parquet file: in its footer, after its key and its length."""
    found = content.rfind(_DIGEST)
    return None if found < 0 else found + len(_DIGEST) + 2


def _digest(content: bytes, at: int) -> bytes:
    """The sha256 of a file with zeros in place of the digest."""
    digest = hashlib.sha256(content[:at])
    digest.update(_ZEROS)
    digest.update(content[at + len(_ZEROS) :])
    return digest.hexdigest().encode()


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(f"the shard is damaged ({why})", where=str(path), fix=_FIX)
