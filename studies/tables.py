"""Writes the tables of docs/studies.md anew from the results of the studies.

    python studies/tables.py [--check]

A table stands between `<!-- NAME -->` and `<!-- end -->`. `--check` writes nothing, and fails where one differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from scipy.stats import spearmanr

from beside_sft_tables import APART, OTHERS, beside_sft, beside_sft_costs, contrasts
from cells import plain, signed, spread, table
from outcomes import MEASURES, Outcome, paired, results_of
from verdicts import BY_JUDGES, ERRING, METHODS, PLAY_ERRING
from verdicts_tables import verdicts

PAGE = Path(__file__).resolve().parents[1] / "docs" / "studies.md"
_ALONG = (0, 1, 3, 10, 20, 30)
_BEHAVIOUR = {"kl_to_base": "KL", "entropy/token": "entropy", "self_bleu/corpus": "self-BLEU"}
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
    played = results_of(f"more_sft_{ground}")["contests"]
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
            kl = spread([run.overall[policy]["kl_to_base"] for run, policy in kept], 1)
            rows.append([title, f"{rate:g} ({len(of_seed)})", *_levels(kept), *over, kl, cost])
    head = ("", "rate (seeds)", "greedy", "sampled", "nats a token", "Δ greedy", "Δ sampled", "KL", "time / SFT's")
    return table(head, rows)


def spif_beside_spin() -> str:
    """SPIF minus SPIN after each iteration, problem by problem over the seeds of both."""
    contests = results_of("more_sft_smollm2")["contests"]
    spif, spin = (_outcomes(contests[name]) for name in ("spif", "spin"))
    seeds = [seed for seed in spif if seed in spin]
    rows = [
        [
            f"iteration {policy - 1} ({len(seeds)})",
            *(
                signed(paired(*([runs[n].reported(policy, measure) for n in seeds] for runs in (spif, spin))), 3)
                for measure in MEASURES
            ),
        ]
        for policy in range(1, _last(spif[seeds[0]]) + 1)
    ]
    return table(("SPIF − SPIN", "greedy", "sampled", "nats a token"), rows)


def _last(run: Outcome) -> int:
    return len(run.problems) - 1


def _outcomes(contest: dict[str, Any]) -> dict[str, Outcome]:
    return {seed: Outcome.from_json(values) for seed, values in contest["runs"].items()}


def _levels(policies: Sequence[tuple[Outcome, int]]) -> list[str]:
    return [
        spread([mean(run.reported(policy, measure)) for run, policy in policies], digits)
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
        cells.append(signed(paired(left, right), 3))
    return cells


def _seconds(of_seed: dict[str, Outcome]) -> float:
    """What a run of play takes, without what measures it, the mean over seeds."""
    return mean(sum(s for stage, s in run.seconds.items() if stage != "evaluate") for run in of_seed.values())


def methods_by_ground() -> str:
    """Every play beside the best SFT, ground by ground; on sums each at the best of its rates."""
    cases: dict[str, dict[str, list[float]]] = {}
    for name, of_seed in results_of("collapse")["cases"].items():
        method, _, rate = name.rpartition(", ")
        cases.setdefault(method, {})[rate] = [seed["greedy"][-1] for seed in of_seed.values()]
    best = {method: max(rates.values(), key=mean) for method, rates in cases.items() if " with " not in method}
    sft = mean(best.pop("sft"))
    sums = [
        ["sums with experts, a model that adds", method, str(len(last)), f"{sft:.2f}", f"{mean(last):.2f}", gain]
        for method, last in best.items()
        for gain in [plain(f"{mean(last) - sft:+.3f}")]
    ]
    head = ("ground", "method", "seeds", "SFT at its best", "after play", "difference")
    return table(head, [*contrasts(), *_with_experts(), *sums])


def _with_experts() -> list[list[str]]:
    """Of each method from one start on prompts with experts: its last policy beside the best one of SFT."""
    ground = "word problems with experts, SmolLM2-135M"
    runs = {name: _outcomes(contest) for name, contest in results_of("more_sft_smollm2")["contests"].items()}
    sft = runs.pop("sft")
    rows = []
    for name, of_seed in runs.items():
        seeds = [seed for seed in of_seed if seed in sft]
        if not seeds:
            continue
        greedy = [[sft[n].reported(policy, "greedy") for n in seeds] for policy in range(_last(sft[seeds[0]]) + 1)]
        best = max(greedy, key=lambda of_policy: mean(map(mean, of_policy)))
        last = [of_seed[n].reported(_last(of_seed[n]), "greedy") for n in seeds]
        levels = [f"{mean(map(mean, each)):.2f}" for each in (best, last)]
        rows.append([ground, _title(name), str(len(seeds)), *levels, signed(paired(last, best), 3)])
    return rows


def collapse() -> str:
    """Right answers before and after each case of the collapse study."""
    cases = results_of("collapse")["cases"]
    rows = [
        [name, *(spread([seed["greedy"][policy] for seed in of_seed.values()], 2) for policy in (0, 1, 2, 3)), kl]
        for name, of_seed in cases.items()
        for kl in [spread([seed["kl_to_base"][-1] for seed in of_seed.values()], 2)]
    ]
    return table(("case, learning rate", "start", "iteration 0", "1", "2", "KL to the start"), rows)


def signs() -> str:
    """How well what is known early tells what is lost."""
    told = correlations(results_of("collapse")["cases"])
    return table(
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
    cases = results_of("noise")["cases"]
    shares = sorted({name.rpartition(", ")[2] for name in cases}, key=float)
    rows = []
    for method in dict.fromkeys(name.rpartition(", ")[0] for name in cases):
        of_shares = [cases.get(f"{method}, {share}", {}) for share in shares]
        rows.append([method, *(_before_after(list(of_seed.values())) for of_seed in of_shares)])
    return table(("greedy / sampled, before → after", *(f"{float(share):.0%} wrong" for share in shares)), rows)


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
    methods = results_of("known_truth")["methods"]
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
    return table(head, rows)


def _along(seeds: Sequence[Sequence[dict[str, float]]], key: str) -> str:
    policies = [*zip(*seeds, strict=True)]
    if not all(key in policy for each in policies for policy in each):
        return ""
    return plain(" → ".join(f"{mean(policy[key] for policy in each):.3f}" for each in policies))


def long_run() -> str:
    """Right answers along thirty iterations, and how far and how varied each policy was in the end."""
    methods = results_of("long_run")["methods"]
    rows = [
        [
            f"{name} ({len(seeds)})",
            *(spread([run["greedy"][policy] for run in seeds.values()], 2) for policy in _ALONG),
            plain(f"{min(min(run['greedy'][1:]) for run in seeds.values()):.2f}"),
            _mean_of(seeds, "sampled", -1),
            _mean_of(seeds, "likelihood", -1),
            *(f"{_mean_of(seeds, key, 1)} → {_mean_of(seeds, key, -1)}" for key in _BEHAVIOUR),
            f"{mean(run['memory_gib'] for run in seeds.values()):.2f}",
            f"{mean(run['disk_mib'] for run in seeds.values()):.0f}",
        ]
        for name, seeds in methods.items()
    ]
    after = [f"after {policy}" if policy else "start" for policy in _ALONG]
    behaviour = [f"{title}, first → last" for title in _BEHAVIOUR.values()]
    ends = ("least of all", "sampled, last", "nats a token, last", *behaviour)
    return table(("greedy (seeds)", *after, *ends, "peak, GiB", "disk, MiB"), rows)


def _mean_of(seeds: dict[str, dict[str, Any]], key: str, policy: int) -> str:
    return plain(f"{mean(run[key][policy] for run in seeds.values()):.2f}")


def _title(name: str) -> str:
    method, _, prompts = name.partition("/")
    return _TITLES.get(method, method) + (", prompts without experts" if prompts else "")


TABLES: dict[str, Callable[[], str]] = {
    "methods-by-ground": methods_by_ground,
    "beside-sft": lambda: beside_sft("raft", *OTHERS, "all-solutions"),
    "beside-sft-apart": lambda: beside_sft(*APART),
    "beside-sft-gemma": lambda: beside_sft("raft-gemma3-270m"),
    "beside-sft-two-steps": lambda: beside_sft("raft-two-steps"),
    "beside-sft-words": lambda: beside_sft("raft-words"),
    "beside-sft-costs": lambda: beside_sft_costs("raft", *OTHERS),
    "beside-sft-hasty": lambda: beside_sft("hasty"),
    "more-sft-smollm2": lambda: contests("smollm2"),
    "spif-beside-spin": spif_beside_spin,
    "collapse": collapse,
    "collapse-signs": signs,
    "noise": noise,
    "long-run": long_run,
    "known-truth": known_truth,
    "verdicts": lambda: verdicts(METHODS),
    "verdicts-judges": lambda: verdicts(("SFT, with experts", "RAFT", *BY_JUDGES)),
    **{f"verdicts-{verifier}": partial(verdicts, PLAY_ERRING, verifier) for verifier in ERRING},
}

if __name__ == "__main__":
    sys.exit(main())
