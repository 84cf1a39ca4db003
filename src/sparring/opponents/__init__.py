"""The opponents of the policy: which policies generate, which score, and how their log-probs combine.

To add one: write a module with a frozen dataclass that derives from `sparring.types.Opponent`, list it in `OPPONENTS`,
and give it a row in tests/conformance/rows.py and one in docs/opponents.md. The loop does the rest from stored scores,
so an opponent never holds a model.
"""

from __future__ import annotations

from sparring.opponents.base import Base
from sparring.opponents.fictitious_play import FictitiousPlay
from sparring.opponents.geometric_mixture import GeometricMixture
from sparring.opponents.previous import Previous
from sparring.opponents.previous_two import PreviousTwo
from sparring.opponents.team import Team
from sparring.registry import Registry
from sparring.types import Opponent

OPPONENTS: Registry[Opponent] = Registry(
    Opponent,
    {
        "previous": Previous,
        "previous-two": PreviousTwo,
        "fictitious-play": FictitiousPlay,
        "geometric-mixture": GeometricMixture,
        "base": Base,
        "team": Team,
    },
)

__all__ = ["OPPONENTS", "Base", "FictitiousPlay", "GeometricMixture", "Previous", "PreviousTwo", "Team"]
