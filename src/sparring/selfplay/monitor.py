"""The stability monitor: runs the checks on a run, and writes their findings into its log and stability.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparring.files import write_json
from sparring.log_ratios import EXPERT_FIELDS
from sparring.metrics import Estimate
from sparring.metrics.likelihood import FAR_FROM_EXPERT, LIKELIHOOD
from sparring.metrics.stability import Finding, History, examine
from sparring.progress import console
from sparring.regularizers import split_regularizers
from sparring.selfplay.run import Run
from sparring.selfplay.stages.held_out import expert_log_probs
from sparring.work import processes


def monitor(run: Run, evaluations: Mapping[int, Mapping[str, Estimate]]) -> list[Finding]:
    """The findings after the last evaluated policy; those of all iterations go into stability.json."""
    log_probs = {policy: expert_log_probs(run, policy) for policy in evaluations}
    # In the main process, which writes the log; other processes may not see its last events yet.
    findings = processes.on_main(lambda: _examine(run, evaluations, log_probs))
    last = max(evaluations) - 1
    found = [finding for finding in findings if finding.iteration == last]
    for finding in found:
        if finding.status != "ok":
            console.print(f"iteration {last}: {finding.status}: {finding.text}")
    return found


def tell_start(run: Run, evaluation: Mapping[str, Estimate]) -> None:
    """Warns if play starts from a policy that has not learnt the expert's format."""
    if not run.config.total_iterations:
        return
    log_likelihood, objective = evaluation.get(LIKELIHOOD), split_regularizers(run.phase(0).objective)[0]
    if log_likelihood is None or log_likelihood.mean >= FAR_FROM_EXPERT or not objective.requires & EXPERT_FIELDS:
        return
    reach, length = objective.reach, evaluation["length/expert"].mean if "length/expert" in evaluation else None
    text = (
        f"warning: play starts at {log_likelihood.mean:.1f} nats a token of the held-out experts, so the policy has "
        "not learned to write as they do"
    )
    if reach is not None:
        text += f"; one iteration moves the log ratio of a whole response by about {reach:g} nats"
        text += "" if length is None else f", and a response has {length:.0f} tokens"
    console.print(f"{text}: warm up for longer, or at a higher learning rate (warmup.training)")


def _examine(
    run: Run, evaluations: Mapping[int, Mapping[str, Estimate]], log_probs: Mapping[int, list[float]]
) -> list[Finding]:
    training = _training(run.directory.events())
    findings = []
    for iteration in range(max(evaluations)):
        history = History(
            evaluations={policy: evaluations[policy] for policy in range(iteration + 2)},
            training={number: training.get(number, {}) for number in range(iteration + 1)},
            expert_log_probs={policy: log_probs[policy] for policy in range(iteration + 2)},
            phase_start=run.phase(iteration).iterations.start,
        )
        findings += examine(history, run.config.stability)
    write_json(run.directory.stability, {"findings": [finding.to_json() for finding in findings]})
    return findings


def _training(events: list[dict[str, Any]]) -> dict[int, dict[str, Estimate]]:
    """The values that each iteration's training logged, averaged over its steps."""
    logged: dict[int, dict[str, list[float]]] = {}
    for event in events:
        if event.get("stage") == "train" and event.get("kind") != "time":
            values = logged.setdefault(event["iteration"], {})
            for name, value in event.items():
                if isinstance(value, float):
                    values.setdefault("objective" if name == "loss" else name, []).append(value)
    return {
        iteration: {name: Estimate.of(each) for name, each in values.items()} for iteration, values in logged.items()
    }
