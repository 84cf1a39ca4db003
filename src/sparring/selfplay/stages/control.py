"""Control: more supervised fine-tuning from where play started, for as much computation as the play took."""

from __future__ import annotations

from collections.abc import Sequence

from sparring.errors import RunError
from sparring.objectives import Sft
from sparring.policies import CONTROL, before
from sparring.progress import console
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.run import Run
from sparring.selfplay.stages.train import demonstrations, is_trained, train
from sparring.trainer.collation import collate
from sparring.trainer.reading import positions
from sparring.trainer.triples import Triple, Triples
from sparring.work import processes


def log_cost(run: Run, iteration: int, triples: Sequence[Triple]) -> None:
    """Logs the tokens that an iteration trains on in an epoch, and those that it reads to sample and to score them."""
    phase, tokens = run.phase(iteration), sum(map(_tokens, triples))
    readers = bool(phase.samples) + len(phase.scorers(iteration)) if phase.needs_samples else 0
    trained = sum(positions(phase.objective, collate(triples))) if triples else 0
    run.log({"stage": "tokens", "iteration": iteration, "tokens/epoch": trained, "tokens/read": readers * tokens})


def control_epochs(run: Run, iterations: int) -> list[float]:
    """The numbers of epochs after which the control is measured: as many as the play has policies, but at least two.

    The last, E, takes as much computation as the play. The others are in a constant ratio, E^(k/T) for k = 1 … T, so
    that a short continuation is compared too: after the longest, the control may know its experts by heart.

    Raises:
        RunError: The log lacks the cost of an iteration.
    """
    spent = processes.on_main(lambda: _spent(run, range(iterations)))
    epochs = spent / sum(map(_tokens, demonstrations(run.train)))
    shares = [k / max(iterations, 2) for k in range(1, max(iterations, 2) + 1)]
    return [epochs**share if epochs > 1.0 else epochs * share for share in shares]


def train_control(run: Run, policy: int, epochs: float) -> None:
    """Trains a policy of the control for a number of epochs from the one before it, unless it is trained already."""
    stage, number = run.directory.stage(policy), CONTROL - policy
    if is_trained(stage):
        return
    warmup = run.config.warmup or WarmupConfig()
    console.print(f"control {number}: {epochs:.3g} more epochs of supervised fine-tuning, for comparison")
    with run.timed(stage="control", policy=run.directory.name(policy)):
        train(
            run,
            start=before(policy),
            stage=stage,
            triples=Triples(demonstrations(run.train)),
            objective=Sft(),
            fields=warmup.fields(run.config.training) | {"num_train_epochs": epochs, "max_steps": -1},
            name=f"control {number}",
            labels={"stage": f"control {number}"},
        )


def reading(run: Run) -> float:
    """The computation of reading a token as a share of training on it: 2P of 4P + 2 operations a trained weight."""
    weights = [(weight.numel(), weight.requires_grad) for weight in run.policy.model.parameters()]
    whole, trained = sum(count for count, _ in weights), sum(count for count, needed in weights if needed)
    return float(whole / (2 * whole + trained))


def _spent(run: Run, iterations: Sequence[int]) -> float:
    """The computation of some iterations, in trained tokens."""
    logged, epochs = dict[int, float](), dict[int, float]()
    events = [event for event in run.directory.events() if event.get("iteration") in iterations]
    share = reading(run)
    for event in events:
        if event.get("stage") == "train" and "epoch" in event:
            epochs[event["iteration"]] = max(event["epoch"], epochs.get(event["iteration"], 0.0))
    for event in events:
        if event.get("stage") == "tokens" and event["iteration"] in epochs:
            trained = epochs[event["iteration"]] * event["tokens/epoch"]
            logged[event["iteration"]] = trained + event["tokens/read"] * share
    if logged.keys() != {*iterations}:
        raise RunError(
            f"{run.directory.metrics} lacks what an iteration took, so nobody knows how long the control would train; "
            "restore it from a copy of the run"
        )
    return sum(logged.values())


def _tokens(triple: Triple) -> int:
    """The tokens of a packed row, which holds the prompt once."""
    return len(triple.prompt_ids) + sum(map(len, triple.responses))
