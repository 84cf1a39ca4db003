"""The folder of one stage of a run; `sparring.run_directory` tells the layout of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparring.digests import DamagedError
from sparring.files import write_json
from sparring.run_files import read_inventory, read_removed

SAMPLE_FOLDERS = ("samples", "judgements", "scores", "rewards")
"""The folders of an iteration's samples, and of the verdicts, log-probs and rewards of these."""


@dataclass(frozen=True)
class StageDirectory:
    """The folder of the teacher, of the base model, of the warm-up, or of one iteration.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def samples(self) -> Path:
        """Generated responses, as shards."""
        return self.path / "samples"

    @property
    def judgements(self) -> Path:
        """A judge's verdicts on the samples, as shards."""
        return self.path / "judgements"

    @property
    def scores(self) -> Path:
        """Log-probs of the samples, as shards."""
        return self.path / "scores"

    @property
    def rewards(self) -> Path:
        """Rewards of the samples, and the features that they were learnt from, as shards."""
        return self.path / "rewards"

    @property
    def training(self) -> Path:
        """The trainer's own folder: checkpoints while it trains."""
        return self.path / "training"

    @property
    def model(self) -> Path:
        """The trained weights; the folder exists exactly when training has ended, until it is removed on purpose."""
        return self.path / "model"

    @property
    def held_out(self) -> Path:
        """Responses to the held-out prompts, with their log-probs, as shards."""
        return self.path / "held_out"

    @property
    def evaluation(self) -> Path:
        """The policy's estimates; the file exists exactly when the stage has ended."""
        return self.path / "evaluation.json"

    @property
    def removals(self) -> Path:
        """The file that lists the parts that were removed on purpose, if any were."""
        return self.path / "removed.json"

    def removed(self) -> frozenset[str]:
        """The parts that were removed on purpose: "model", "samples", both or none."""
        return read_removed(self.removals) if self.removals.exists() else frozenset()

    @property
    def inventory(self) -> Path:
        """The file with the names of the stage's shards, as of the last stage that wrote some."""
        return self.path / "shards.json"

    def take_inventory(self) -> None:
        """Adds the shards that exist now to the inventory, so that a later loss is noticed."""
        names = {str(path.relative_to(self.path)) for path in self.path.glob("*/*.parquet")}
        with suppress(DamagedError):
            names |= {*read_inventory(self.inventory, fix="")}
        write_json(self.inventory, {"shards": sorted(names)})

    def check_inventory(self, *, fix: str, folders: Sequence[str] = SAMPLE_FOLDERS) -> None:
        """Raises DamagedError if a shard of the inventory is missing: of held-out responses, or in one of `folders`.

        A folder that was removed as a whole does not count as missing.
        """
        for name in read_inventory(self.inventory, fix=fix):
            path = self.path / name
            counts = path.parent.name in {"held_out", *folders}
            if counts and path.parent.exists() and not path.exists():
                raise DamagedError("the shard is missing", where=str(path), fix=fix)

    @property
    def benchmarks(self) -> Path:
        """The results of `sparring evaluate` for the stage's policy."""
        return self.path / "benchmarks"
