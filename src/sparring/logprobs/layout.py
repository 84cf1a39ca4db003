"""Which layout scores a model right: proved on short texts against the model as it came."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sparring.errors import InputError
from sparring.logprobs.attention import UnsupportedAttentionError, counting_layers, use_packed_attention
from sparring.logprobs.decoder import UnknownDecoderError, own_logits
from sparring.logprobs.packed import packed_log_probs
from sparring.logprobs.padded import padded_log_probs, single_log_probs
from sparring.logprobs.readouts import OWN, Readout
from sparring.logprobs.whole import whole_log_probs
from sparring.logprobs.wrappers import computes_in_16_bits, forward_through, unwrap

_log = logging.getLogger(__name__)

MAX_TOKENS = 8192
"""Positions in one forward pass with a gradient, or on an accelerator, unless somebody says otherwise."""

# On a processor products of so many rows are as fast as of more, and a pass takes less memory.
_ON_A_PROCESSOR = 2048

Rows = Literal["packed", "padded", "single", "whole"]
Score = Callable[[Any, Sequence[Sequence[int]], Sequence[Sequence[Sequence[int]]], int, Readout], list[Tensor]]

SCORES: dict[Rows, Score] = {
    "packed": packed_log_probs,
    "padded": padded_log_probs,
    "single": single_log_probs,
    "whole": whole_log_probs,
}
_WORDS: dict[Rows, str] = {
    "packed": "in packed rows",
    "padded": "in padded rows, which is slower",
    "single": "one row at a time, which is slow",
    "whole": "one row at a time through its whole forward pass, which is slow and holds all logits of a row",
}

# What a model that computes something else than expected raises: not an error of ours, and no lack of memory.
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)

# Prompts and responses of several lengths, so that a layout that leaks from one to another shows.
_PROMPTS = ((3, 4, 5, 6, 7, 8), (9, 10))
_RESPONSES = (((11, 12, 13), (14, 15, 16, 17), (18,)), ((12, 11),))


@dataclass(frozen=True)
class Layout:
    """How a model's sequences are laid out.

    Attributes:
        rows: "packed", the fastest; "padded" batches; a "single" unpadded row at a time; or the "whole" forward pass of
            the model on one row, where its head is unknown.
        why: What the faster layouts got wrong; empty for packed rows.
    """

    rows: Rows
    why: str = ""


class _Probe(NamedTuple):
    prompts: list[list[int]]
    responses: list[list[list[int]]]
    own: Tensor


_layouts: WeakKeyDictionary[Any, Layout] = WeakKeyDictionary()
_said: set[str] = set()


def layout_of(model: Any) -> Layout:
    """The fastest layout that scores a model as its own forward pass does; found out once for each model object.

    The model's own log-probs of a few short sequences, each an unpadded row of its own, are taken before anything is
    exchanged. Then packed rows, padded rows, single rows and at last the own forward pass are tried against them. Where
    packed rows are not taken, the model has its own attention back. What is slower than packed rows is said in the log.

    Args:
        model: A causal language model of transformers, bare or wrapped.

    Raises:
        InputError: No layout agrees, or the model is no autoregressive one: what it says of a token depends on later
            ones, or on chance.
    """
    core = unwrap(model)
    if core not in _layouts:
        with torch.no_grad():
            _layouts[core] = forward_through(model, lambda bare: _in_evaluation(model, bare))
        layout = _layouts[core]
        text = f"{type(core).__name__} is scored {_WORDS[layout.rows]}: {layout.why}"
        if layout.why and text not in _said:
            _said.add(text)
            _log.warning("%s", text)
    return _layouts[core]


def agree(core: Any, found: Tensor, reference: Tensor) -> bool:
    """Whether log-probs are those of another way to compute them, but for rounding.

    Each may differ by a ten-thousandth of it, and at least by 1e-4 nats. Where the model computes in 16 bits, rounding
    is measured by the spread of the log-probs: the mean difference may be 0.05 of their standard deviation, and the
    largest 0.75. The limits were fitted on SmolLM2 in both 16-bit formats and on six tiny builds, and are not validated
    on others. The nearest values seen were, of a right way, 0.109 and 1.20 (MiniMax, a single row with its cache: over
    the limits, so a slower way is taken), and of a wrong one, 0.066 and 0.45 (RecurrentGemma, packed: the mean alone
    tells, and narrowly).
    """
    # Tokens that are ruled out are equal without a difference.
    off = (found - reference).abs().masked_fill(found == reference, 0.0)
    # A token that is ruled out has no log-prob to be compared; it must not make everything agree.
    size = reference.detach().abs().clamp(max=1e3)
    # False also where something is not a number.
    if computes_in_16_bits(core):
        spread = float(size.std())
        return float(off.mean()) <= 0.05 * spread and float(off.max()) <= 0.75 * spread
    return bool((off <= (1e-4 * size).clamp(min=1e-4)).all())


def probe_ids(core: Any, ids: Sequence[int]) -> list[int]:
    """As many token ids that the model has, away from the ends of its vocabulary: special tokens upset a real model."""
    size = core.config.get_text_config().vocab_size
    return [(size // 4 + 37 * token) % size for token in ids]


def described(error: Exception) -> str:
    """An error of the model's in one line; a lack of memory is raised again, for nothing follows from it."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    return f"{type(error).__name__}: {(str(error).strip() or 'without a word').splitlines()[0][:200]}"


