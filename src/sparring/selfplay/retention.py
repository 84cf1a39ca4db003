"""Retention: removes weights and samples of earlier iterations that nothing needs any more, as `keep` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparring.files import discard, write_json
from sparring.progress import console
from sparring.selfplay.config.keep import KeepConfig
from sparring.selfplay.phases import Phase
from sparring.selfplay.run import Run
from sparring.stage_directory import SAMPLE_FOLDERS, StageDirectory
from sparring.work import processes


def retain(run: Run, policy: int, *, best: int) -> None:
    """Removes the folders that the run need not keep now that a policy was measured, and says so.

    A kill at any instant leaves a folder whole, or under a temporary name that the next call removes.

    Args:
        run: The run.
        policy: The number of the policy.
        best: The number of the best policy so far.
    """
    keep, phases = run.config.keep, run.prepared.phases
    made = range(1, policy + 1)
    models = set(made) - kept_models(keep, phases, policy) - {best}
    samples = set(range(policy)) - kept_samples(keep, phases, policy)

    def discard_all() -> None:
        _discard("model", ((run.directory.iteration(number - 1), ("model",)) for number in sorted(models)))
        _discard("samples", ((run.directory.iteration(number), SAMPLE_FOLDERS) for number in sorted(samples)))

    if models or samples:
        processes.on_main(discard_all)


def kept_models(keep: KeepConfig, phases: Sequence[Phase], policy: int) -> set[int]:
    """The policies, up to the latest one, whose weights are kept, without regard to the best one."""
    if keep.models == "all":
        return set(range(policy + 1))
    # Self-play started from the base model or the warm-up, and the report compares with it.
    needed = {0, *range(policy - keep.models + 1, policy + 1)}
    for phase, iteration in _to_come(phases, policy):
        needed |= {*phase.opponent.spec(iteration).generators, *phase.scorers(iteration)}
    return {number for number in needed if 0 <= number <= policy}


def kept_samples(keep: KeepConfig, phases: Sequence[Phase], policy: int) -> set[int]:
    """The iterations whose samples are kept once a policy was measured."""
    if keep.samples == "all":
        return set(range(policy))
    needed = set(range(policy - keep.samples, policy))
    for phase, iteration in _to_come(phases, policy):
        # Each member of a team plays with the samples of its own round.
        needed |= {*phase.team(iteration)}
        if "policy_initial" in phase.objective.requires:
            needed.add(phase.iterations.start)
    return {number for number in needed if 0 <= number < policy}


@dataclass(frozen=True)
class Stored:
    """The number of things on the disk: at most, and when the run has ended."""

    most: int
    end: int


def models_at_once(keep: KeepConfig, phases: Sequence[Phase], *, warmed_up: bool) -> Stored:
    """The number of saved policies: the kept ones, the best one, and a new one before an old one is removed."""
    last = phases[-1].iterations.stop
    stored = []
    for policy in range(last + 1):
        kept = len(kept_models(keep, phases, policy))
        # Policy 0 is the base model where there was no warm-up, which is not saved.
        stored.append(kept + (kept <= policy) - (not warmed_up))
    return Stored(max(stored[:-1], default=0) + 1, stored[-1])


def _to_come(phases: Sequence[Phase], policy: int) -> Iterable[tuple[Phase, int]]:
    return ((phase, iteration) for phase in phases for iteration in phase.iterations if iteration >= policy)


def _discard(what: str, folders: Iterable[tuple[StageDirectory, Sequence[str]]]) -> None:
    names: list[str] = []
    for stage, parts in folders:
        if what not in stage.removed():
            # Written first: without this note a missing folder would be made again.
            write_json(stage.removals, {"removed": sorted({*stage.removed(), what})})
            names.append(stage.path.name)
        for part in parts:
            discard(stage.path / part)
    if names:
        _tell(what, names)


def _tell(what: str, names: Sequence[str]) -> None:
    setting = {"model": "keep.models", "samples": "keep.samples"}[what]
    of = "weights" if what == "model" else "samples"
    console.print(f"removed the {of} of iteration {', '.join(names)}, which nothing needs any more ({setting})")
