"""What the studies compute from runs: paired differences, chosen policies, tables made from results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import noise
import tables
import verdicts
from methods import METHODS
from outcomes import CHOOSING, Outcome, add, paired, read
from sparring.recipes import recipes

ROOT = Path(__file__).parents[2]


def outcome(*likelihoods: float) -> Outcome:
    """A run whose policies give every problem that log-prob a token, except that the last problem is one lower."""
    n = CHOOSING + 2
    policies = [
        {"greedy": [1.0] * n, "sampled": [0.5] * n, "likelihood": [value] * (n - 1) + [value - 1]}
        for value in likelihoods
    ]
    return Outcome(problems=policies, overall=[{"kl_to_base": 0.0}] * len(policies), seconds={"train": 2.0})


def test_paired_differences_by_hand() -> None:
    # Differences 1, 0, 0, 1 over two runs: mean ½, sample variance ⅓, standard error √(⅓/4).
    estimate = paired([[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 0.0]])
    assert (estimate.mean, estimate.n) == (0.5, 4)
    assert math.isclose(estimate.standard_error, math.sqrt(1 / 3 / 4))


def test_the_best_policy_is_told_by_the_choosing_problems() -> None:
    run = outcome(-0.1, -0.5, -0.2, -0.3)
    assert (run.best(), run.likeliest(first=1)) == (0, 2)
    run.problems[1]["greedy"][-2:], run.problems[3]["sampled"][0] = [2.0, 2.0], 0.75
    assert run.best() == 3


def test_reported_problems_are_those_that_choose_nothing() -> None:
    assert outcome(-0.5).reported(0, "likelihood") == [-0.5, -1.5]


def test_outcomes_survive_being_written() -> None:
    before = outcome(-0.5, -0.25)
    assert Outcome.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_runs_are_added_to_those_of_other_cases_and_seeds(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    add(path, "cases", {"spin": {"0": 1, "1": 2}, "spif": {"0": 3}})
    add(path, "cases", {"spin": {"1": math.inf}, "space": {"0": 5}})
    assert read(path)["cases"] == {"spin": {"0": 1, "1": math.inf}, "spif": {"0": 3}, "space": {"0": 5}}
    # What else is in the file stays, and what it was measured on is told anew.
    path.write_text(json.dumps({"hardware": "another", "signs": [1], "cases": {}}), encoding="utf-8")
    add(path, "cases", {"spin": {}})
    assert read(path)["hardware"] == "another"
    add(path, "cases", {"spin": {"0": 1}})
    assert (read(path)["signs"], read(path)["hardware"] == "another") == ([1], False)


def test_signs_are_ranked_against_what_every_stored_run_lost() -> None:
    def run(lost: float, **signs: float) -> dict[str, object]:
        return {"greedy": [1.0, 0.5, 1.0 - lost], "signs": signs}

    cases = {"spin": {"0": run(0.1, rate=1.0, drift=3.0), "1": run(0.2, rate=2.0, drift=2.0)}}
    cases["sft"] = {"0": run(0.3, rate=9.0), "1": {"greedy": [1.0, 0.0]}}
    assert tables.correlations(cases) == {"rate": (1.0, 3), "drift": (-1.0, 2)}
    assert tables.correlations({"sft": {"1": {"greedy": [1.0, 0.0]}}}) == {}


def test_so_many_experts_are_wrong_and_always_the_same_ones(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}+1=", "response": str(n + 1)} for n in range(40)]
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    first, second = (noise.spoiled(problems, tmp_path, 0.25, seed=3).read_text(encoding="utf-8") for _ in range(2))
    changed = [json.loads(line) != row for line, row in zip(first.splitlines(), rows, strict=True)]
    assert first == second
    assert sum(changed) == 10


def test_methods_play_recipes_that_exist() -> None:
    assert {method.recipe for method in METHODS.values()} <= recipes().keys()


def cells(table: str, *row: str) -> list[str]:
    """The levels, without deviations, behind the cells with which one row of a table of the studies begins."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.TABLES[table]().splitlines()]
    (found,) = (line[len(row) :] for line in lines if line[: len(row)] == [*row])
    return [cell.partition(" ± ")[0] for cell in found]


def figures_of_readme_and_choose() -> dict[str, tuple[str, ...]]:
    """By page, what it says of the results."""
    sums, words = "sums with experts, a model that adds", "word problems with experts, SmolLM2-135M"
    _, sft, spif, _ = cells("methods-by-ground", sums, "spif")
    spin = cells("methods-by-ground", sums, "spin β 1")[2]
    _, best, imitation, _ = cells("methods-by-ground", words, "SPIF, β 1, R 2")
    start, more, play = (
        cells("beside-sft", f"{name} (3)")[0] for name in ("SFT, where play starts", "more SFT, 1", "RAFT, iteration 1")
    )
    wrong = {name: cells("noise", name)[1].split(" → ")[1].split(" / ")[0] for name in ("dft", "sft", "spif")}
    cases = ("spin β 1", "spin β 1 with SFT anchor 0.3", "spif", "space", "sft")
    alone, anchored, bounded, space, fine_tuned = (cells("collapse", f"{case}, 0.001")[3] for case in cases)
    return {
        "README.md": (
            f"sums: **SFT {sft}**, `spif` {spif}, `spin` {spin}; ",
            f"word problems: **SFT {best}**, `spif` and `spin` {imitation} |",
            f"SFT {start} → **play {play}**; as much more SFT {more} |",
            f"a quarter wrong: **`dft` {wrong['dft']}**, SFT {wrong['sft']}, `spif` {wrong['spif']}; ",
            f"`space` {space}, `spin` with the anchor {anchored}, `spif` {bounded}, `spin` alone **{alone}** |",
        ),
        "docs/how-to/choose.md": (
            f"SFT {sft}, `spif` {spif}, `spin` {spin}.",
            f"SFT {best} at its best, `spif` and `spin` {imitation} |",
            f"[{start} after SFT, {play} after play](../studies.md#prompts-without-an-expert), {more} after",
            f"(../studies.md#wrong-experts): {wrong['dft']}, SFT {wrong['sft']};",
            f"SFT {fine_tuned}, `space` {space}, `spif` {bounded}, `spin` {alone} |",
        ),
    }


def test_readme_and_choose_have_the_figures_of_the_results() -> None:
    for page, figures in figures_of_readme_and_choose().items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [each for each in figures if each not in text] == []


def test_the_page_shows_the_results_as_they_are() -> None:
    text = tables.PAGE.read_text(encoding="utf-8")
    assert tables.filled(text) == text


def test_a_learning_rate_is_chosen_by_both_kinds_of_answers_and_of_equals_the_higher() -> None:
    tried = {"3e-05": {"greedy": 0.6, "sampled": 0.4}, "0.0001": {"greedy": 0.5, "sampled": 0.5}}
    assert verdicts.best_rate(tried) == "0.0001"
    assert verdicts.best_rate(tried | {"0.001": {"greedy": 0.9, "sampled": 0.0}}) == "0.0001"
    assert verdicts.best_rate(tried | {"0.0003": {"greedy": 0.6, "sampled": 0.41}}) == "0.0003"
