"""One process of a launch: what torchrun would start, and perhaps its own death."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from e2e.child import play

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}


def play_together(
    rank: int,
    processes: int,
    port: int,
    arguments: list[str],
    environment: dict[str, str],
    kill_at: tuple[str, int] | None,
    output: str,
    by: int = signal.SIGKILL,
) -> None:
    """Plays `sparring ARGUMENTS` as one of several processes."""
    os.environ |= environment | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    if "ACCELERATE_USE_FSDP" in environment:
        _shard_on_cpu()
    out = Path(output)
    play(arguments, kill_at, None, str(out / f"stdout-{rank}"), str(out / f"stderr-{rank}"), {}, by=by)


def _shard_on_cpu() -> None:
    """accelerate shards on accelerators alone; here it is told that processors will do."""
    from accelerate import state
    from accelerate.utils import DistributedType

    original = state.AcceleratorState.__init__

    def init(self: state.AcceleratorState, *args: object, fsdp_plugin: object = None, **kwargs: object) -> None:
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.fsdp_plugin = fsdp_plugin
        if self.distributed_type == DistributedType.MULTI_CPU and getattr(self, "fsdp_plugin", None) is not None:
            self.distributed_type = DistributedType.FSDP

    state.AcceleratorState.__init__ = init
