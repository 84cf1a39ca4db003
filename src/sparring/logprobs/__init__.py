"""The only place where token ids become sequence log-probs.

`sequence_log_probs` is the one entry; training and scoring both call it, so that the log ratio of a model to
itself is zero by construction. `padded` lays sequences out as rows, `head` scores response positions in chunks. A
faster layout is a new module beside `padded` behind the same entry.
"""

from __future__ import annotations

from sparring.logprobs.padded import check_log_probs, sequence_log_probs

__all__ = ["check_log_probs", "sequence_log_probs"]
