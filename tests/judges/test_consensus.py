"""The judge `consensus`: votes by hand, in expectation, and as the weights of ScPO."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from a_run import a_config
from sparring.judges import JUDGES, Question, Verdict
from sparring.log_ratios import LogRatios
from sparring.objectives import OBJECTIVES
from sparring.run_directory import RunDirectory
from sparring.selfplay.loop import run
from sparring.shard_files import read_shard
from sparring.shards import judgements_path, read_samples, samples_of


def judged(responses: tuple[str, ...], **settings: Any) -> Verdict:
    (verdict,) = JUDGES["consensus"](**settings).start(Path("unused"))([Question(prompt="q", responses=responses)])
    return verdict


def votes(verdict: Verdict) -> list[float]:
    """V_i, up to a constant, from P_i against the first response."""
    return [round(2 * len(verdict.pairwise) * (row[0] - 0.5), 9) for row in verdict.pairwise]


@pytest.mark.parametrize(
    ("settings", "responses", "expected"),
    [
        # Two say 7, one says 8, one says nothing: V = 2, 2, 1, 0.
        ({}, ("it is 7", "#### 7.0", "8", "no idea"), (2, 2, 1, 0)),
        ({}, ("1", "2", "3"), (1, 1, 1)),
        ({}, ("none", "nothing", "3"), (0, 0, 1)),
        ({"rule": "exact"}, ("yes", " yes\n", "no", "", " "), (2, 2, 1, 0, 0)),
        ({"rule": "regex", "pattern": r"answer: (\w+)"}, ("answer: a", "so, answer: a", "a"), (2, 2, 0)),
        ({"rule": "math"}, (r"$\frac{1}{2}$", "$0.5$", "$0.25$"), (2, 2, 1)),
        ({"rule": "judges.rules:unsure"}, ("a", "b", "?"), (2, 2, 0)),
    ],
)
def test_the_answer_that_most_share_wins(
    settings: dict[str, Any], responses: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    verdict = judged(responses, **settings)
    assert votes(verdict) == [count - expected[0] for count in expected]
    assert verdict.ties == sum(one == other for one, other in itertools.combinations(expected, 2))
    assert verdict.abstentions == 0


def test_an_expert_is_neither_needed_nor_heard() -> None:
    question = Question(prompt="q", responses=("7", "7", "8"), reference_answer="8")
    (verdict,) = JUDGES["consensus"]().start(Path("unused"))([question])
    assert verdict == judged(("7", "7", "8"))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_likelier_answers_win_in_expectation(k: int) -> None:
    share = {"1": 0.5, "2": 0.3, "3": 0.2}
    mean, weight = dict.fromkeys(share, 0.0), dict.fromkeys(share, 0.0)
    for drawn in itertools.product(share, repeat=k):
        p = math.prod(share[answer] for answer in drawn)
        mean[drawn[0]] += p * judged(drawn).win_rates()[0]
        weight[drawn[0]] += p
    agreement = sum(p * p for p in share.values())
    for answer, p in share.items():
        assert mean[answer] / weight[answer] == pytest.approx(0.5 + (0.5 - 1 / k) * (p - agreement), abs=1e-12)


def test_dpo_on_all_pairs_starts_with_the_gradient_of_scpos_weighted_loss() -> None:
    verdict, counts = judged(("7", "7", "7", "8", "?")), (3, 3, 3, 1, 0)
    delta = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    table = torch.tensor([verdict.pairwise], dtype=torch.float64)
    dpo = OBJECTIVES["dpo"](beta=0.4, pairs="all")(LogRatios(generated=delta, pairwise=table)).loss
    (gradient,) = torch.autograd.grad(dpo.sum(), delta)
    # ScPO: (V_i − V_j)/K times −log σ(β(Δ_i − Δ_j)), here over every pair that is not a tie.
    scpo = sum(
        (counts[i] - counts[j]) / 5 * functional.softplus(-0.4 * (delta[0, i] - delta[0, j]))
        for i, j in itertools.permutations(range(5), 2)
        if counts[i] > counts[j]
    )
    (published,) = torch.autograd.grad(scpo, delta)
    # `all` is a mean over the 25 ordered draws, each pair in either order.
    assert torch.allclose(gradient, published * 2 / 25)


def test_it_judges_prompts_that_have_no_expert(tiny_folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "prompts.jsonl"
    rows.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in ("a?", "b?", "c?")), encoding="utf-8")
    settings = {
        "data": {"source": str(rows), "format": "prompt-only", "held_out": 0, "max_response_tokens": 4},
        "iterations": 1,
        "objective": {"name": "sppo"},
        "judge": {"name": "consensus", "rule": "regex", "pattern": r"\S"},
        "generation": {"samples_per_prompt": 4, "batch_size": 12},
        "training": {"max_steps": 1},
    }
    run(a_config(tiny_folder, tmp_path / "run", **settings))
    stage = RunDirectory(tmp_path / "run").iteration(0)
    (shard,) = samples_of(stage)
    samples = read_samples([shard])
    verdicts = read_shard(judgements_path(stage, shard))
    assert len(verdicts) == 3
    for verdict in verdicts:
        firsts = [row["text"].strip()[:1] for row in samples[verdict["index"]]]
        counts = [firsts.count(first) if first else 0 for first in firsts]
        wanted = [[0.5 + (one - other) / 8 for other in counts] for one in counts]
        assert verdict["pairwise"] == wanted
    assert stage.model.exists()
