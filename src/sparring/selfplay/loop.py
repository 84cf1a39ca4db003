"""The loop: an optional warm-up, then iterations of generate → judge → score → train → evaluate."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.files import read_json, remove, write_json
from sparring.metrics import Estimate
from sparring.objectives import Sft
from sparring.policies import BASE
from sparring.progress import console
from sparring.run_directory import RunDirectory, StageDirectory
from sparring.selfplay.config.schema import SelfPlayConfig, WarmupConfig
from sparring.selfplay.early_stop import Verdict, judge
from sparring.selfplay.monitor import monitor
from sparring.selfplay.prepared import announce, prepare
from sparring.selfplay.run import Run
from sparring.selfplay.set_up import check_free, claim, reopen, set_up
from sparring.selfplay.stages.demonstrate import demonstrate
from sparring.selfplay.stages.evaluate import evaluate
from sparring.selfplay.stages.generate import generate
from sparring.selfplay.stages.given import given_samples, given_verdicts
from sparring.selfplay.stages.judge import join, judge_samples
from sparring.selfplay.stages.score import score
from sparring.selfplay.stages.train import train
from sparring.trainer.triples import Triple, Triples
from sparring.types import EncodedExample
from sparring.work import processes


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended.

    Attributes:
        directory: The run directory.
        best: The weights of the best policy; None when it is the base model itself.
        stopped_early: Whether the run was ended before its last iteration: an iterate fell too far below the best
            one, or a check in `stop.alarms` raised the alarm.
        reason: Why, in plain words.
    """

    directory: Path
    best: Path | None
    stopped_early: bool
    reason: str


def run(config: SelfPlayConfig) -> Result:
    """Plays a whole run.

    Raises:
        InputError: The configuration, the data or the model is wrong; nothing expensive was done.
    """
    prepared = prepare(config)
    console.quiet = not processes.is_main()
    directory = processes.on_main(lambda: check_free(config))
    announce(prepared)
    with _held(directory):
        # Another process may have been here since, before it was held.
        processes.on_main(lambda: check_free(config))
        started = set_up(prepared, directory)
        processes.on_main(lambda: claim(prepared, directory))
        return _play(started)


def resume(path: Path | str, *, trust_remote_code: bool = False) -> Result:
    """Continues a run from the last finished shard or checkpoint; on CPU the result is bit-identical.

    Args:
        path: The run directory.
        trust_remote_code: Whether code that the run brings along may run, and keys may go to the machines that it
            names; the run may be another person's.

    Raises:
        InputError: It is no run, its configuration, model or data changed since, another process plays it, or it
            needs `trust_remote_code`.
    """
    prepared, directory = reopen(Path(path), trust_remote_code=trust_remote_code)
    console.quiet = not processes.is_main()
    with _held(directory):
        return _play(set_up(prepared, directory))


@contextmanager
def _held(directory: RunDirectory) -> Iterator[None]:
    """The main process holds the run's lock, so that nobody else plays it."""
    with ExitStack() as stack:
        processes.on_main(lambda: stack.enter_context(directory.held()))
        yield


def _play(run: Run) -> Result:
    processes.check_shared(run.directory.manifest)
    if run.teacher is not None:
        with _timed(run, stage="demonstrate"):
            run = demonstrate(run)
    evaluations: dict[int, dict[str, Estimate]] = {}
    if run.config.warmup is not None:
        _evaluate(run, BASE)
        _warm_up(run, run.config.warmup)
    evaluations[0] = _evaluate(run, 0)
    verdict = judge(run.config.stop, evaluations)
    for iteration in range(run.config.total_iterations):
        _iterate(run, iteration)
        evaluations[iteration + 1] = _evaluate(run, iteration + 1)
        verdict = judge(run.config.stop, evaluations, monitor(run, evaluations))
        console.print(f"iteration {iteration}: {verdict.reason}")
        if verdict.stop:
            break
    return _conclude(run, verdict)


def _warm_up(run: Run, config: WarmupConfig) -> None:
    stage = run.directory.warmup
    if _is_trained(stage):
        return
    triples = Triples(_demonstrations(run.train))
    with _timed(run, stage="warmup"):
        train(
            run,
            start=BASE,
            stage=stage,
            triples=triples,
            objective=Sft(),
            fields=run.config.training | config.training,
            name="warm-up",
            labels={"stage": "warmup"},
        )


def _demonstrations(examples: Iterable[EncodedExample]) -> list[Triple]:
    return [Triple(prompt_ids=item.prompt_ids, expert_ids=item.expert_ids) for item in examples if item.expert_ids]


def _is_trained(stage: StageDirectory) -> bool:
    def there() -> bool:
        if not stage.model.exists():
            return False
        # A kill may have come between the model and its checkpoints' removal.
        remove(stage.training)
        return True

    return processes.on_main(there)


def _iterate(run: Run, iteration: int) -> None:
    phase, stage = run.phase(iteration), run.directory.iteration(iteration)
    if _is_trained(stage):
        return
    if phase.needs_samples:
        with _timed(run, stage="generate", iteration=iteration):
            shards = given_samples(run, iteration) if phase.given else generate(run, iteration)
        verdicts = given_verdicts(run, iteration) if phase.given else None
        if phase.judge is not None:
            with _timed(run, stage="judge", iteration=iteration):
                verdicts = processes.on_main(lambda: judge_samples(run, iteration, shards))
        with _timed(run, stage="score", iteration=iteration):
            triples = score(run, iteration, shards)
        triples = triples if verdicts is None else join(run, iteration, triples, verdicts)
    else:
        triples = _demonstrations(run.train)
    with _timed(run, stage="train", iteration=iteration):
        train(
            run,
            start=iteration,
            stage=stage,
            triples=Triples(triples),
            objective=phase.objective,
            fields=phase.config.training,
            name=f"iteration {iteration}",
            labels={"stage": "train", "iteration": iteration},
        )


def _evaluate(run: Run, policy: int) -> dict[str, Estimate]:
    stage = run.directory.stage(policy)
    if processes.on_main(stage.evaluation.exists):
        return evaluate(run, policy)
    with _timed(run, stage="evaluate", policy=str(stage.path.relative_to(run.directory.path))):
        return evaluate(run, policy)


@contextmanager
def _timed(run: Run, **labels: Any) -> Iterator[None]:
    """Logs the seconds that a stage, or what was left of it after a kill, took."""
    start = time.monotonic()
    yield
    run.log({"kind": "time", **labels, "seconds": round(time.monotonic() - start, 3)})


def _conclude(run: Run, verdict: Verdict) -> Result:
    best = run.directory.weights(verdict.best)
    processes.on_main(lambda: _write_result(run, verdict, best))
    return Result(directory=run.directory.path, best=best, stopped_early=verdict.stop, reason=verdict.reason)


def _write_result(run: Run, verdict: Verdict, best: Path | None) -> None:
    before = read_json(run.directory.result) if run.directory.result.exists() else {}
    name = run.directory.stage(verdict.best).path.relative_to(run.directory.path)
    write_json(
        run.directory.result,
        {
            "best": str(name),
            "model": None if best is None else str(best.relative_to(run.directory.path)),
            "metric": verdict.metric,
            "stopped_early": verdict.stop,
            "reason": verdict.reason,
            "peak_memory_gib": max(round(_peak_memory_bytes() / 2**30, 3), before.get("peak_memory_gib", 0.0)),
        },
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
