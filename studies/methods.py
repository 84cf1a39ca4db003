"""The methods that are compared, each with the one setting that is tuned."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES = 4
"""K of every method that plays."""

RATES = (2e-4, 5e-4)
"""The learning rates that every method is tried at, on a seed that is not reported."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: a recipe and what is changed in it.

    Attributes:
        recipe: Its recipe.
        changes: Overrides of the recipe.
        epochs: Passes over an iteration's prompts. Supervised fine-tuning makes more, for the tokens that the others
            spend on generated responses.
        judged: Whether a judge says which responses are better, so that a prompt needs no expert.
        rate: The learning rate where it is not tuned: the better one of earlier trials on other seeds, of two for
            supervised fine-tuning, of four for `sppo`, whose rate the others take.
    """

    recipe: str
    changes: tuple[str, ...] = ()
    epochs: int = 1
    judged: bool = False
    rate: float = 5e-4

    def arguments(self, rate: float, seed: int, iterations: int) -> tuple[str, ...]:
        """The recipe and its overrides, as the command takes them."""
        return (
            self.recipe,
            f"seed={seed}",
            f"iterations={iterations}",
            f"generation.samples_per_prompt={SAMPLES}",
            f"training.num_train_epochs={self.epochs}",
            f"training.learning_rate={rate}",
            "training.lr_scheduler_type=linear",
            *self.changes,
        )


# A decided preference asks for five nats, as in the comparison of preference methods.
_STEP = "objective.eta=10"
SUPERVISED_EPOCHS = 3

METHODS = {
    "sft": Method(recipe="sft", epochs=SUPERVISED_EPOCHS, rate=2e-4),
    "dft": Method(recipe="dft", epochs=SUPERVISED_EPOCHS, rate=2e-4),
    "spif": Method(recipe="spin", changes=("objective={name: spif, beta: 1, reward_bound: 2}",)),
    "spif-sft": Method(
        recipe="spin",
        changes=("objective={name: spif, beta: 1, reward_bound: 2}", "regularizers=[{name: sft, weight: 0.3}]"),
    ),
    "spin": Method(recipe="spin", changes=("objective.beta=1",)),
    "spin-0.1": Method(recipe="spin", changes=("objective.beta=0.1",)),
    "space": Method(recipe="space"),
    "t-spin": Method(recipe="spin", changes=("objective={name: t-spin}",)),
    "alpha-spin": Method(recipe="spin", changes=("objective.beta=1", "opponent={name: geometric-mixture, alpha: 0.3}")),
    "fictitious-play": Method(recipe="spin", changes=("objective.beta=1", "opponent={name: fictitious-play}")),
    "tpaw": Method(recipe="tpaw"),
    "distill": Method(recipe="distill"),
    "sppo-verifier": Method(recipe="sppo", changes=(_STEP,), judged=True),
    "rspo-verifier": Method(
        recipe="rspo", changes=(_STEP, "regularizers=[{name: reverse-kl, weight: 1}]"), judged=True
    ),
    "sppo-consensus": Method(recipe="sppo", changes=(_STEP, "judge={name: consensus}"), judged=True),
    "sppo-implicit": Method(recipe="sppo", changes=(_STEP, "judge={name: implicit}"), judged=True),
    "sppo-discriminator": Method(recipe="discriminator", changes=(_STEP,), judged=True),
}
