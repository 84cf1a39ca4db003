"""The sums that training has not logged yet, stored in checkpoints, so that a resumed training logs the same values.

transformers does not store them: the loss that it reports in the end would be the mean over the steps since the resume,
and the first means after it would be over fewer steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparring.errors import InputError

_METRIC = "metric/"


@dataclass(frozen=True, kw_only=True)
class Unlogged:
    """The sums of one process.

    Attributes:
        loss: The sum of the losses since the last log, a scalar.
        logged_loss: The sum of all losses before it.
        logged_step: The step of the last log.
        metrics: The values of every metric since the last log, a tensor for every step or for several.
    """

    loss: Tensor
    logged_loss: float
    logged_step: int
    metrics: Mapping[str, Sequence[Tensor]]

    def write(self, checkpoint: Path, process: int) -> None:
        """Writes the sums into a checkpoint."""
        sums = {
            "loss": self.loss,
            "logged_loss": torch.tensor(self.logged_loss, dtype=torch.float64),
            "logged_step": torch.tensor(self.logged_step),
        }
        save_file(
            sums | {_METRIC + name: torch.cat(list(values)) for name, values in self.metrics.items() if values},
            _path(checkpoint, process),
        )

    @classmethod
    def read(cls, checkpoint: Path, process: int, device: torch.device) -> Unlogged:
        """Reads the sums of a process from a checkpoint.

        Raises:
            InputError: The checkpoint has none, so another trainer wrote it.
        """
        path = _path(checkpoint, process)
        if not path.exists():
            raise InputError("the checkpoint lacks this file", where=str(path), fix="resume from another checkpoint")
        sums = {name: values.to(device) for name, values in load_file(path).items()}
        return cls(
            loss=sums["loss"],
            logged_loss=float(sums["logged_loss"]),
            logged_step=int(sums["logged_step"]),
            metrics={name.removeprefix(_METRIC): [values] for name, values in sums.items() if name.startswith(_METRIC)},
        )


def _path(checkpoint: Path, process: int) -> Path:
    return checkpoint / f"unlogged-{process}.safetensors"
