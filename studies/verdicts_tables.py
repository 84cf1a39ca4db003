"""The table of what verdicts are worth, by how they are used."""

from __future__ import annotations

from typing import Any

from cells import signed, spread, table
from outcomes import paired, results_of
from verdicts import best_rate

_BESIDE = "RAFT"


def verdicts() -> str:
    """Every method after its iterations, and the paired differences to RAFT after the last, of the same seeds."""
    found = results_of("verdicts")
    runs: dict[str, dict[str, Any]] = found["runs"]
    rows = [["start", "", *_levels(runs[_BESIDE], 0), "", "", ""]]
    for name, of_seed in runs.items():
        rate = f"{best_rate(found['trials'][name])} ({len(of_seed)})"
        drift = spread([run["kl_to_base"] for run in of_seed.values()], 2)
        rows.append([name, rate, *_levels(of_seed, -1), *_over(of_seed, runs[_BESIDE]), drift])
    head = ("", "rate (seeds)", "greedy, after 1", "after 3", "sampled, after 3")
    return table((*head, "Δ greedy to RAFT", "Δ sampled", "KL to the start"), rows)


def _levels(of_seed: dict[str, Any], last: int) -> list[str]:
    wanted = (("greedy", 1 if last else 0), ("greedy", last), ("sampled", last))
    return [spread([run[measure][policy] for run in of_seed.values()], 2) for measure, policy in wanted]


def _over(of_seed: dict[str, Any], beside: dict[str, Any]) -> list[str]:
    if of_seed is beside:
        return ["", ""]
    sides = ([runs[seed]["last"] for seed in of_seed] for runs in (of_seed, beside))
    ours, theirs = ([{name: run[name] for name in ("greedy", "sampled")} for run in side] for side in sides)
    return [signed(paired([run[n] for run in ours], [run[n] for run in theirs]), 3) for n in ("greedy", "sampled")]
