"""Judges compare responses: P(y_i ≻ y_j | x), for the objectives that learn from preferences.

A judge is a frozen, keyword-only dataclass of settings that rejects nonsense and is cheap to make; `start` gives it its
model, endpoint or key and returns a function from questions to verdicts. A pair without a verdict is None in the table,
and is counted, as are ties, abstentions and answers that could not be read.

A judge states its own facts (`JudgeSettings`): what it needs, what it may cost, what a person must consent to. Code
outside of this package reaches a judge through `JUDGES` only.

To add one: write a module beside these, list it in `JUDGES`, give it a row in tests/conformance/judges.py and a section
in docs/judges.md, and name the module in the contract on judges in pyproject.toml. A judge behind HTTP asks through
`chat`, which retries, and `correspondence`, which keeps the replies.
"""

from __future__ import annotations

from sparring.judges.consensus import Consensus
from sparring.judges.discriminator import Discriminator
from sparring.judges.expert import Expert
from sparring.judges.identity import StartedJudge, fingerprint
from sparring.judges.implicit import Implicit
from sparring.judges.llm import Llm
from sparring.judges.pairwise import Pairwise
from sparring.judges.protocol import JudgeSettings, Question, Verdict
from sparring.judges.reward_model import RewardModel
from sparring.judges.reward_player import Learned, Lesson, RewardPlayer
from sparring.judges.verifier import VerifierJudge
from sparring.registry import Registry

JUDGES: Registry[JudgeSettings] = Registry(
    JudgeSettings,
    {
        "verifier": VerifierJudge,
        "reward-model": RewardModel,
        "pairwise": Pairwise,
        "llm": Llm,
        "consensus": Consensus,
        "implicit": Implicit,
        "discriminator": Discriminator,
        "expert": Expert,
    },
)

__all__ = [
    "JUDGES",
    "JudgeSettings",
    "Learned",
    "Lesson",
    "Question",
    "RewardPlayer",
    "StartedJudge",
    "Verdict",
    "fingerprint",
]
