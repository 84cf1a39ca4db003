"""(prompt, expert, generated) triples as token ids: what the trainer trains on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from sparring.errors import InputError, did_you_mean

_TEXT = ("prompt", "expert", "generated")
_IDS = ("prompt_ids", "expert_ids", "generated_ids")
_SCORES = ("opponent_expert_log_prob", "opponent_generated_log_probs")


@dataclass(frozen=True, kw_only=True)
class Triple:
    """One prompt, its expert response and its K generated responses.

    Attributes:
        prompt_ids: Token ids of the prompt, the chat template applied.
        expert_ids: Token ids of the expert response.
        generated_ids: K lists of token ids; empty for objectives without an opponent.
        opponent_expert: log π_o of the expert response, nats; None until scored.
        opponent_generated: log π_o of each generated response, nats; None until scored.
        reference_expert: log π_ref of the expert response, nats, where the objective needs it.
        reference_generated: log π_ref of each generated response, nats, where the objective needs it.
        initial_ids: K responses of the first policy, where the objective needs them.
        reference_ids: M responses of the reference, where the objective needs them.
    """

    prompt_ids: Sequence[int]
    expert_ids: Sequence[int]
    generated_ids: Sequence[Sequence[int]] = ()
    opponent_expert: float | None = None
    opponent_generated: Sequence[float] | None = None
    reference_expert: float | None = None
    reference_generated: Sequence[float] | None = None
    initial_ids: Sequence[Sequence[int]] = ()
    reference_ids: Sequence[Sequence[int]] = ()

    @property
    def responses(self) -> list[Sequence[int]]:
        """The expert response, then the generated ones: what opponent and reference score."""
        return [self.expert_ids, *self.generated_ids]

    @property
    def scored(self) -> bool:
        """Whether the opponent's log-probs are known."""
        return self.opponent_expert is not None and self.opponent_generated is not None

    def with_scores(self, expert: float, generated: Sequence[float]) -> Triple:
        """The same triple with the opponent's log-probs."""
        return replace(self, opponent_expert=expert, opponent_generated=tuple(generated))


class Triples(Dataset[Triple]):
    """A list of triples with one K."""

    def __init__(self, triples: Iterable[Triple]) -> None:
        self.items = list(triples)
        counts = sorted({len(triple.generated_ids) for triple in self.items})
        if not self.items:
            raise InputError("there is nothing to train on: the training set is empty", where="train_dataset")
        if len(counts) > 1:
            raise InputError(
                f"the prompts have different numbers of generated responses: {counts}",
                where="train_dataset",
                fix="keep the same K for every prompt",
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Triple:
        return self.items[index]

    @property
    def scored(self) -> bool:
        """Whether the opponent's log-probs are known for all of them."""
        return all(triple.scored for triple in self.items)


def triples_from(dataset: Iterable[Mapping[str, Any]] | Triples, tokenizer: Any) -> Triples:
    """Reads ready triples.

    Each row has `prompt`, `expert` and `generated` as text (`generated` is one response or a list of K), or
    `prompt_ids`, `expert_ids` and `generated_ids` as token ids. `opponent_expert_log_prob` and
    `opponent_generated_log_probs` are taken where they are given. A prompt may also be a list of chat messages, to
    which the tokenizer's chat template is applied. Text responses are ended with the end-of-sequence token.

    Args:
        dataset: Rows: a `datasets.Dataset`, or any iterable of mappings.
        tokenizer: Needed for text only.

    Raises:
        InputError: A row lacks a field, or text is given without a tokenizer.
    """
    return (
        dataset
        if isinstance(dataset, Triples)
        else Triples(_triple(row, n, tokenizer) for n, row in enumerate(dataset))
    )


def _triple(row: Mapping[str, Any], number: int, tokenizer: Any) -> Triple:
    where = f"train_dataset row {number}"
    if _IDS[0] in row:
        prompt, expert, generated = (_field(row, name, where) for name in _IDS)
        generated = [list(ids) for ids in generated]
    else:
        texts = [_field(row, name, where) for name in _TEXT]
        if tokenizer is None:
            raise InputError("text needs a tokenizer", where=where, fix="pass processing_class=, or give token ids")
        prompt = _prompt_ids(tokenizer, texts[0])
        expert = _response_ids(tokenizer, texts[1])
        generated = [_response_ids(tokenizer, text) for text in ([texts[2]] if isinstance(texts[2], str) else texts[2])]
    return Triple(
        prompt_ids=list(prompt),
        expert_ids=list(expert),
        generated_ids=generated,
        opponent_expert=row.get(_SCORES[0]),
        opponent_generated=row.get(_SCORES[1]),
    )


def _field(row: Mapping[str, Any], name: str, where: str) -> Any:
    if row.get(name) is None:
        raise InputError(f"the field '{name}' is missing", where=where, fix=did_you_mean(name, row))
    return row[name]


def _prompt_ids(tokenizer: Any, prompt: str | list[dict[str, str]]) -> list[int]:
    if isinstance(prompt, str):
        ids: list[int] = tokenizer(prompt).input_ids
    else:
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    return ids


def _response_ids(tokenizer: Any, text: str) -> list[int]:
    return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def collate(triples: Sequence[Triple]) -> dict[str, Any]:
    """A batch: token ids as lists, because rows are laid out by the log-prob engine, and scores as tensors.

    `responses` are, for each prompt, the expert's, the generated ones, the first policy's and the reference's;
    `counts` says how many there are of the last three.

    Raises:
        ValueError: A log-prob is missing in some rows but not in others.
    """
    first = triples[0]
    batch: dict[str, Any] = {
        "prompts": [triple.prompt_ids for triple in triples],
        "responses": [[*triple.responses, *triple.initial_ids, *triple.reference_ids] for triple in triples],
        "counts": (len(first.generated_ids), len(first.initial_ids), len(first.reference_ids)),
    }
    for player in ("opponent", "reference"):
        for side in ("expert", "generated"):
            values = [getattr(triple, f"{player}_{side}") for triple in triples]
            if any(value is None for value in values):
                if any(value is not None for value in values):
                    raise ValueError(f"some triples have {player}_{side} and some do not")
                continue
            batch[f"{player}_{side}"] = torch.tensor(values)
    return batch
