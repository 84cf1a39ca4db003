"""The tables of what verdicts are worth, by how they are used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cells import signed, spread, table
from outcomes import paired, results_of
from verdicts import best_rate, section_of

_BESIDE = "RAFT"
_MEASURES = ("greedy", "sampled")


def verdicts(methods: Iterable[str], verifier: str | None = None) -> str:
    """Some methods after their iterations, and the paired differences to RAFT after the last, of the same seeds.

    By a verifier that errs, the differences to the same method's runs by the one that does not, too.
    """
    found = results_of("verdicts")
    runs, trials = (found[section_of(kind, verifier)] for kind in ("runs", "trials"))
    rows = [["start", "", *_levels(runs[_BESIDE], 0), *[""] * (3 if verifier is None else 4)]]
    for name, of_seed in ((name, runs[name]) for name in methods):
        rate = f"{best_rate(trials[name])} ({len(of_seed)})"
        over = ["", ""] if name == _BESIDE else _over(of_seed, runs[_BESIDE])
        drift = spread([run["kl_to_base"] for run in of_seed.values()], 2)
        without_errors = [] if verifier is None else _over(of_seed, found["runs"][name])[:1]
        rows.append([name, rate, *_levels(of_seed, -1), *over, *without_errors, drift])
    head = ["", "rate (seeds)", "greedy, after 1", "after 3", "sampled, after 3", "Δ greedy to RAFT", "Δ sampled"]
    beside = [] if verifier is None else ["Δ greedy to no errors"]
    return table((*head, *beside, "KL to the start"), rows)


def _levels(of_seed: dict[str, Any], last: int) -> list[str]:
    wanted = (("greedy", 1 if last else 0), ("greedy", last), ("sampled", last))
    return [spread([run[measure][policy] for run in of_seed.values()], 2) for measure, policy in wanted]


def _over(of_seed: dict[str, Any], beside: dict[str, Any]) -> list[str]:
    sides = [[runs[seed]["last"] for seed in of_seed] for runs in (of_seed, beside)]
    return [signed(paired(*([run[name] for run in side] for side in sides)), 3) for name in _MEASURES]
