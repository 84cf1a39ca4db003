"""Weighted penalties that compose with any objective, one module each.

A regularizer is a frozen, keyword-only dataclass with a `weight`, derived from `sparring.types.Regularizer`.
Calling it on `LogRatios` gives weight × value per prompt `[B]`, and the value itself as the metric
`regularizer/<name>`. `Regularized` adds a list of them to an objective and is an objective again: with `sppo` that is
RSPO (arXiv 2503.00030).

Each docstring says what the value estimates and where its gradient is right, for the two differ: samples come from
π_o, and a gradient does not see how the samples would change with the policy unless an importance weight shows it.

To add one: write a module beside these, list it in `REGULARIZERS`, and give it a row in tests/conformance/rows.py and
its line in docs/regularizers.md.
"""

from __future__ import annotations

from sparring.registry import Registry
from sparring.regularizers.chi_squared import ChiSquared
from sparring.regularizers.composition import Regularized, split_regularizers
from sparring.regularizers.entropy import Entropy
from sparring.regularizers.forward_kl import ForwardKl
from sparring.regularizers.raft import RaftPenalty
from sparring.regularizers.reverse_kl import ReverseKl
from sparring.regularizers.sft import SftPenalty
from sparring.types import Regularizer

REGULARIZERS: Registry[Regularizer] = Registry(
    Regularizer,
    {
        "reverse-kl": ReverseKl,
        "forward-kl": ForwardKl,
        "chi-squared": ChiSquared,
        "sft": SftPenalty,
        "raft": RaftPenalty,
        "entropy": Entropy,
    },
)

__all__ = [
    "REGULARIZERS",
    "ChiSquared",
    "Entropy",
    "ForwardKl",
    "RaftPenalty",
    "Regularized",
    "ReverseKl",
    "SftPenalty",
    "split_regularizers",
]
