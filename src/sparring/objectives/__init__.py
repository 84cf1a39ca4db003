"""Losses on log ratios, one module a family.

An objective is a frozen, keyword-only dataclass that derives from `sparring.types.Objective` and overrides the defaults
there that do not hold for it. Its fields are its settings, `__post_init__` rejects nonsense, and calling it on
`LogRatios` gives the loss per prompt `[B]` and its metrics. It knows nothing of models, tokens or trainers, so the very
same object trains a softmax policy on an exact game and a language model.

To add one: write a module beside these with the formula and its source in the docstring, list it in `OBJECTIVES`, give
it a row in tests/conformance/rows.py, and a page in docs/algorithms/ that mkdocs.yml lists. One that stays outside is
named by its import path, `my_module:MyObjective`.
"""

from __future__ import annotations

from sparring.objectives.dft import Dft
from sparring.objectives.distill import Distill
from sparring.objectives.dpo import Dpo
from sparring.objectives.f_divergence import FDivergence
from sparring.objectives.inpo import Inpo
from sparring.objectives.ipo import Ipo
from sparring.objectives.nash_md import NashMd
from sparring.objectives.raft import Raft
from sparring.objectives.renyi import Renyi
from sparring.objectives.sft import Sft
from sparring.objectives.space import Space
from sparring.objectives.spif import Spif
from sparring.objectives.spin import Spin
from sparring.objectives.sppo import Sppo
from sparring.objectives.t_spin import TSpin
from sparring.objectives.tpaw import Tpaw
from sparring.registry import Registry
from sparring.types import Objective

OBJECTIVES: Registry[Objective] = Registry(
    Objective,
    {
        "spin": Spin,
        "spif": Spif,
        "space": Space,
        "t-spin": TSpin,
        "f-divergence": FDivergence,
        "renyi": Renyi,
        "sppo": Sppo,
        "dpo": Dpo,
        "ipo": Ipo,
        "inpo": Inpo,
        "nash-md": NashMd,
        "raft": Raft,
        "tpaw": Tpaw,
        "distill": Distill,
        "dft": Dft,
        "sft": Sft,
    },
    # The loss types of TRL's DPOTrainer; docs/how-to/from-trl.md has them too.
    meant={"sigmoid": "{name: dpo}", "hinge": "{name: spin, link: hinge}", "sppo_hard": "{name: sppo}"},
)

__all__ = [
    "OBJECTIVES",
    "Dft",
    "Distill",
    "Dpo",
    "FDivergence",
    "Inpo",
    "Ipo",
    "NashMd",
    "Raft",
    "Renyi",
    "Sft",
    "Space",
    "Spif",
    "Spin",
    "Sppo",
    "TSpin",
    "Tpaw",
]
