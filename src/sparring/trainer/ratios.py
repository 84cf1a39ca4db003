"""The log ratios of a batch, from log-probs of the model in training and the scores in the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from sparring.log_ratios import PREFERENCE_FIELDS, TEAM_FIELDS, LogRatios
from sparring.logprobs import log_probs_at, per_token_log_probs
from sparring.tokens import NextTokenLogProbs, TokenLogProbs
from sparring.trainer.collation import Counts
from sparring.trainer.reading import read_by
from sparring.types import Objective


def log_ratios(model: Any, inputs: Mapping[str, Any], objective: Objective) -> LogRatios:
    """The input of an objective, differentiable in the model's weights.

    Args:
        model: The model in training.
        inputs: A batch, as `collate` makes it.
        objective: The objective. Expensive fields that it does not require are left out, and the log-probs of generated
            responses that it does not read are zero.
    """
    requires = objective.requires
    terms, next_tokens = _terms(model, inputs, objective)
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
    lengths = _lengths(inputs["responses"], counts, rows)
    return LogRatios(expert_tokens=tokens, generated_next_tokens=next_tokens, **fields, **lengths)


def _terms(
    model: Any, inputs: Mapping[str, Any], objective: Objective
) -> tuple[list[list[Tensor]], NextTokenLogProbs | None]:
    """The log-probs of the tokens of all responses, and next-token log-probs of policy and scorer at generated ones.

    A response that is not read stands as one token of probability 1.
    """
    prompts, responses, counts = inputs["prompts"], inputs["responses"], inputs["counts"]
    if "generated_next_tokens" not in objective.requires:
        masks = read_by(objective, inputs)
        chosen = [[*compress(answers, mask)] for answers, mask in zip(responses, masks, strict=True)]
        read = iter([tokens for answers in per_token_log_probs(model, prompts, chosen) for tokens in answers])
        found = [[next(read) if each else None for each in mask] for mask in masks]
        some = next(tokens for answers in found for tokens in answers if tokens is not None)
        certain = torch.zeros(1, dtype=some.dtype, device=some.device)
        return [[certain if tokens is None else tokens for tokens in answers] for answers in found], None
    scorer = inputs["likely_tokens"]
    generated = slice(counts.expert, counts.expert + counts.generated)
    count = scorer[0][0].ids.shape[-1]
    # No scorer has read the other responses, so any tokens will do.
    ids = [[torch.zeros(len(answer), count, dtype=torch.long) for answer in answers] for answers in responses]
    for of_prompt, known in zip(ids, scorer, strict=True):
        of_prompt[generated] = [each.ids.long() for each in known]
    both = log_probs_at(model, prompts, responses, ids)
    policy = [[at for _, at in answers[generated]] for answers in both]
    of_scorer = [[each.log_probs.to(policy[0][0]) for each in known] for known in scorer]
    return [[own for own, _ in answers] for answers in both], NextTokenLogProbs.of(policy, of_scorer)


def _team(
    inputs: Mapping[str, Any], policy: Mapping[str, Tensor], expert: Tensor, generated: Tensor
) -> dict[str, Tensor]:
    """Δ against each member of a team: first the newest, `[B]` and `[B, K]`, then those of earlier rounds."""
    members, samples = [expert.unsqueeze(-1)], [generated.unsqueeze(1)]
    if "team_expert" in inputs:
        earlier = inputs["team_generated"]
        members.append(policy["expert"].unsqueeze(-1) - inputs["team_expert"])
        samples.append(policy["team"].view_as(earlier) - earlier)
    return {"team_expert": torch.cat(members, dim=1), "team_generated": torch.cat(samples, dim=1)}


def _lengths(responses: Sequence[Sequence[Sequence[int]]], counts: Counts, like: Tensor) -> dict[str, Tensor]:
    lengths = counts.split(like.new_tensor([[len(answer) for answer in answers] for answers in responses]))
    return {f"{kind}_length": values for kind, values in lengths.items() if kind in {"expert", "generated"}}
