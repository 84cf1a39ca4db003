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
from sparring.progress import console
from sparring.run_directory import BASE, RunDirectory, StageDirectory
from sparring.training import processes
from sparring.training.config import SelfPlayConfig, WarmupConfig
from sparring.training.game import Game
from sparring.training.monitor import monitor
from sparring.training.prepare import announce, prepare
from sparring.training.set_up import check_free, claim, reopen, set_up
from sparring.training.stages.demonstrate import demonstrate
from sparring.training.stages.evaluate import evaluate
from sparring.training.stages.generate import generate
from sparring.training.stages.given import given_samples, given_verdicts
from sparring.training.stages.judge import join, judge_samples
from sparring.training.stages.score import score
from sparring.training.stages.train import train
from sparring.training.triples import Triple, Triples
from sparring.training.watch import Verdict, judge
from sparring.types import EncodedExample


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
        game = set_up(prepared, directory)
        processes.on_main(lambda: claim(prepared, directory))
        return _play(game)


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


def _play(game: Game) -> Result:
    processes.check_shared(game.directory.manifest)
    if game.teacher is not None:
        with _timed(game, stage="demonstrate"):
            game = demonstrate(game)
    evaluations: dict[int, dict[str, Estimate]] = {}
    if game.config.warmup is not None:
        _evaluate(game, BASE)
        _warm_up(game, game.config.warmup)
    evaluations[0] = _evaluate(game, 0)
    verdict = judge(game.config.stop, evaluations)
    for iteration in range(game.config.total_iterations):
        _iterate(game, iteration)
        evaluations[iteration + 1] = _evaluate(game, iteration + 1)
        verdict = judge(game.config.stop, evaluations, monitor(game, evaluations))
        console.print(f"iteration {iteration}: {verdict.reason}", highlight=False)
        if verdict.stop:
            break
    return _conclude(game, verdict)


def _warm_up(game: Game, config: WarmupConfig) -> None:
    stage = game.directory.warmup
    if _is_trained(stage):
        return
    triples = Triples(_demonstrations(game.train))
    with _timed(game, stage="warmup"):
        train(
            game,
            start=BASE,
            stage=stage,
            triples=triples,
            objective=Sft(),
            fields=game.config.training | config.training,
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


def _iterate(game: Game, iteration: int) -> None:
    phase, stage = game.phase(iteration), game.directory.iteration(iteration)
    if _is_trained(stage):
        return
    if phase.needs_samples:
        with _timed(game, stage="generate", iteration=iteration):
            shards = given_samples(game, iteration) if phase.given else generate(game, iteration)
        verdicts = given_verdicts(game, iteration) if phase.given else None
        if phase.judge is not None:
            with _timed(game, stage="judge", iteration=iteration):
                verdicts = processes.on_main(lambda: judge_samples(game, iteration, shards))
        with _timed(game, stage="score", iteration=iteration):
            triples = score(game, iteration, shards)
        triples = triples if verdicts is None else join(game, iteration, triples, verdicts)
    else:
        triples = _demonstrations(game.train)
    with _timed(game, stage="train", iteration=iteration):
        train(
            game,
            start=iteration,
            stage=stage,
            triples=Triples(triples),
            objective=phase.objective,
            fields=phase.config.training,
            name=f"iteration {iteration}",
            labels={"stage": "train", "iteration": iteration},
        )


def _evaluate(game: Game, policy: int) -> dict[str, Estimate]:
    stage = game.directory.stage(policy)
    if processes.on_main(stage.evaluation.exists):
        return evaluate(game, policy)
    with _timed(game, stage="evaluate", policy=str(stage.path.relative_to(game.directory.path))):
        return evaluate(game, policy)


@contextmanager
def _timed(game: Game, **labels: Any) -> Iterator[None]:
    """Logs the seconds that a stage, or what was left of it after a kill, took."""
    start = time.monotonic()
    yield
    game.log({"kind": "time", **labels, "seconds": round(time.monotonic() - start, 3)})


def _conclude(game: Game, verdict: Verdict) -> Result:
    best = game.directory.weights(verdict.best)
    processes.on_main(lambda: _write_result(game, verdict, best))
    return Result(directory=game.directory.path, best=best, stopped_early=verdict.stop, reason=verdict.reason)


def _write_result(game: Game, verdict: Verdict, best: Path | None) -> None:
    before = read_json(game.directory.result) if game.directory.result.exists() else {}
    name = game.directory.stage(verdict.best).path.relative_to(game.directory.path)
    write_json(
        game.directory.result,
        {
            "best": str(name),
            "model": None if best is None else str(best.relative_to(game.directory.path)),
            "metric": verdict.metric,
            "stopped_early": verdict.stop,
            "reason": verdict.reason,
            "peak_memory_gib": max(round(_peak_memory_bytes() / 2**30, 3), before.get("peak_memory_gib", 0.0)),
        },
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
