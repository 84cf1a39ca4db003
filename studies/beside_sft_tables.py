"""The tables of `beside_sft.py`, from its results."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

from cells import signed, spread, table
from outcomes import paired, results_of

_PLAYS = {
    "raft": "RAFT",
    "sppo": "SPPO",
    "hasty": "SPPO",
    "spif": "SPIF",
    "consensus": "SPPO, judge `consensus`",
    "discriminator": "SPPO, judge `discriminator`",
    "implicit": "SPPO, judge `implicit`",
    "spif-apart": "SPIF",
    "discriminator-apart": "SPPO, judge `discriminator`",
    "raft-gemma3-270m": "RAFT",
    "raft-two-steps": "RAFT",
    "raft-words": "RAFT",
    "all-solutions": "SFT on a solution to every problem",
}
_GROUNDS = {
    "": "word problems of one step, SmolLM2-135M",
    "-gemma3-270m": "the same, Gemma-3-270m",
    "-two-steps": "word problems of two steps, SmolLM2-135M",
    "-words": "words to be sorted, SmolLM2-135M",
}
OTHERS = ("sppo", "consensus", "discriminator", "implicit", "spif")
APART = ("spif-apart", "discriminator-apart")
_START = "warmup"


def beside_sft(*plays: str) -> str:
    """Some plays and the control of the first, over all held-out problems of its seeds: levels, and paired gains."""
    played = results_of("beside_sft")["plays"]
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
    return table(head, rows)


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
        row.append(spread([mean(runs[seed][name][measure]) for seed in seeds], digits))
    for other in (_START, f"control/{name.partition('/')[2]}"):
        both = [
            seed
            for seed in seeds
            if seed in controlled and other in controlled[seed] and controlled[seed][other] is not runs[seed][name]
        ]
        for measure in ("greedy", "sampled"):
            pairs = ([runs[n][name][measure] for n in both], [controlled[n][other][measure] for n in both])
            row.append(signed(paired(*pairs), 3) if both else "")
    return row


def beside_sft_costs(*plays: str) -> str:
    """What an iteration of each play took, the median over iterations and seeds, and what its warm-up did."""
    costs = results_of("beside_sft")["costs"]
    warmups = [each["warm-up"] for play in plays for each in costs.get(play, {}).values()]
    rows = [["SFT, where play starts", "", "", "", "", f"{median(each['warmup'] for each in warmups):.0f}"]]
    for play in plays:
        iterations = [
            of_owner
            for each in costs.get(play, {}).values()
            for owner, of_owner in each.items()
            if owner.startswith("iteration")
        ]
        if iterations:
            taken = ("tokens/read", "tokens/trained", "generate", "score", "train")
            rows.append(
                [_PLAYS[play], *(f"{median(each.get(name, 0.0) for each in iterations):,.0f}" for name in taken)]
            )
    head = ("", "tokens sampled and scored", "trained on", "seconds: sampling", "scoring", "training")
    return table(head, rows)


def contrasts() -> list[list[str]]:
    """Of each play on each ground a row: its last iteration beside the best policy of SFT, of the seeds of both."""
    played, rows = results_of("beside_sft")["plays"], []
    for where, ground in _GROUNDS.items():
        for play in ("raft", *OTHERS):
            rows += _contrast(ground, play, played.get(play + where, {}), played.get(f"raft{where}", {}))
        if not where:
            apart = f"{ground}, half of the experts set apart"
            for play in APART:
                rows += _contrast(apart, play, played.get(play, {}), played.get(APART[0], {}))
    return rows


def _contrast(ground: str, play: str, runs: dict[str, Any], controlled: dict[str, Any]) -> list[list[str]]:
    """That row, where there are seeds of both.

    The best of SFT is the one of most right answers over all seeds: where play starts, or a length of more SFT.
    """
    seeds = [seed for seed in runs if seed in controlled]
    if not seeds:
        return []
    last = _played(runs)[-1]
    fixed = [name for name in _policies(controlled) if name == _START or name.startswith("control/")]
    everywhere = [name for name in fixed if all(name in controlled[seed] for seed in seeds)]
    sft = max(everywhere, key=lambda name: mean(mean(controlled[seed][name]["greedy"]) for seed in seeds))
    pairs = [[of_seed[seed][name]["greedy"] for seed in seeds] for of_seed, name in ((runs, last), (controlled, sft))]
    levels = (f"{mean(map(mean, pair)):.2f}" for pair in reversed(pairs))
    return [[ground, _PLAYS[play], str(len(seeds)), *levels, signed(paired(*pairs), 3)]]
