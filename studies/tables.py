"""Writes the tables of docs/studies.md anew from the results of the studies.

    python studies/tables.py [--check]

A table stands between `<!-- NAME -->` and `<!-- end -->`. `--check` writes nothing, and fails where one differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import spearmanr

from outcomes import Outcome, paired, read
from sparring.metrics import Estimate

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "studies.md"
_TABLE = re.compile(r"(<!-- (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TITLES = {
    "sft": "more SFT",
    "dft": "DFT",
    "spif": "SPIF, β 1, R 2",
    "spif-sft": "SPIF + 0.3 SFT",
    "spin": "SPIN, β 1",
    "spin-0.1": "SPIN, β 0.1",
    "space": "SPACE",
    "sppo-verifier": "SPPO, verifier",
    "rspo-verifier": "RSPO, verifier",
    "sppo-consensus": "SPPO, consensus",
    "sppo-discriminator": "SPPO, discriminator",
    "sppo-implicit": "SPPO, implicit",
    "distill": "distill (SDFT)",
}

_PLAYS = {
    "raft": "RAFT",
    "sppo": "SPPO",
    "hasty": "SPPO",
    "spif": "SPIF",
    "all-solutions": "SFT on a solution to every problem",
}
_START = "warmup"


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    made = filled(text)
    if not options.check:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        print("docs/studies.md differs from studies/results; run python studies/tables.py")
        return 1
    return 0


def filled(text: str) -> str:
    """A page with each of its tables made anew."""
    return _TABLE.sub(lambda found: found[1] + TABLES[found["name"]]() + found[3], text)


def contests(ground: str) -> str:
    """Every contest on a ground: what was right after play, and the paired difference to more SFT."""
    played = _read(f"more_sft_{ground}")["contests"]
    runs = {name: _outcomes(contest) for name, contest in played.items() if contest["runs"]}
    starts = {seed: run for of_seed in runs.values() for seed, run in of_seed.items()}
    rows = [["start", "", *_levels([(run, 0) for run in starts.values()]), *[""] * 5]]
    ratio = _seconds(runs["sft"])
    for name, of_seed in runs.items():
        rate = next(iter(played[name]["runs"].values()))["rate"]
        for which in (_last, Outcome.best):
            kept = [(run, which(run)) for run in of_seed.values()]
            title = _title(name) if which is _last else "— its best iterate"
            over = _over_sft(of_seed, runs["sft"], which)
            cost = f"{_seconds(of_seed) / ratio:.1f}" if which is _last else ""
            kl = _spread([run.overall[policy]["kl_to_base"] for run, policy in kept], 1)
            rows.append([title, f"{rate:g} ({len(of_seed)})", *_levels(kept), *over, kl, cost])
    head = ("", "rate (seeds)", "greedy", "sampled", "nats a token", "Δ greedy", "Δ sampled", "KL", "time / SFT's")
    return _table(head, rows)


def _last(run: Outcome) -> int:
    return len(run.problems) - 1


def _outcomes(contest: dict[str, Any]) -> dict[str, Outcome]:
    return {seed: Outcome.from_json(values) for seed, values in contest["runs"].items()}


def _levels(policies: Sequence[tuple[Outcome, int]]) -> list[str]:
    return [
        _spread([mean(run.reported(policy, measure)) for run, policy in policies], digits)
        for measure, digits in (("greedy", 2), ("sampled", 2), ("likelihood", 3))
    ]


def _over_sft(of_seed: dict[str, Outcome], sft: dict[str, Outcome], which: Callable[[Outcome], int]) -> list[str]:
    """Paired differences to more SFT of the same seeds, over problems; empty for SFT itself."""
    both = [seed for seed in of_seed if seed in sft]
    if of_seed is sft or not both:
        return ["", ""]
    cells = []
    for measure in ("greedy", "sampled"):
        left, right = ([runs[n].reported(which(runs[n]), measure) for n in both] for runs in (of_seed, sft))
        cells.append(_signed(paired(left, right), 3))
    return cells


def _seconds(of_seed: dict[str, Outcome]) -> float:
    """What a run of play takes, without what measures it, the mean over seeds."""
    return mean(sum(s for stage, s in run.seconds.items() if stage != "evaluate") for run in of_seed.values())


def beside_sft(*plays: str) -> str:
    """Some plays and the control of the first, over all held-out problems of its seeds: levels, and paired gains."""
    played = _read("beside_sft")["plays"]
    runs = played[plays[0]]
    fixed = [name for name in _policies(runs) if not name.startswith("iterations/")]
    rows = [_beside(_named(name), runs, name, runs) for name in fixed]
    rows += [
        _beside(", ".join([_PLAYS[play], *([] if name == _START else [_named(name)])]), played[play], name, runs)
        for play in plays
        if play in played
        for name in _played(played[play])
    ]
    head = (
        "",
        "greedy",
        "sampled",
        "nats a token",
        "Δ greedy to the start",
        "Δ sampled",
        "Δ greedy to more SFT",
        "Δ sampled",
    )
    return _table(head, rows)


def _policies(runs: dict[str, dict[str, Any]]) -> list[str]:
    return [*dict.fromkeys(policy for run in runs.values() for policy in run)]


def _played(runs: dict[str, dict[str, Any]]) -> list[str]:
    """The policies of a play; its start where it has no iteration."""
    return [name for name in _policies(runs) if name.startswith("iterations/")] or [_START]


def _named(policy: str) -> str:
    kind, _, number = policy.partition("/")
    names = {_START: "SFT, where play starts", "control": f"more SFT, {int(number or 0)}"}
    return names.get(kind, f"iteration {int(number or 0)}")


def _beside(title: str, runs: dict[str, Any], name: str, controlled: dict[str, Any]) -> list[str]:
    """A row: a policy's levels, and its gains over the start, and over more SFT of the same number."""
    seeds = [seed for seed, run in runs.items() if name in run]
    row = [f"{title} ({len(seeds)})"]
    for measure, digits in (("greedy", 2), ("sampled", 2), ("likelihood", 3)):
        row.append(_spread([mean(runs[seed][name][measure]) for seed in seeds], digits))
    for other in (_START, f"control/{name.partition('/')[2]}"):
        both = [
            seed
            for seed in seeds
            if seed in controlled and other in controlled[seed] and controlled[seed][other] is not runs[seed][name]
        ]
        for measure in ("greedy", "sampled"):
            pairs = ([runs[n][name][measure] for n in both], [controlled[n][other][measure] for n in both])
            row.append(_signed(paired(*pairs), 3) if both else "")
    return row


