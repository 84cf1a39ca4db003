"""What does an objective cost beside supervised fine-tuning on the same tokens?

    python benchmarks/overhead.py [--model NAME] [--repeats N] [--json FILE]

For every objective: the time of its loss and of the gradient on log-probs that are given, less that of −mean log π_θ on
the same, over the time of a step of the latter on a prompt with all the responses that the objective asks for. The
two parts are timed apart because their ratio is far below the noise of a step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from measuring import hardware, options_of, times, versions
from sparring.log_ratios import LogRatios
from sparring.logprobs import sequence_log_probs
from sparring.models import ModelConfig, load_model
from sparring.objectives import OBJECTIVES

PROMPT, RESPONSE, SAMPLES = 64, 64, 2


def responses(requires: frozenset[str], vocabulary: int) -> list[list[int]]:
    """The expert's, K generated ones where the objective looks at any, and K of the first policy likewise."""
    sampled = bool(requires - {"policy_expert", "expert_length"})
    count = 1 + SAMPLES * sampled + SAMPLES * ("policy_initial" in requires)
    return torch.randint(3, vocabulary, (count, RESPONSE)).tolist()


def log_ratios(requires: frozenset[str], log_probs: Tensor) -> LogRatios:
    """What the objective asks for, of one prompt; the opponent is the policy as it was, so every Δ is zero at first."""
    expert, generated, initial = log_probs[:1], log_probs[None, 1 : 1 + SAMPLES], log_probs[None, 1 + SAMPLES :]
    known: dict[str, Callable[[], Tensor]] = {
        "expert": lambda: expert - expert.detach(),
        "generated": lambda: generated - generated.detach(),
        "reference_expert": lambda: expert - expert.detach() + 0.5,
        "reference_generated": lambda: generated - generated.detach() - 0.5,
        "policy_expert": lambda: expert,
        "policy_generated": lambda: generated,
        "policy_initial": lambda: initial,
        "expert_length": lambda: torch.full((1,), float(RESPONSE)),
        "generated_length": lambda: torch.full((1, SAMPLES), float(RESPONSE)),
        "preference": lambda: torch.tensor([[0.8, 0.3]]),
    }
    fields: dict[str, Any] = {name: known[name]() for name in requires}
    return LogRatios(**fields)


def _backward(loss: Callable[[Tensor], Tensor], log_probs: Tensor) -> None:
    loss(log_probs).backward()


def measure(objective: Any, model: Any, repeats: int) -> dict[str, float]:
    """Seconds of a step of the baseline, seconds that the objective adds, and their ratio; medians over the repeats."""
    prompts = [torch.randint(3, model.config.vocab_size, (PROMPT,)).tolist()]
    answers = [responses(objective.requires, model.config.vocab_size)]

    def loss_of(log_probs: Tensor) -> Tensor:
        loss: Tensor = objective(log_ratios(objective.requires, log_probs)).loss.mean()
        return loss

    def baseline(log_probs: Tensor) -> Tensor:
        return -log_probs.mean()

    def step() -> None:
        baseline(sequence_log_probs(model, prompts, answers)[0]).backward()
        model.zero_grad()

    log_probs = torch.full((len(answers[0]),), -100.0).requires_grad_()
    own, other = (median(times(partial(_backward, f, log_probs), 100)) for f in (loss_of, baseline))
    added, whole = own - other, median(times(step, repeats))
    return {"sft_step_s": whole, "added_s": added, "overhead": added / whole}


def main() -> None:
    """Prints and stores one line an objective."""
    options = options_of(__doc__)
    model = load_model(ModelConfig(name=options.model)).train()
    torch.manual_seed(0)
    results = {}
    for name, build in OBJECTIVES.items():
        results[name] = measure(build(), model, options.repeats)
        print(name, json.dumps(results[name]))
    if options.json is not None:
        report = {"hardware": hardware(), "versions": versions(), "model": options.model, "objectives": results}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
