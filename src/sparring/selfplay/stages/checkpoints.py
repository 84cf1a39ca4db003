"""Checkpoints of a training: written whole, and resumed from only if they are still whole."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparring.digests import DamagedError
from sparring.files import remove
from sparring.integrity import DIGESTS, check_folder, seal
from sparring.progress import console
from sparring.trainer.plateau import best_of, looks_of
from sparring.work import processes

# Weights are read as safetensors.
_PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin")
# The table of contents of a sharded checkpoint: a pickle, which PyTorch opens without checking its classes.
_CONTENTS = ".metadata"
_CLASSES = {
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
    ("torch", "Size"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *(
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            *("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "_MEM_FORMAT_ENCODING"),
            *("BytesStorageMetadata", "ChunkStorageMetadata", "TensorStorageMetadata"),
        )
    ),
    ("torch.serialization", "_get_layout"),
}


# By the clock, a checkpoint is written a minute after the last one, or later if that one took long: after twenty times
# its duration. So a crash costs some minutes at most, and checkpoints a twentieth of the time.
_EVERY_S, _TIMES = 60.0, 20.0


class Checkpoints(TrainerCallback):
    """Writes the digests of each checkpoint, the last of its files, and only then removes older checkpoints.

    Args:
        keep: The number of checkpoints to keep, besides the one with the best validation loss; None keeps all.
        log_lines: Counts the lines of the run's log.
        by_the_clock: Whether to write checkpoints at intervals of time, besides those that others ask for.
    """

    def __init__(self, keep: int | None, log_lines: Callable[[], int], *, by_the_clock: bool) -> None:
        self._keep, self._log_lines, self._by_the_clock = keep, log_lines, by_the_clock
        self._written = self._stepped = time.monotonic()
        self._took = 0.0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Asks for a checkpoint when it is due; prevents one at the last step, which a resumed Trainer would pass."""
        if state.global_step < state.max_steps:
            # By the main process's clock, since all processes must write their parts, or none.
            control.should_save |= self._by_the_clock and processes.on_main(self._is_due)
        elif control.should_save:
            control.should_save, control.should_log = False, True
        self._stepped = time.monotonic()

    on_epoch_end = on_step_end

    def _is_due(self) -> bool:
        return time.monotonic() - self._written >= max(_EVERY_S, _TIMES * self._took)

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Seals a checkpoint and removes older ones, in the main process; called when all have written their parts."""
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir))
        seal(folder / f"checkpoint-{state.global_step}", log_lines=self._log_lines())
        if self._keep is not None:
            best = best_of(looks_of(state.log_history))
            for path in _newest_first(folder)[max(self._keep, 1) :]:
                if best is None or path.name != f"checkpoint-{best.step}":
                    remove(path)
        self._written = time.monotonic()
        self._took = self._written - self._stepped


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; newer ones that are not whole are removed.

    A checkpoint without digests was interrupted by a kill; a damaged one is named in a warning.
    """
    for path in _newest_first(folder):
        try:
            _check(path)
        except DamagedError as error:
            if (path / DIGESTS).exists():
                console.print(f"{error.where}: {error.problem}; training goes on from before this checkpoint")
            remove(path)
        else:
            return path
    return None


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)


def _check(checkpoint: Path) -> None:
    check_folder(checkpoint, fix="")
    for name in _PICKLED_WEIGHTS:
        if (checkpoint / name).exists():
            raise DamagedError("weights that are a pickle are not read", where=str(checkpoint / name))
    for path in checkpoint.rglob(_CONTENTS):
        try:
            with path.open("rb") as file:
                _Contents(file).load()
        except Exception as error:
            raise DamagedError(f"it is no table of contents of a checkpoint ({error})", where=str(path)) from error


class _Contents(pickle.Unpickler):
    """Opens a table of contents, and refuses classes that are not known as harmless; then PyTorch may open it too."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuses every class that does not belong into a table of contents."""
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not is_dtype and (module, name) not in _CLASSES:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)
