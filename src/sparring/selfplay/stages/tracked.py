"""Tracked: sends the held-out estimates to the experiment trackers of a run."""

from __future__ import annotations

from collections.abc import Mapping

from sparring.metrics import Estimate
from sparring.selfplay.run import Run
from sparring.trainer.arguments import training_arguments
from sparring.trainer.trackers import steps_before, tell_held_out
from sparring.work import processes


def track(run: Run, policy: int, estimates: Mapping[str, Estimate]) -> None:
    """Sends a policy's estimates to the trackers of the training that made it, as values of its last step."""
    # A run may end with its warm-up, and then plays no phase.
    trained = run.phase(policy - 1).config if policy > 0 else run.config
    args = training_arguments(
        trained.training,
        output=run.directory.stage(policy).training,
        seed=run.config.seed,
        device=run.config.model.device,
        run_name=run.directory.path.name,
    )
    if args.report_to and estimates and processes.is_main():
        means = {name: estimate.mean for name, estimate in estimates.items()}
        step = steps_before(run.directory.events(), {})
        tell_held_out(args, means, step=step, folder=run.directory.tensorboard, model=run.policy.model)
