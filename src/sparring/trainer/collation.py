"""Batches of triples, in the form that the trainer's steps get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparring.log_ratios import PREFERENCE_FIELDS
from sparring.trainer.triples import Triple


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The number of responses of each kind that every prompt of a batch has, in their order.

    Attributes:
        expert: 1, or 0 if the objective reads no expert.
        generated: K.
        initial: Responses of the first policy.
        reference: M.
        team: K for each earlier member of a team.
    """

    expert: int
    generated: int
    initial: int
    reference: int
    team: int

    def split(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """`[B, N]` values of the responses, by kind: the expert's `[B]`, others' `[B, n]`; empty kinds are left out."""
        by_kind = zip(vars(self), values.split(list(vars(self).values()), dim=1), strict=True)
        return {kind: part[:, 0] if kind == "expert" else part for kind, part in by_kind if part.numel()}


def collate(triples: Sequence[Triple]) -> dict[str, Any]:
    """A batch of triples: token ids as lists, which `sparring.logprobs` lays out, and scores as tensors.

    `responses` are all responses to a prompt, in the order of `counts`; `whole` is the number of prompts, by which the
    sum of their losses is divided.
    """
    first = triples[0]
    earlier = [[ids for each in triple.rounds for ids in each.generated_ids] for triple in triples]
    batch: dict[str, Any] = {
        "whole": len(triples),
        "rows": [triple.row for triple in triples],
        "prompts": [triple.prompt_ids for triple in triples],
        "responses": [
            [*triple.responses, *triple.initial_ids, *triple.reference_ids, *ids]
            for triple, ids in zip(triples, earlier, strict=True)
        ],
        "counts": Counts(
            expert=min(1, len(first.expert_ids)),
            generated=len(first.generated_ids),
            initial=len(first.initial_ids),
            reference=len(first.reference_ids),
            team=len(earlier[0]),
        ),
    }
    for player in ("opponent", "reference"):
        for side in ("expert", "generated"):
            values = [getattr(triple, f"{player}_{side}") for triple in triples]
            if values[0] is not None:
                batch[f"{player}_{side}"] = torch.tensor(values)
    if first.rounds:
        batch["team_expert"] = torch.tensor([[each.expert for each in triple.rounds] for triple in triples])
        batch["team_generated"] = torch.tensor([[each.generated for each in triple.rounds] for triple in triples])
    if first.likely_tokens:
        batch["likely_tokens"] = [triple.likely_tokens for triple in triples]
    for name in PREFERENCE_FIELDS:
        if getattr(first, name) is not None:
            batch[name] = torch.tensor([getattr(triple, name) for triple in triples])
    return batch
