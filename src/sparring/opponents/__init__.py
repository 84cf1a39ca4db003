"""Who plays against the policy: which policies generate, which score, and how their log-probs combine.

To add one: write a module with a frozen dataclass that has `spec` and `combine`, and list it in `OPPONENTS`. The
loop does the rest from stored scores, so an opponent never holds a model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparring.opponents.previous import Previous

if TYPE_CHECKING:
    from sparring.types import Opponent

OPPONENTS: dict[str, type[Opponent]] = {
    "previous": Previous,
}

__all__ = ["OPPONENTS", "Previous"]