def _in_evaluation(model: Any, core: Any) -> Layout:
    was_training = model.training
    model.eval()
    try:
        return _find(core)
    finally:
        model.train(was_training)


def _find(core: Any) -> Layout:
    probe = _reference(core)
    if (problem := _problem(core, "single", probe)) is not None:
        why = f"from its hidden states {problem}"
        if (problem := _problem(core, "whole", probe)) is not None:
            raise _refused(core, f"its own forward pass {problem}")
        return Layout("whole", why)
    if (unpacked := _packing_problem(core, probe)) is None:
        return Layout("packed")
    if (unpadded := _problem(core, "padded", probe)) is None:
        return Layout("padded", unpacked)
    return Layout("single", f"{unpacked}; in a padded batch {unpadded}")


def _reference(core: Any) -> _Probe:
    """The probe with its own log-probs, those of each token of each response in turn."""
    ends = _end_ids(core)
    prompts = [probe_ids(core, prompt) for prompt in _PROMPTS]
    # Padding and end tokens occur in responses, also in the middle of them, and some families look at them.
    plain = [[probe_ids(core, answer) for answer in answers] for answers in _RESPONSES]
    responses = [[[first, *ends, *rest, *ends] for first, *rest in answers] for answers in plain]
    try:
        rows = [(prompt, answer) for prompt, answers in zip(prompts, responses, strict=True) for answer in answers]
        own = [_own_log_probs(core, prompt, answer) for prompt, answer in rows]
        _check_autoregressive(core, [*prompts[0], *responses[0][1]], len(prompts[0]))
    except FAILURES as error:
        if isinstance(error, InputError):
            raise
        raise _refused(core, f"its forward pass fails on a short text ({described(error)})") from error
    return _Probe(prompts, responses, torch.cat(own))


def _end_ids(core: Any) -> list[int]:
    config = core.config.get_text_config()
    found = (getattr(config, name, None) for name in ("pad_token_id", "eos_token_id"))
    firsts = [each[0] if isinstance(each, list) and each else each for each in found]
    # A configuration may name a token that the model has no embedding for.
    return [each for each in firsts if isinstance(each, int) and 0 <= each < config.vocab_size]


def _own_log_probs(core: Any, prompt: list[int], response: list[int]) -> Tensor:
    logits = own_logits(core, [*prompt, *response], core.get_input_embeddings().weight.device)[len(prompt) - 1 : -1]
    log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return log_probs.gather(-1, torch.tensor(response, device=log_probs.device)[:, None]).squeeze(-1)


def _check_autoregressive(core: Any, row: list[int], cut: int) -> None:
    """Raises InputError where logits depend on tokens that follow, or on chance.

    The other text has the same length: where a model chooses among its keys, ties fall by the number of keys.
    """
    device = core.get_input_embeddings().weight.device
    other = [*row[:cut], *reversed(row[cut:])]
    first, again, changed = (own_logits(core, ids, device).float().log_softmax(-1) for ids in (row, row, other))
    if not agree(core, again, first):
        raise _refused(core, "it gives the same text other probabilities each time, or none that are numbers")
    if not agree(core, changed[:cut], first[:cut]):
        raise _refused(core, "what it says of a token depends on the tokens that follow it, so it has no log π(y | x)")


def positions_at_once(model: Any) -> int:
    """Positions in one forward pass, unless somebody says otherwise."""
    on_processor = unwrap(model).get_output_embeddings().weight.device.type == "cpu"
    return _ON_A_PROCESSOR if on_processor and not torch.is_grad_enabled() else MAX_TOKENS


def _problem(core: Any, rows: Rows, probe: _Probe) -> str | None:
    """How a layout differs from the model's own log-probs, or None."""
    try:
        found = torch.cat(SCORES[rows](core, probe.prompts, probe.responses, MAX_TOKENS, OWN))
    except UnknownDecoderError as error:
        return f"it cannot be: {error}"
    except FAILURES as error:
        return f"it cannot be: {described(error)}"
    if not agree(core, found, probe.own):
        difference = float((found - probe.own).abs().max())
        return f"a probe differs by {difference:.2g} nats a token from its own forward pass"
    return None


def _packing_problem(core: Any, probe: _Probe) -> str | None:
    """Why packed rows are not for this model, which then has its own attention; or None."""
    try:
        restore = use_packed_attention(core)
    except UnsupportedAttentionError as error:
        return str(error)
    except FAILURES as error:
        return f"its attention cannot be exchanged: {described(error)}"
    problem = _packed_problem(core, probe)
    if problem is not None:
        restore()
    return problem


def _packed_problem(core: Any, probe: _Probe) -> str | None:
    try:
        with counting_layers() as layers:
            problem = _problem(core, "packed", probe)
    except UnsupportedAttentionError as error:
        return str(error)
    if problem is not None:
        return f"in packed rows {problem}"
    expected = core.config.get_text_config().num_hidden_layers
    if len(layers) != expected:
        return f"{len(layers)} of its {expected} layers attend through transformers' attention interface"
    if (problem := _problem(core, "whole", probe)) is not None:
        return f"with its attention exchanged {problem}"
    return None


def _refused(core: Any, problem: str) -> InputError:
    return InputError(
        f"this model cannot be scored: {problem}",
        where=type(core).__name__,
        fix="take a model of another family, or a setting of this one that makes it a causal language model "
        "(such as is_decoder: true in its config.json)",
    )
