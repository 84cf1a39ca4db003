"""The base of judges that load a model on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from sparring import models
from sparring.data import Clock, PromptTemplate
from sparring.data.jinja import reads_clock, unset_variables
from sparring.errors import InputError
from sparring.judges.protocol import JudgeSettings
from sparring.models.vocabulary import check_tokens
from sparring.registry import require_positive


@dataclass(frozen=True, kw_only=True)
class LocalModel(JudgeSettings):
    """The settings that all judges with a model of their own share.

    Attributes:
        model: A local folder or a Hugging Face id.
        revision: Branch, tag or commit of a Hugging Face id.
        max_tokens: The longest input that is read, if the model's context is not shorter.
        dtype: Number format of the weights: `float32`, `bfloat16`, `float16`, or `auto` as they were saved.
        device: `auto`, `cpu`, `cuda` or `mps`.
        template_options: Variables of the model's chat template; in a run, those of `data.template_options` that it
            reads are set too.
        time: The time that the chat template sees, in ISO 8601; None for the run's own, or the time of rendering.

    Raises:
        ValueError: `max_tokens` is not positive, or the dtype or device is unknown.
        InputError: `time` is no time in ISO 8601.
    """

    model: str
    revision: str | None = None
    max_tokens: int
    dtype: str = "float32"
    device: str = "auto"
    template_options: dict[str, Any] = field(default_factory=dict, hash=False)
    time: str | None = None

    needs_reference_answer: ClassVar[bool] = False
    may_cost_money: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("max_tokens", self.max_tokens, "it is a number of tokens")
        _ = self.source, self._clock

    @property
    def source(self) -> models.ModelConfig:
        """The settings by which the model is loaded."""
        given = {"name": self.model, "revision": self.revision, "dtype": self.dtype, "device": self.device}
        try:
            return models.ModelConfig.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            setting = first["loc"][0]
            option = "model" if setting == "name" else setting
            raise ValueError(f"{option}: {first['msg']}, got {first['input']!r}") from error

    def check(self) -> None:
        """Raises InputError where `model` is neither a folder with a model nor a Hugging Face id."""
        try:
            models.resolve(self.model)
        except InputError as error:
            raise InputError(error.problem, where="judge.model", fix=error.fix) from error

    def on_this_machine(self) -> Iterator[str]:
        """The digest of the model's folder; nothing for a Hugging Face id."""
        if Path(self.model).expanduser().is_dir():
            yield models.fingerprint(self.model)

    def in_run(self, options: Mapping[str, Any], clock: Clock | None) -> Self:
        """The settings with the run's variables and clock, as far as the model's chat template reads them."""
        text = PromptTemplate.choose(models.tokenizer_of(self.source), "auto").text
        if text is None:
            return self
        read = {name: options[name] for name in unset_variables(text) if name in options}
        time = self.time or (str(clock) if clock is not None and reads_clock(text) else None)
        return replace(self, template_options=read | self.template_options, time=time)

    def chat(self, tokenizer: Any) -> PromptTemplate:
        """The template that writes the model's prompts."""
        # What data and policies say is text, whatever tokens this model has.
        return PromptTemplate.choose(
            tokenizer, "auto", options=self.template_options, clock=self._clock, special_tokens="text"
        )

    @property
    def _clock(self) -> Clock | None:
        return None if self.time is None else Clock.read(self.time)

    def limit(self, model: Any, tokenizer: Any) -> int:
        """The longest input of the loaded model, in tokens."""
        return min(self.max_tokens, models.longest_input(model.config, tokenizer))


def check_known(model: Any, tokenizer: Any, ids: Iterable[int]) -> None:
    """Raises InputError where a judge's tokenizer writes tokens for which its model's embedding has no row."""
    try:
        check_tokens(model.config, tokenizer, ids)
    except InputError as error:
        fix = "take a judge whose tokenizer and embedding belong together"
        raise InputError(error.problem, where="judge.model", fix=fix) from error
