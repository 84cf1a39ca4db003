"""Games on n outcomes, played with the very objectives, opponents and regularizers that train language models.

In the exact games nothing is sampled: expectations are sums, and every iteration is the exact best response, in
float64. `StochasticGame` adds back what training suffers from: finite samples, a finite number of gradient steps, and
prompts that share parameters.
"""

from sparring.games.imitation import ImitationGame, ImitationPlay
from sparring.games.preference import PreferenceGame, PreferencePlay
from sparring.games.stability import contraction_factor, stability
from sparring.games.stochastic import StochasticGame, StochasticPlay, Training

__all__ = [
    "ImitationGame",
    "ImitationPlay",
    "PreferenceGame",
    "PreferencePlay",
    "StochasticGame",
    "StochasticPlay",
    "Training",
    "contraction_factor",
    "stability",
]
