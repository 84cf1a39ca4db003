"""The folder of one stage of a run; the layout of a run is that of `sparring.run_directory`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparring.digests import DamagedError
from sparring.files import write_json
from sparring.run_files import read_inventory, read_removed

SAMPLE_FOLDERS = ("samples", "judgements", "scores", "rewards")
"""The folders of an iteration's samples, and of what was made of them."""


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
        """Who beats whom among the samples, as shards."""
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
        """The trained weights; there exactly when training ended, until they are removed on purpose."""
        return self.path / "model"

    @property
    def held_out(self) -> Path:
        """Responses to the held-out prompts, with their log-probs, as shards."""
        return self.path / "held_out"

    @property
    def evaluation(self) -> Path:
        """What was measured; there exactly when the stage ended."""
        return self.path / "evaluation.json"

    @property
    def removals(self) -> Path:
        """The list of what was removed on purpose; there only where something was."""
        return self.path / "removed.json"

    def removed(self) -> frozenset[str]:
        """What was removed on purpose: "model", "samples", both or nothing."""
        return read_removed(self.removals) if self.removals.exists() else frozenset()

    @property
    def inventory(self) -> Path:
        """The names of the shards that the stage had when it, or a later one that adds to it, ended."""
        return self.path / "shards.json"

    def take_inventory(self) -> None:
        """Writes down which shards there are, beside those that there were, so that a lost one is missed."""
        names = {str(path.relative_to(self.path)) for path in self.path.glob("*/*.parquet")}
        with suppress(DamagedError):
            names |= {*read_inventory(self.inventory, fix="")}
        write_json(self.inventory, {"shards": sorted(names)})

    def check_inventory(self, *, fix: str, folders: Sequence[str] = SAMPLE_FOLDERS) -> None:
        """Raises DamagedError where a shard of held-out responses, or of these folders, is missing that was there.

        A folder of shards that was removed as a whole is missed by nobody.
        """
        for name in read_inventory(self.inventory, fix=fix):
            path = self.path / name
            counts = path.parent.name in {"held_out", *folders}
            if counts and path.parent.exists() and not path.exists():
                raise DamagedError("the shard is missing", where=str(path), fix=fix)

    @property
    def benchmarks(self) -> Path:
        """What `sparring evaluate` measured of the policy that the stage ended with."""
        return self.path / "benchmarks"
