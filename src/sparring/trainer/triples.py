"""(prompt, expert, generated) triples as token ids, on which the trainer trains."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Dataset

from sparring.errors import InputError
from sparring.following import following
from sparring.inputs import text_problem
from sparring.log_ratios import PREFERENCE_FIELDS
from sparring.tokens import LikelyTokens
from sparring.trainer.conversations import (
    Turns,
    around,
    is_preferred,
    is_turns,
    missing,
    named,
    rendered,
    split,
    told_template,
)
from sparring.trainer.numbers import log_probs, pairwise, preference
from sparring.trainer.repeats import tell_repeats

_TEXT = ("prompt", "expert", "generated")
_IDS = ("prompt_ids", "expert_ids", "generated_ids")
# The most wrong rows that are named.
_NAMED = 5
_SCORES = ("opponent_expert_log_prob", "opponent_generated_log_probs")


@dataclass(frozen=True, kw_only=True)
class Round:
    """The responses to a prompt that an earlier member of a team generated, scored by itself.

    Attributes:
        generated_ids: Its K lists of token ids.
        expert: Its log-prob of the expert response, nats.
        generated: Its log-prob of each of its own responses, nats.
    """

    generated_ids: Sequence[Sequence[int]]
    expert: float
    generated: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Triple:
    """One prompt, its expert response and its K generated responses.

    Attributes:
        prompt_ids: Token ids of the prompt, the chat template applied.
        expert_ids: Token ids of the expert response; empty for objectives that need none.
        generated_ids: K lists of token ids; empty for objectives without an opponent.
        opponent_expert: log π_o of the expert response, nats; None until scored.
        opponent_generated: log π_o of each generated response, nats; None until scored.
        reference_expert: log π_ref of the expert response, nats, if the objective needs it.
        reference_generated: log π_ref of each generated response, nats, if the objective needs it.
        initial_ids: K responses of the first policy, if the objective needs them.
        reference_ids: M responses of the reference model, if the objective needs them.
        rounds: The earlier members of a team, if the opponent is a team; the newest generated `generated_ids`.
        preference: K numbers P(y_k ≻ π_o), if the objective needs them.
        pairwise: K lists of K numbers P(y_i ≻ y_j), if the objective needs them.
        likely_tokens: For each generated response, the scorer's likeliest next tokens at each of its tokens, if the
            objective needs them.
        row: The prompt's number in its data, by which errors name it.
    """

    prompt_ids: Sequence[int]
    expert_ids: Sequence[int] = ()
    generated_ids: Sequence[Sequence[int]] = ()
    opponent_expert: float | None = None
    opponent_generated: Sequence[float] | None = None
    reference_expert: float | None = None
    reference_generated: Sequence[float] | None = None
    initial_ids: Sequence[Sequence[int]] = ()
    reference_ids: Sequence[Sequence[int]] = ()
    rounds: Sequence[Round] = ()
    preference: Sequence[float] | None = None
    pairwise: Sequence[Sequence[float]] | None = None
    likely_tokens: Sequence[LikelyTokens] = ()
    row: int | None = None

    @property
    def responses(self) -> list[Sequence[int]]:
        """The responses that opponent and reference model score: the expert's, if any, then the generated ones."""
        return [*([self.expert_ids] if self.expert_ids else []), *self.generated_ids]

    @property
    def scored(self) -> bool:
        """Whether the opponent's log-probs are known."""
        return self.opponent_generated is not None

    def with_scores(self, log_probs: Sequence[float]) -> Triple:
        """The triple with the opponent's log-probs of its responses, in their order."""
        experts = min(1, len(self.expert_ids))
        expert = log_probs[0] if experts else None
        return replace(self, opponent_expert=expert, opponent_generated=tuple(log_probs[experts:]))

    def as_pairs(self) -> Triple:
        """The triple with all 1 + K responses as generated ones; the first, the expert's, beats every other: P = 1.

        With K = 1 all P(y_i ≻ y_j) are known; with more, the preferences among the others are not.
        """
        known = opponent = None
        if len(self.generated_ids) == 1:
            known = [[0.5, 1.0], [0.0, 0.5]]
        if self.opponent_expert is not None and self.opponent_generated is not None:
            opponent = [self.opponent_expert, *self.opponent_generated]
        return replace(
            self,
            expert_ids=(),
            generated_ids=self.responses,
            opponent_expert=None,
            opponent_generated=opponent,
            preference=[1.0, *[0.0] * len(self.generated_ids)],
            pairwise=known,
        )


