"""The recipe `auto`: looks at the data, chooses the settings that suit them best, and says why.

Settings that a person gave are kept; with the others they become the run's ordinary configuration. Of `RULES`, the
first that fits the data is taken; the page docs/auto.md has them as a table. Every number here was measured or derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparring.data import load
from sparring.data.rows import Needs
from sparring.data.verifiers import fitting_rule
from sparring.errors import InputError
from sparring.selfplay.arguments import bf16_is_faster
from sparring.selfplay.config.schema import SelfPlayConfig

# As measured: "Prompts without an expert", docs/studies.md. A start that has learnt from its experts unlearns some of
# that in one iteration at the rate 5e-4, and does not at 2e-4.
_LORA = {"r": 16, "lora_alpha": 32}
_PLAY_TRAINING = {
    "learning_rate": 2e-4,
    "lr_scheduler_type": "linear",
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
}
_PLAY = {"iterations": 2, "generation": {"samples_per_prompt": 4}, "training": _PLAY_TRAINING}
# It trains on the few prompts of which some samples are right and some wrong, so on each of them more than once. A
# temperature above 1 makes such prompts more frequent, and imitated samples are right at any (docs/studies.md, above).
_RAFT = _PLAY | {
    "objective": {"name": "raft"},
    "generation": {"samples_per_prompt": 4, "temperature": 1.5},
    "training": {**_PLAY_TRAINING, "num_train_epochs": 4},
}
# With η = 10 a certain preference asks for a log ratio of five nats.
_SPPO = _PLAY | {"objective": {"name": "sppo", "eta": 10.0}}
# An exact iteration of SPPO against the discriminator converges fastest at η = 4T (docs/judges.md), and T is 1.
_IMITATION = _PLAY | {"objective": {"name": "sppo", "eta": 4.0}}
# One epoch, as published. Nothing bounds its step but β, so its rate is that of the recipes; see the same measurement.
_DPO = {
    "iterations": 1,
    "objective": {"name": "dpo", "beta": 0.1},
    "responses": "data",
    "training": {"learning_rate": 1e-4, "num_train_epochs": 1},
}
# At a constant rate the likelihood of held-out experts peaks after an epoch or two, long before the answers are as good
# as they get; with a rate that falls to zero it rises again at the end (docs/auto.md). So no look ends it early.
_WARMUP = {"learning_rate": 2e-4, "lr_scheduler_type": "linear", "num_train_epochs": 8}
# With fewer experts a fifth of them is too few to find a plateau: with six of 32 the likelihood was highest after epoch
# 2 of 8, when the answers were far worse than after the eighth (docs/auto.md).
_FEW = 64
# All weights are trained at a fifth of an adapter's rate, as the recipes are.
_WHOLE = 0.2
_SECTIONS = ("data", "generation", "model", "training", "warmup")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about the training prompts.

    Attributes:
        prompts: The number of prompts.
        experts: The number with an expert's response.
        answers: The number with a reference answer: a ground truth, or an expert's response.
        compared: The number with compared responses.
        truths: The number with a ground truth.
        verifier: The rule that verifies answers: the configuration's, or else `final-number` if that fits all answers.
        judge: The name of the judge in the configuration, or None.
    """

    prompts: int
    experts: int
    answers: int
    compared: int
    truths: int
    verifier: str | None
    judge: str | None

    @classmethod
    def of(cls, config: SelfPlayConfig) -> Facts:
        """Reads the data; raises InputError if they are wrong."""
        unread: Needs = {"auto": frozenset()}
        train = load(config.data, config.seed, unread).train
        # A rule that a person set to null stays null.
        free = config.judge is None and config.data.verifier is None and "verifier" not in config.data.model_fields_set
        numbers = free and fitting_rule(train) == "final-number"
        if numbers:
            # Which rows are held out depends on whether there is a verifier.
            train = load(config.data.model_copy(update={"verifier": "final-number"}), config.seed, unread).train
        return cls(
            prompts=len(train),
            experts=sum(item.response is not None for item in train),
            answers=sum(item.reference_answer is not None for item in train),
            compared=sum(item.comparison is not None for item in train),
            truths=sum(item.ground_truth is not None for item in train),
            verifier="final-number" if numbers else config.data.verifier,
            judge=None if config.judge is None else config.judge.name,
        )

    def __str__(self) -> str:
        verified = f", {self.answers} an answer for '{self.verifier}' to verify against" if self.verifier else ""
        compared = f", {self.compared} compared responses" if self.compared else ""
        return f"of {self.prompts} training prompts {self.experts} have an expert's response{verified}{compared}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule of the recipe: settings for data of some kind.

    Attributes:
        data: The kind of data, in words.
        fits: Whether data are of this kind.
        plays: The settings.
        because: The reason, in words.
    """

    data: str
    fits: Callable[[Facts], bool]
    plays: Callable[[Facts], Mapping[str, Any]]
    because: str


RULES = (
    Rule(
        data="the judge `verifier` in the configuration",
        fits=lambda facts: facts.judge == "verifier",
        plays=lambda _: _RAFT,
        because="raft: it fine-tunes on those of four samples that the judge finds right, also where no expert wrote "
        "an answer",
    ),
    Rule(
        data="another judge in the configuration",
        fits=lambda facts: facts.judge is not None,
        plays=lambda _: _SPPO,
        because="sppo on the judge's preferences: the judge decides also on prompts that no expert answered, from "
        "which supervised fine-tuning cannot learn",
    ),
    Rule(
        data="a verifier, and an answer to verify against on every prompt",
        fits=lambda facts: facts.verifier is not None and facts.answers == facts.prompts,
        plays=lambda facts: _RAFT | {"judge": {"name": "verifier", "rule": facts.verifier}},
        because="raft: it fine-tunes on those of four samples that the verifier finds right, also where no expert "
        "wrote an answer",
    ),
    Rule(
        data="responses with preferences",
        fits=lambda facts: facts.compared > 0,
        plays=lambda _: _DPO,
        because="dpo on the data's own preferences",
    ),
    Rule(
        data="a verifier, and prompts without an answer to verify against",
        fits=lambda facts: facts.verifier is not None,
        plays=lambda facts: _SPPO | {"judge": {"name": "consensus", "rule": facts.verifier}},
        because="sppo on the answer that most samples share: some prompts have no answer to verify against, and the "
        "verifier says which answers are the same. This sharpens what the policy believes already, right or wrong. "
        "Leave those prompts out, and the verifier judges",
    ),
    Rule(
        data="an expert's response on some prompts, and nothing that judges",
        fits=lambda facts: 0 < facts.experts < facts.prompts,
        plays=lambda _: _IMITATION | {"judge": {"name": "discriminator"}},
        because="sppo, judged by a discriminator that learns to tell the expert's responses from the policy's: it also "
        "judges prompts without an expert, from which supervised fine-tuning cannot learn. Where the warm-up learns "
        "the experts by heart, it finds nothing to tell apart",
    ),
    Rule(
        data="an expert's response on every prompt, and nothing that judges",
        fits=lambda facts: facts.experts > 0,
        plays=lambda _: {"iterations": 0, "objective": {"name": "sft"}},
        because="nothing: on prompts that all have an expert, imitation by self-play has not beaten more supervised "
        "fine-tuning, so that is the better buy. objective.name=spif plays on after the warm-up",
    ),
)


def resolve(config: SelfPlayConfig) -> tuple[SelfPlayConfig, tuple[str, ...]]:
    """The configuration with the recipe's choices written out, and their reasons; unchanged if it names no recipe.

    Raises:
        InputError: The data are wrong, or nothing in them tells which response is better.
    """
    if config.recipe is None:
        return config, ()
    given = config.model_dump(exclude_unset=True, exclude={"recipe"})
    if config.phases:
        fix = "remove them, or remove recipe: auto"
        raise InputError("the recipe auto chooses what is played, and there are phases", where="phases", fix=fix)
    if config.judge is None:
        given.pop("judge", None)
    facts = Facts.of(config)
    chosen: dict[str, Any] = {"lora": _LORA}
    reasons = [f"auto: {facts}"]
    if config.data.verifier != facts.verifier:
        chosen["data"] = {"verifier": facts.verifier}
        reasons.append(f"auto verifies by '{facts.verifier}': all right answers are numbers, or end in one")
    elif facts.truths and facts.verifier is None and facts.judge is None:
        reasons.append(
            f"auto does not use the ground truths of {facts.truths} prompts: no rule is set, and they are not all "
            "numbers. With data.verifier=exact, or a judge with a rule of your own, it plays on answers that agree "
            "with them"
        )
    if facts.experts > 1 and given.get("warmup", {}) is not None:
        chosen["warmup"], reason = _warmup(facts.experts, given.get("warmup", {}))
        reasons.append(reason)
    if "objective" in given:
        reasons.append(f"auto plays '{config.objective.name}', which the configuration names")
    else:
        rule = _rule(facts, config)
        chosen |= rule.plays(facts)
        reasons.append(f"auto plays {rule.because}")
    reasons.append("auto keeps the policy that is best on the held-out prompts, the one before play included")
    if given.get("lora", _LORA) is None:
        chosen = _slower(chosen)
    elif "dtype" not in given.get("model", {}) and bf16_is_faster(config):
        chosen["model"] = {"dtype": "bfloat16"}
        reasons.append("auto computes in bf16, which this device multiplies faster; the adapter stays in fp32")
    return SelfPlayConfig.model_validate(_filled(chosen, given)), tuple(reasons)


def _warmup(experts: int, given: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The settings of a warm-up on a number of experts, completing the given ones, and the reason."""
    epochs = {**_WARMUP, **given.get("training", {})}["num_train_epochs"]
    until = given.get("until") or ("plateau" if experts >= _FEW else "end")
    if until == "plateau":
        reason = (
            f"auto warms up on the {experts} experts for {epochs:g} epochs at most, with some of them set apart, and "
            "takes the policy that finds these likeliest: later ones learn the others by heart"
        )
        return {"until": until, "patience": _WARMUP["num_train_epochs"], "training": _WARMUP}, reason
    few = ": they are too few to set some apart, by which to end earlier" if experts < _FEW else ""
    return {"training": _WARMUP}, f"auto warms up on the {experts} experts for {epochs:g} epochs{few}"


def _rule(facts: Facts, config: SelfPlayConfig) -> Rule:
    for rule in RULES:
        if rule.fits(facts):
            return rule
    raise InputError(
        "nothing says which response to a prompt is better: there is no expert's response, no verifier, no preference",
        where=config.data.title,
        fix="give some prompts a response, set data.verifier or a judge, or compare responses in the data",
    )


def _filled(chosen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings laid over the chosen ones: sections key by key, components as a whole."""
    filled = {**chosen, **given}
    for name in _SECTIONS:
        own, other = chosen.get(name), given.get(name)
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            filled[name] = _filled(own, other)
    return filled


def _slower(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every learning rate divided as for training all weights."""
    return {
        name: _slower(value) if name in _SECTIONS else value * _WHOLE if name == "learning_rate" else value
        for name, value in chosen.items()
    }
