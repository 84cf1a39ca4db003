"""The only place where token ids become sequence log-probs.

`sequence_log_probs` is the one entry, and `per_token_log_probs` gives the terms of its sums; training and scoring use
them, so that a model is compared with itself on equal terms. `sequences` chooses the layout: `packed` rows with the
`attention` that keeps their segments apart, or `padded` rows for models that cannot read those. `head` scores response
positions in chunks. A faster layout is a new module beside `packed` behind the same entry.
"""

from __future__ import annotations

from sparring.logprobs.check import check_log_probs
from sparring.logprobs.sequences import per_token_log_probs, sequence_log_probs
from sparring.logprobs.temperature import tempered

__all__ = ["check_log_probs", "per_token_log_probs", "sequence_log_probs", "tempered"]
