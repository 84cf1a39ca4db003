"""The only place where token ids become sequence log-probs.

What is read of the response tokens:

    sequence_log_probs      log π(y | x) of each response; the same function trains and scores, so that they agree
    per_token_log_probs     its terms, log π of each response token
    likely_tokens           the likeliest next tokens at each response token
    log_probs_at            the log-probs of given tokens at each response token
    response_features       a vector for each response: how far off the predictions were

How they are read: a *layout* turns prompts and responses into forward passes, and a *readout* turns the hidden states
or logits at the response tokens into numbers.

    layout.py       finds the fastest layout that gives a model's own log-probs, and proves it
    packed.py       the fastest: long rows without padding, in which common beginnings stand once (a tree)
    ranges.py           the segments of a packed row, and what each of them sees
    segments.py         their attention, on processors by segments_cpu.py
    attention.py        brings this attention into a model of transformers
    padded.py       batches of padded rows, or single rows, where a model's attention cannot be exchanged
    whole.py        the model's whole forward pass, one row at a time, where its head is unknown
    readouts.py     what is read at a response token, from head.py, which applies the head in chunks

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