def collapse() -> str:
    """Right answers before and after each case of the collapse study."""
    cases = _read("collapse")["cases"]
    rows = [
        [name, *(_each([seed["greedy"][policy] for seed in of_seed.values()]) for policy in (0, 1, 2, 3)), kl]
        for name, of_seed in cases.items()
        for kl in [_each([seed["kl_to_base"][-1] for seed in of_seed.values()])]
    ]
    return _table(("case, learning rate", "start", "iteration 0", "1", "2", "KL to the start"), rows)


def signs() -> str:
    """How well what is known early tells what is lost."""
    results = _read("collapse")
    # Results of before runs had signs hold the correlations themselves.
    told = correlations(results["cases"]) or {
        name: (each["spearman"], each["runs"]) for name, each in results["signs"].items()
    }
    return _table(
        ("sign", "Spearman with greedy answers lost", "runs"),
        [[name, f"{rho:+.2f}", str(runs)] for name, (rho, runs) in sorted(told.items(), key=lambda item: -item[1][0])],
    )


def correlations(cases: dict[str, dict[str, Any]]) -> dict[str, tuple[float, int]]:
    """By sign: the rank correlation with the greedy answers that a run lost, and over how many runs."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for run in (run for of_seed in cases.values() for run in of_seed.values()):
        for sign, value in run.get("signs", {}).items():
            pairs.setdefault(sign, []).append((value, run["greedy"][0] - run["greedy"][-1]))
    return {
        sign: (round(float(spearmanr(*zip(*each, strict=True)).statistic), 3), len(each))
        for sign, each in pairs.items()
    }


def noise() -> str:
    """Right answers of the start and after play, by the share of wrong experts."""
    cases = _read("noise")["cases"]
    shares = sorted({name.rpartition(", ")[2] for name in cases}, key=float)
    rows = []
    for method in dict.fromkeys(name.rpartition(", ")[0] for name in cases):
        of_shares = [cases.get(f"{method}, {share}", {}) for share in shares]
        rows.append([method, *(_before_after(list(of_seed.values())) for of_seed in of_shares)])
    return _table(("greedy / sampled, before → after", *(f"{float(share):.0%} wrong" for share in shares)), rows)


def _before_after(seeds: Sequence[dict[str, list[float]]]) -> str:
    if not seeds:
        return ""
    first, last = (
        " / ".join(f"{mean(seed[measure][policy] for seed in seeds):.2f}" for measure in ("greedy", "sampled"))
        for policy in (0, -1)
    )
    return f"{first} → {last}"


def known_truth() -> str:
    """True divergences from the expert, by policy, mean over seeds."""
    methods = _read("known_truth")["methods"]
    rows = [
        [name, *(_along(list(seeds.values()), key) for key in ("truth/forward_kl", "truth/total_variation"))]
        + [
            _along([policies[1:] for policies in seeds.values()], key)
            for key in ("divergence_estimate", "truth/divergence")
        ]
        for name, seeds in methods.items()
    ]
    head = (
        "",
        "KL(expert‖policy), nats: start, then each iteration",
        "total variation",
        "the objective's estimate, each iteration",
        "the divergence that it estimates",
    )
    return _table(head, rows)


def _along(seeds: Sequence[Sequence[dict[str, float]]], key: str) -> str:
    policies = [*zip(*seeds, strict=True)]
    if not all(key in policy for each in policies for policy in each):
        return ""
    return _plain(" → ".join(f"{mean(policy[key] for policy in each):.3f}" for each in policies))


def _read(name: str) -> dict[str, Any]:
    return read(RESULTS / f"{name}.json")


def _title(name: str) -> str:
    method, _, prompts = name.partition("/")
    return _TITLES.get(method, method) + (", prompts without experts" if prompts else "")


def _spread(values: Sequence[float], digits: int) -> str:
    return _plain(f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""))


def _each(values: Sequence[float]) -> str:
    return _plain(", ".join(f"{value:.2f}" for value in values))


def _signed(estimate: Estimate, digits: int) -> str:
    bold = "**" if abs(estimate.mean) > 3 * estimate.standard_error > 0 else ""
    return _plain(f"{bold}{estimate.mean:+.{digits}f} ± {estimate.standard_error:.{digits}f}{bold}")


def _plain(text: str) -> str:
    return text.replace("-", "−")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


TABLES: dict[str, Callable[[], str]] = {
    "beside-sft": lambda: beside_sft("raft", "sppo", "all-solutions"),
    "beside-sft-hasty": lambda: beside_sft("hasty"),
    "more-sft-smollm2": lambda: contests("smollm2"),
    "collapse": collapse,
    "collapse-signs": signs,
    "noise": noise,
    "known-truth": known_truth,
}

if __name__ == "__main__":
    sys.exit(main())
