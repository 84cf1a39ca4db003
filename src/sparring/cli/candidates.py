"""The models that `MODEL|RUN` names on the command line: a model, the policies of a run, or one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring import models
from sparring.errors import InputError
from sparring.exports.named import BEST, NONE_BETTER, in_words, last_instead, policy_folder, weights_of
from sparring.links import refuse_links
from sparring.progress import console
from sparring.run_directory import RunDirectory
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.stage_directory import StageDirectory

if TYPE_CHECKING:
    from sparring.evaluation import LoadedModel

_STAGES = ("base", "warmup", "iterations", "control")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that a command works on.

    Attributes:
        name: Its name in tables.
        stage: Its folder; None if it is not a policy of a run.
        config: Reads the run's configuration; None if it is not a policy of a run.
        load: Loads it; the policies of a run share one model in memory, so use each before the next is loaded.
    """

    name: str
    stage: StageDirectory | None
    config: Callable[[], SelfPlayConfig] | None
    load: Callable[[], LoadedModel]


def candidate(text: str, *, trust_remote_code: bool) -> Candidate:
    """The single candidate of a text: a model, a policy such as `RUN/iterations/001`, or a run's best policy.

    The best policy's name is printed.

    Raises:
        InputError: The run has no such policy, or has not ended and so has no best one.
    """
    found = _find_run(Path(text))
    if found is None:
        return _model(text, trust_remote_code=trust_remote_code)
    directory, name = found
    # Done first, since it refuses a run with links, of which nothing is to be read.
    run = _RunCandidates(directory, trust_remote_code=trust_remote_code)
    policy = policy_folder(directory, name or BEST)
    chosen = run.candidate(policy, text)
    if not name:
        last = last_instead(directory, policy)
        better = f": {NONE_BETTER}; {directory.path / last} is the last iteration" if last else ""
        console.print(f"{text}: its best policy, {in_words(policy)}{better}")
    return chosen


def candidates(text: str, *, trust_remote_code: bool) -> list[Candidate]:
    """All candidates of a text: for a run, the base model and every policy that it has trained so far.

    Raises:
        InputError: The run has no such policy.
    """
    found = _find_run(Path(text))
    if found is None or found[1]:
        return [candidate(text, trust_remote_code=trust_remote_code)]
    directory, run = found[0], _RunCandidates(found[0], trust_remote_code=trust_remote_code)
    removed = directory.removed("model")
    if removed:
        console.print(f"the weights of {', '.join(removed)} were removed (keep.models)")
    names = [directory.name_of(stage) for stage in directory.stages()]
    return [run.candidate(name, name) for name in names]


def results_folder(candidate: Candidate, output: Path | None) -> Path | None:
    """The folder for results: a policy's in its run, a model's in `output`; None for a model without `output`.

    Raises:
        InputError: `output` was given for a policy, there is no such model, or something in its folder is a link.
    """
    if candidate.stage is not None:
        if output is not None:
            raise InputError("a run keeps its own results", where="--output", fix="leave it out")
        return candidate.stage.benchmarks
    if output is None:
        return None
    folder = output / f"{Path(candidate.name).name}-{models.fingerprint(candidate.name)[:8]}"
    refuse_links(folder)
    return folder


def _find_run(path: Path) -> tuple[RunDirectory, str] | None:
    """The run that holds a path, and the policy that the path names; "" for the run itself."""
    for folder in (path, *path.parents[:2]):
        inside = path.relative_to(folder).parts
        directory = RunDirectory(folder)
        if (not inside or inside[0] in _STAGES) and directory.config.exists():
            return directory, "/".join(inside)
    return None


def _model(name: str, *, trust_remote_code: bool) -> Candidate:
    def load() -> LoadedModel:
        from sparring.data import PromptTemplate
        from sparring.evaluation import LoadedModel

        config = models.ModelConfig(name=name, trust_remote_code=trust_remote_code)
        tokenizer = models.load_tokenizer(config)
        template = PromptTemplate.choose(tokenizer, "auto")
        return LoadedModel(model=models.load_model(config), tokenizer=tokenizer, template=template)

    return Candidate(name=name, stage=None, config=None, load=load)


class _RunCandidates:
    """The policies of a run, which share one model in memory."""

    def __init__(self, directory: RunDirectory, *, trust_remote_code: bool) -> None:
        directory.require()
        self._directory, self._trust_remote_code = directory, trust_remote_code
        self._loaded: tuple[Any, Any] | None = None

    def candidate(self, policy: str, shown: str) -> Candidate:
        weights_of(self._directory, policy)
        stage = StageDirectory(self._directory.path / policy)
        return Candidate(
            name=shown,
            stage=stage,
            config=lambda: SelfPlayConfig.of_run(self._directory.config),
            load=lambda: self._load(policy),
        )

    def _load(self, policy: str) -> LoadedModel:
        from sparring.evaluation import LoadedModel
        from sparring.exports.policy import load_policy
        from sparring.selfplay.manifest import run_clock

        if self._loaded is None:
            self._loaded = load_policy(self._directory.path, policy, trust_remote_code=self._trust_remote_code)
        config, model = self._loaded
        model.activate(weights_of(self._directory, policy))
        template = config.data.template(model.tokenizer, run_clock(self._directory))
        return LoadedModel(model=model.causal_lm, tokenizer=model.tokenizer, template=template)
