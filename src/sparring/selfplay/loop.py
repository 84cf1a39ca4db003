"""The loop: an optional warm-up, then iterations of generate → score → judge → train → evaluate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sparring.errors import InputError
from sparring.metrics import Estimate
from sparring.policies import BASE, CONTROL
from sparring.progress import console, in_parts
from sparring.run_directory import RunDirectory
from sparring.selfplay.checks.consent import consent_option
from sparring.selfplay.checks.folder import make_folder
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.early_stop import beside, watch
from sparring.selfplay.monitor import monitor, tell_start
from sparring.selfplay.notes import announce
from sparring.selfplay.phases import Phase
from sparring.selfplay.prepared import prepare
from sparring.selfplay.remaining import tell_estimate, tell_remaining
from sparring.selfplay.result import Result, conclude, known_result
from sparring.selfplay.retention import retain
from sparring.selfplay.run import Run
from sparring.selfplay.set_up import claim, reopen, set_up, take_over
from sparring.selfplay.stages.control import control_epochs, log_cost, train_control
from sparring.selfplay.stages.demonstrate import demonstrate
from sparring.selfplay.stages.evaluate import evaluate, evaluated
from sparring.selfplay.stages.generate import generate
from sparring.selfplay.stages.given import given_samples, given_verdicts
from sparring.selfplay.stages.judge import join, judge_samples
from sparring.selfplay.stages.next_tokens import with_next_tokens
from sparring.selfplay.stages.reward import learn_rewards
from sparring.selfplay.stages.score import score
from sparring.selfplay.stages.ties import tell_ties
from sparring.selfplay.stages.train import demonstrations, is_trained, train
from sparring.selfplay.stages.warm_up import warm_up
from sparring.trainer.reading import taught
from sparring.trainer.triples import Triple, Triples
from sparring.work import processes

_PLAYING = threading.Lock()


@processes.losses_told()
def run(config: SelfPlayConfig, *, callbacks: Sequence[Any] = ()) -> Result:
    """Plays a whole run.

    Args:
        config: The configuration.
        callbacks: Callbacks of transformers (`TrainerCallback`), which every training of the run has: the warm-up's and
            each iteration's.

    Raises:
        InputError: The configuration, the data or the model is wrong; this is found before anything expensive. Or this
            process plays another run, in another thread.
    """
    prepared = prepare(config)
    console.quiet = not processes.is_main()
    directory = processes.on_main(lambda: make_folder(prepared.config))
    announce(prepared)
    with _held(directory):
        # Another process may have started a run here before this one got the lock.
        processes.on_main(lambda: make_folder(prepared.config))
        started = set_up(prepared, directory, callbacks)
        processes.on_main(lambda: claim(prepared, directory))
        return _play(started)


@processes.losses_told()
def resume(path: Path | str, *, trust_remote_code: bool = False, callbacks: Sequence[Any] = ()) -> Result:
    """Continues a run from the last finished shard or checkpoint; on CPU the result is bit-identical.

    If the run has ended, all its files are checked, and damaged ones are computed again. That may need consent; without
    it nothing is computed, and the result is read from its file.

    Args:
        path: The run directory.
        trust_remote_code: Whether code that the run brings along may run, and keys may go to the machines that it
            names; the run may be another person's.
        callbacks: As `run` takes them; they are not kept with the run.

    Raises:
        InputError: The folder is not a run; its configuration, model or data changed; another process plays it; or it
            needs `trust_remote_code`.
    """
    directory = RunDirectory(Path(path))
    directory.require()
    ended = known_result(directory)
    if ended is not None and not trust_remote_code and (option := consent_option(directory)):
        console.quiet = not processes.is_main()
        console.print(f"nothing is left to do; give{option} to have what is on disk checked, and mended where need be")
        return ended
    prepared, directory = reopen(directory.path, trust_remote_code=trust_remote_code)
    console.quiet = not processes.is_main()
    with _held(directory):
        processes.on_main(lambda: take_over(directory))
        return _play(set_up(prepared, directory, callbacks))


@contextmanager
def _held(directory: RunDirectory) -> Iterator[None]:
    """Holds the run's lock in the main process, so that no other process plays it, and this process plays no other run.

    The latter since accelerate keeps the device and the precision of a training for the whole process.
    """
    if not _PLAYING.acquire(blocking=False):
        fix = "wait for it, or play this one in another process"
        raise InputError("this process plays another run", where=str(directory.path), fix=fix)
    with ExitStack() as stack:
        stack.callback(_PLAYING.release)
        processes.on_main(lambda: stack.enter_context(directory.held()))
        yield


def _play(run: Run) -> Result:
    processes.check_shared(run.directory.manifest)
    if run.teacher is not None:
        with run.timed(stage="demonstrate"):
            run = demonstrate(run)
    evaluations: dict[int, dict[str, Estimate]] = {}
    if run.config.warmup is not None:
        _evaluate(run, BASE)
        warm_up(run, run.config.warmup)
    evaluations[0] = _evaluate(run, 0)
    tell_start(run, evaluations[0])
    standing = watch(run.config.stop, evaluations)
    for iteration in range(run.config.total_iterations):
        _iterate(run, iteration)
        evaluations[iteration + 1] = _evaluate(run, iteration + 1)
        standing = watch(run.config.stop, evaluations, monitor(run, evaluations))
        console.print(f"iteration {iteration}: {standing.reason}")
        retain(run, iteration + 1, best=standing.best)
        if standing.stop:
            break
        tell_remaining(run, iteration)
    if run.config.controls:
        standing = beside(standing, evaluations[standing.best], _control(run, max(evaluations)))
    return conclude(run, standing)


def _control(run: Run, iterations: int) -> dict[int, dict[str, Estimate]]:
    """Trains the policies of the control, and measures them like those of the play; returns their estimates."""
    evaluations, trained = dict[int, dict[str, Estimate]](), 0.0
    for number, epochs in enumerate(control_epochs(run, iterations)):
        train_control(run, CONTROL - number, epochs - trained)
        evaluations[CONTROL - number], trained = _evaluate(run, CONTROL - number), epochs
    return evaluations


def _iterate(run: Run, iteration: int) -> None:
    phase, stage = run.phase(iteration), run.directory.iteration(iteration)
    if is_trained(stage):
        return
    triples = _triples(run, phase, iteration) if phase.needs_samples else demonstrations(run.train)
    log_cost(run, iteration, triples)
    if iteration == 0:
        tell_estimate(run)
    with run.timed(stage="train", iteration=iteration):
        train(
            run,
            start=iteration,
            stage=stage,
            triples=_taught(phase, iteration, triples),
            objective=phase.objective,
            fields=phase.config.training,
            name=f"iteration {iteration}",
            labels={"stage": "train", "iteration": iteration},
        )


def _triples(run: Run, phase: Phase, iteration: int) -> list[Triple]:
    """The training triples of an iteration: responses with their preferences and log-probs."""
    with run.timed(stage="generate", iteration=iteration):
        shards = given_samples(run, iteration) if phase.given else generate(run, iteration)
    if not phase.given:
        tell_ties(run, iteration, shards)
    verdicts = given_verdicts(run, iteration) if phase.given else None
    with run.timed(stage="score", iteration=iteration):
        triples = with_next_tokens(run, iteration, shards, score(run, iteration, shards))
    if phase.reward_player is not None:
        with run.timed(stage="reward", iteration=iteration):
            learn_rewards(run, iteration, shards)
    if phase.judge is not None:
        with run.timed(stage="judge", iteration=iteration):
            verdicts = processes.on_main(lambda: judge_samples(run, iteration, shards))
    return triples if verdicts is None else join(run, iteration, triples, verdicts)


def _taught(phase: Phase, iteration: int, triples: Sequence[Triple]) -> Triples:
    """The triples that the objective can learn from."""
    learnt = taught(phase.objective, triples)
    if len(learnt) < len(triples):
        console.print(f"iteration {iteration}: trains on {len(learnt)} prompts; the others' samples teach nothing")
    return Triples(learnt)


def _evaluate(run: Run, policy: int) -> dict[str, Estimate]:
    known = evaluated(run, policy)
    if known is not None:
        return known
    name = run.directory.name(policy)
    with run.timed(stage="evaluate", policy=name), in_parts(f"{name}: evaluate"):
        return evaluate(run, policy)