class Triples(Dataset[Triple]):
    """Triples that all have the same number K of generated responses.

    Attributes:
        items: The triples.
        ends: The tokens that end the responses which were given as text.
    """

    def __init__(self, triples: Iterable[Triple], ends: Collection[int] = ()) -> None:
        self.items, self.ends = list(triples), frozenset(ends)
        counts = sorted({len(triple.generated_ids) for triple in self.items})
        if not self.items:
            raise InputError("the training set is empty", where="train_dataset", fix="give at least one row")
        if len(counts) > 1:
            raise InputError(
                f"the prompts have different numbers of generated responses: {counts}",
                where="train_dataset",
                fix="keep the same K for every prompt",
            )
        _check_all_or_none("an expert response", [bool(triple.expert_ids) for triple in self.items])
        _check_all_or_none("the opponent's log-probs", [triple.scored for triple in self.items])
        for name in PREFERENCE_FIELDS:
            _check_all_or_none(f"a judge's '{name}'", [getattr(triple, name) is not None for triple in self.items])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Triple:
        return self.items[index]

    @property
    def scored(self) -> bool:
        """Whether the opponent's log-probs are known for all of them."""
        return all(triple.scored for triple in self.items)


def _check_all_or_none(what: str, given: Sequence[bool]) -> None:
    if any(given) and not all(given):
        fix = "give them for every row, or for none"
        raise InputError(f"some rows have {what} and some do not", where="train_dataset", fix=fix)


def triples_from(
    dataset: Iterable[Mapping[str, Any]] | Triples,
    tokenizer: Any,
    *,
    where: str = "train_dataset",
    pairs: bool = False,
    ends: Collection[int] = (),
) -> Triples:
    """The triples of a data set.

    Each row has `prompt`, `expert` and `generated` as text (`generated` is one response or a list of K), or
    `prompt_ids`, `expert_ids` and `generated_ids` as token ids. `opponent_expert_log_prob` and
    `opponent_generated_log_probs` are taken where they are given, and so are a judge's `preference` (K numbers
    P(y_k ≻ π_o)) and `pairwise` (K lists of K numbers P(y_i ≻ y_j)). A prompt may also be a list of chat messages, to
    which the tokenizer's chat template is applied; it is told the `tools` of a row and its `chat_template_kwargs`.
    Responses to it end as the template ends them, those to a text with the end-of-sequence token; one that ends so
    already gets no second end.

    As TRL's trainers have them, the columns may also be called `chosen` and `rejected`, and responses be lists of chat
    messages: one of the assistant, which the prompt's may precede.
    An empty text is refused; give a response that is nothing but the end token as token ids.

    Args:
        dataset: Rows: a `datasets.Dataset`, or any iterable of mappings.
        tokenizer: Needed for text only.
        where: The name of the data set in errors.
        pairs: Whether `chosen` and `rejected` of a row without a judge's numbers are two generated responses, of which
            the chosen one is preferred, as in DPO.
        ends: The tokens at which the model's own `generate` stops; in some chat templates the end of a response is
            recognised only by them.

    Raises:
        InputError: A row lacks a field, or text is given without a tokenizer.
    """
    if isinstance(dataset, Triples):
        # A copy, so that one trainer's scores never reach another trainer.
        return Triples(dataset.items, dataset.ends)
    triples, wrong, names = list[Triple](), dict[int, InputError](), "expert and generated"
    written = set[int]()
    for number, (row, called) in enumerate(named(dataset, where, pairs=pairs)):
        try:
            triple = _triple(row, number, tokenizer, f"{where} row {number}", called=called, ends=ends)
        except InputError as error:
            wrong[number] = error
            continue
        written |= {triple.expert_ids[-1]} if _IDS[0] not in row else set()
        ready = triple.preference is not None or triple.pairwise is not None or _IDS[0] in row
        triples.append(triple.as_pairs() if pairs and is_preferred(called) and not ready else triple)
        names = "chosen and rejected" if is_preferred(called) else names
    if wrong:
        raise _first_of(wrong)
    tell_repeats(((each.prompt_ids, each.responses) for each in triples), where, names)
    return Triples(triples, written)


