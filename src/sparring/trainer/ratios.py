"""From token log-probs of a batch to the log ratios that an objective reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sparring.logprobs import per_token_log_probs
from sparring.tokens import TokenLogProbs
from sparring.trainer.triples import Counts
from sparring.types import PREFERENCE_FIELDS, TEAM_FIELDS, LogRatios


def log_ratios(model: Any, inputs: Mapping[str, Any], requires: frozenset[str]) -> LogRatios:
    """The log ratios of a batch under a model, with gradients.

    Args:
        model: A causal language model of transformers.
        inputs: The batch, as `collate` makes it.
        requires: The fields that the objective needs.
    """
    terms = per_token_log_probs(model, inputs["prompts"], inputs["responses"])
    rows = torch.stack([torch.stack([tokens.sum() for tokens in answers]) for answers in terms])
    counts: Counts = inputs["counts"]
    policy = counts.split(rows)
    fields = {f"policy_{kind}": values for kind, values in policy.items() if kind != "team"}
    for side in ("expert", "generated"):
        if f"opponent_{side}" in inputs:
            fields[side] = policy[side] - inputs[f"opponent_{side}"]
        if f"reference_{side}" in inputs:
            fields[f"reference_{side}"] = policy[side] - inputs[f"reference_{side}"]
    fields |= {name: inputs[name] for name in PREFERENCE_FIELDS if name in inputs}
    if TEAM_FIELDS & requires:
        fields |= _team(inputs, policy, fields["expert"], fields["generated"])
    tokens = None
    if "expert_tokens" in requires:
        # The expert's response comes first.
        tokens = TokenLogProbs.of([answers[0] for answers in terms])
    return LogRatios(expert_tokens=tokens, **fields, **_lengths(inputs["responses"], counts, rows))


def _team(
    inputs: Mapping[str, Any], policy: Mapping[str, Tensor], expert: Tensor, generated: Tensor
) -> dict[str, Tensor]:
    """Δ against each member of a team: the opponent, `[B]` and `[B, K]`, then those of earlier rounds."""
    members, samples = [expert.unsqueeze(-1)], [generated.unsqueeze(1)]
    if "team_expert" in inputs:
        earlier = inputs["team_generated"]
        members.append(policy["expert"].unsqueeze(-1) - inputs["team_expert"])
        samples.append(policy["team"].view_as(earlier) - earlier)
    return {"team_expert": torch.cat(members, dim=1), "team_generated": torch.cat(samples, dim=1)}


def _lengths(responses: Sequence[Sequence[Sequence[int]]], counts: Counts, like: Tensor) -> dict[str, Tensor]:
    lengths = counts.split(like.new_tensor([[len(answer) for answer in answers] for answers in responses]))
    return {f"{kind}_length": values for kind, values in lengths.items() if kind in {"expert", "generated"}}
