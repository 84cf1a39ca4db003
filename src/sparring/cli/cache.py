"""`cache`: the samples that runs share."""

from __future__ import annotations

from sparring.cli.output import print_json, print_lines
from sparring.work.store import Store


def cache_command(remove_unused: float | None, *, as_json: bool) -> None:
    """Removes samples that were not used for a number of days, if asked to, and prints how many are left."""
    store = Store.of_user()
    removed = {} if remove_unused is None else store.prune(unused_days=remove_unused)
    kept = store.entries()
    sizes = {"shards": len(kept), "bytes": sum(kept.values())}
    if as_json:
        print_json({"folder": str(store.folder), **sizes, "removed": len(removed)})
        return
    lines = [f"{store.folder}: {sizes['shards']} shards, {sizes['bytes'] / 2**20:.1f} MiB"]
    print_lines(lines if remove_unused is None else [*lines, f"{len(removed)} shards were removed"])