def _first_of(wrong: Mapping[int, InputError]) -> InputError:
    """The error of the first wrong row, with the numbers of the others."""
    first, *others = wrong
    error = wrong[first]
    if not others:
        return error
    shown = ", ".join(map(str, others[:_NAMED]))
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    told = f"rows {shown}{more} are wrong too" if len(others) > 1 else f"row {shown} is wrong too"
    return InputError(error.problem, where=error.where, fix=f"{error.fix}; {told}")


def _triple(
    row: Mapping[str, Any], number: int, tokenizer: Any, where: str, *, called: Mapping[str, str], ends: Collection[int]
) -> Triple:
    if _IDS[0] in row:
        prompt, expert, generated = (_field(row, name, where, called) for name in _IDS)
    else:
        chats = split(row, where, called)
        text, expert_text, generated_text = (_field(chats, name, where, called) for name in _TEXT)
        if tokenizer is None or tokenizer.eos_token_id is None:
            fix = "pass processing_class=, or give token ids"
            raise InputError("text needs a tokenizer with an end-of-sequence token", where=where, fix=fix)
        told = told_template(chats, tokenizer, where)
        prompt = _checked_ids(_prompt_ids(tokenizer, text, where, told), f"{where}, prompt")
        several = isinstance(generated_text, Sequence) and not isinstance(generated_text, str)
        texts = [expert_text, *(generated_text if several else [generated_text])]
        _check_texts(texts, where, called)
        space, end = "", [tokenizer.eos_token_id]
        if is_turns(text):
            space, end = around(tokenizer, text, expert_text, ends, where, told=told)
        behind = following(tokenizer, [space + each for each in texts], [prompt[-1]] * len(texts))
        # A text from a template holds its end already.
        expert, *generated = (ids if ids[-len(end) :] == end else [*ids, *end] for ids in behind)
    k = len(generated)
    opponent_expert, opponent_generated = log_probs(_SCORES, row.get(_SCORES[0]), row.get(_SCORES[1]), k, where)
    return Triple(
        prompt_ids=_checked_ids(prompt, f"{where}, prompt"),
        expert_ids=_checked_ids(expert, f"{where}, expert"),
        generated_ids=[_checked_ids(ids, f"{where}, generated response {k}") for k, ids in enumerate(generated)],
        opponent_expert=opponent_expert,
        opponent_generated=opponent_generated,
        preference=preference(row.get("preference"), k, where),
        pairwise=pairwise(row.get("pairwise"), k, where),
        row=number,
    )


def _field(row: Mapping[str, Any], name: str, where: str, called: Mapping[str, str]) -> Any:
    if row.get(name) is None:
        raise missing(name, row, where, called)
    return row[name]


def _checked_ids(ids: Any, where: str) -> list[int]:
    if not isinstance(ids, Sequence) or not ids or not all(isinstance(token, int) for token in ids):
        raise InputError("is not a list of token ids, or is empty", where=where, fix="give at least one token id")
    return list(ids)


def _prompt_ids(tokenizer: Any, prompt: str | Turns, where: str, told: Mapping[str, Any]) -> list[int]:
    """The prompt's token ids with a single bos, whether the tokenizer, the template or the text itself writes it."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt, verbose=False).input_ids)
        # Some tokenizers put the end token after every text, but the response is to follow.
        if len(ids) > 1 and ids[-1] == eos and not (prompt.endswith(tokenizer.eos_token) and ids[-2] != eos):
            del ids[-1]
    else:
        options = {"add_generation_prompt": True, "tokenizer_kwargs": {"verbose": False}}
        ids = list(rendered(tokenizer, where, prompt, **options, **told))
    while bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos:
        del ids[0]
    return ids


def _check_texts(texts: Sequence[Any], where: str, called: Mapping[str, str]) -> None:
    """Raises InputError if a response, the expert's or one of the generated ones after it, is no text."""
    for place, text in enumerate(texts):
        if (wrong := text_problem(text)) is not None:
            name = called.get(_TEXT[min(place, 1) + 1], _TEXT[min(place, 1) + 1])
            inside = f"[{place - 1}]" if place and len(texts) > 2 else ""
            raise InputError(wrong.problem, where=f"{where}, {name}{inside}", fix=wrong.fix)
