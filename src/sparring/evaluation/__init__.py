"""Benchmarks of a model: tasks of lm-evaluation-harness, MT-Bench, judged win rates in `alpaca_eval`'s format."""

from __future__ import annotations

from sparring.evaluation.annotations import Annotations, read_annotations, read_pool
from sparring.evaluation.answering import LoadedModel, answer
from sparring.evaluation.harness import SUITES, Benchmark, HarnessSettings, load_benchmarks
from sparring.evaluation.judged import annotate
from sparring.evaluation.length_controlled import Anchor, Pool, length_controlled_win_rate
from sparring.evaluation.outputs import Outputs, write_outputs
from sparring.evaluation.verified import Verified, verify
from sparring.evaluation.win_rate import Tally, WinRate, tally, win_rate

__all__ = [
    "SUITES",
    "Anchor",
    "Annotations",
    "Benchmark",
    "HarnessSettings",
    "LoadedModel",
    "Outputs",
    "Pool",
    "Tally",
    "Verified",
    "WinRate",
    "annotate",
    "answer",
    "length_controlled_win_rate",
    "load_benchmarks",
    "read_annotations",
    "read_pool",
    "tally",
    "verify",
    "win_rate",
    "write_outputs",
]
