"""The fastest layout that scores a model right, proved on short texts against the model's own forward pass."""

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
"""The default of positions in one forward pass with a gradient, or on an accelerator."""

# The default on a processor without a gradient: larger products are no faster there, and take more memory.
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

# The errors that a model may raise which works otherwise than expected.
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)

# Prompts and responses of several lengths, so that it shows if a layout lets one sequence see another.
_PROMPTS = ((3, 4, 5, 6, 7, 8), (9, 10))
_RESPONSES = (((11, 12, 13), (14, 15, 16, 17), (18,)), ((12, 11),))


@dataclass(frozen=True)
class Layout:
    """How a model's sequences are laid out in forward passes.

    Attributes:
        rows: From the fastest: "packed" rows; "padded" batches; "single" unpadded rows; or the "whole" forward pass of
            the model on one row, where its head is unknown.
        why: What faster layouts got wrong; empty for packed rows.
    """

    rows: Rows
    why: str = ""


class _Probe(NamedTuple):
    """Short texts, and the model's own log-probs of each token of each response in turn, nats."""

    prompts: list[list[int]]
    responses: list[list[list[int]]]
    own: Tensor


_layouts: WeakKeyDictionary[Any, Layout] = WeakKeyDictionary()
_said: set[str] = set()


def layout_of(model: Any) -> Layout:
    """The fastest layout that scores a model as its own forward pass does; found out once for each model object.

    First the model's own forward pass scores a few short sequences, each as an unpadded row. Then the layouts are
    compared with it: packed rows, for which the model's attention is exchanged (it gets its own back if they are not
    right), padded rows, single rows and the whole forward pass. Any slower layout than packed rows is logged.

    Args:
        model: A causal language model of transformers, bare or wrapped.

    Raises:
        InputError: No layout agrees, or the model is not autoregressive: its probabilities of a token depend on later
            tokens, or on chance.
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
    """Whether two computations of the same log-probs agree up to rounding.

    Each may differ by a ten-thousandth of itself, or by 1e-4 nats if that is more. Where the model computes in 16 bits,
    the limits are relative to the standard deviation of the log-probs: 0.05 for the mean difference, 0.75 for the
    largest. They were fitted on SmolLM2 in both 16-bit formats and on six tiny models, and are not validated on others.
    The closest cases seen: a right computation at 0.109 and 1.20 (MiniMax, a single row with its cache; it is rejected,
    and a slower one taken), and a wrong one at 0.066 and 0.45 (RecurrentGemma, packed; only the mean tells, narrowly).

    Args:
        core: The bare model.
        found: The log-probs to be checked, nats; −∞ for a token that is ruled out.
        reference: The log-probs of the model's own forward pass.
    """
    # −∞ − −∞ is not a number, though they agree.
    off = (found - reference).abs().masked_fill(found == reference, 0.0)
    # An infinite size would allow any difference.
    size = reference.detach().abs().clamp(max=1e3)
    # Comparisons with NaN are false, so a log-prob that is not a number never agrees.
    if computes_in_16_bits(core):
        spread = float(size.std())
        return float(off.mean()) <= 0.05 * spread and float(off.max()) <= 0.75 * spread
    return bool((off <= (1e-4 * size).clamp(min=1e-4)).all())


def probe_ids(core: Any, ids: Sequence[int]) -> list[int]:
    """Token ids of the model's vocabulary for some numbers, away from its ends, where special tokens upset a model."""
    size = core.config.get_text_config().vocab_size
    return [(size // 4 + 37 * token) % size for token in ids]


def described(error: Exception) -> str:
    """A model's error in one line; a lack of memory is raised again, since it proves nothing of a layout."""
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
    """The fastest layout that is right. Single rows are tried first: the faster ones use the same decoder and head."""
    probe = _reference(core)
    if (of_single := _problem(core, "single", probe)) is not None:
        if (of_whole := _problem(core, "whole", probe)) is not None:
            raise _refused(core, f"its own forward pass {of_whole}")
        return Layout("whole", f"from its hidden states {of_single}")
    if (of_packed := _packing_problem(core, probe)) is None:
        return Layout("packed")
    if (of_padded := _problem(core, "padded", probe)) is None:
        return Layout("padded", of_packed)
    return Layout("single", f"{of_packed}; in a padded batch {of_padded}")


def _reference(core: Any) -> _Probe:
    """The probe, with the log-probs of the model's own forward pass."""
    ends = _end_ids(core)
    prompts = [probe_ids(core, prompt) for prompt in _PROMPTS]
    # Padding and end tokens occur in responses, in the middle too, and some families treat them differently.
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

    The changed text has the same length, since a model that chooses among its keys (sparse attention) may break ties
    differently among fewer keys.
    """
    device = core.get_input_embeddings().weight.device
    other = [*row[:cut], *reversed(row[cut:])]
    first, again, changed = (own_logits(core, ids, device).float().log_softmax(-1) for ids in (row, row, other))
    if not agree(core, again, first):
        raise _refused(core, "it gives the same text other probabilities each time, or none that are numbers")
    if not agree(core, changed[:cut], first[:cut]):
        raise _refused(core, "what it says of a token depends on the tokens that follow it, so it has no log π(y | x)")


def positions_at_once(model: Any) -> int:
    """The default of positions in one forward pass."""
    on_processor = unwrap(model).get_output_embeddings().weight.device.type == "cpu"
    return _ON_A_PROCESSOR if on_processor and not torch.is_grad_enabled() else MAX_TOKENS


def _problem(core: Any, rows: Rows, probe: _Probe) -> str | None:
    """What is wrong with a layout's log-probs of the probe; None if nothing is."""
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
    """Why the model cannot be scored in packed rows, in which case it gets its attention back; None if it can."""
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
