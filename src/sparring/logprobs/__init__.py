"""The only place where token ids become sequence log-probs.

`sequence_log_probs` is the one entry, and `per_token_log_probs` gives the terms of its sums; training and scoring use
them, so that a model is compared with itself on equal terms. `likely_tokens` and `log_probs_at` look at other tokens in
their place, and `response_features` at how far off the predictions were; `readouts` says what is read at a token.
`layout` proves which layout scores a model right: `packed` rows with the `attention` that keeps their segments apart,
`padded` rows or single ones for models that cannot read those, or the `whole` forward pass for heads of which nothing
is known. `head` scores response positions in chunks.
A faster layout is a new module beside `packed`, and one line in `layout`.
"""

from __future__ import annotations

from sparring.logprobs.check import check_log_probs
from sparring.logprobs.features import response_features
from sparring.logprobs.layout import Layout, layout_of
from sparring.logprobs.sequences import likely_tokens, log_probs_at, per_token_log_probs, sequence_log_probs
from sparring.logprobs.temperature import tempered

__all__ = [
    "Layout",
    "check_log_probs",
    "layout_of",
    "likely_tokens",
    "log_probs_at",
    "per_token_log_probs",
    "response_features",
    "sequence_log_probs",
    "tempered",
]
