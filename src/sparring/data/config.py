"""Where the data come from and how they become tokens."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sparring.data.formats import FORMATS
from sparring.data.tasks import TASKS
from sparring.data.teacher import TeacherConfig
from sparring.data.verifiers import VERIFIERS
from sparring.errors import did_you_mean
from sparring.registry import require_one_of

_FOR_FILES_ONLY = ("split", "subset", "format", "columns", "held_out_source", "held_out_split", "skip_invalid")


class DataConfig(BaseModel):
    """The section `data` of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: str
    """A .jsonl, .json, .parquet or .csv file, a folder of them or one written by `save_to_disk`, a Hugging Face
    dataset name, or the built-in task `arithmetic`."""

    split: str = "train"
    """The split to train on; in a folder of files, the files whose names start with it."""

    subset: str | None = None
    """The configuration name of a Hugging Face dataset, for `source` only."""

    format: Literal[
        "auto",
        "prompt-response",
        "prompt-completion",
        "messages",
        "alpaca",
        "sharegpt",
        "preference",
        "comparison",
        "prompt-only",
    ] = "auto"
    """The shape of the rows; `auto` tells it from the column names."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Field name to the file's column name, e.g. `{prompt: question, response: answer}`."""

    limit: int | None = Field(default=None, ge=1)
    """Number of training examples, drawn with the seed; None takes all. `arithmetic` needs it."""

    held_out: int = Field(default=32, ge=0)
    """Number of examples set apart for evaluation; their prompts are never trained on. Where some rows have an expert
    response, they are drawn from those."""

    held_out_source: str | None = None
    """A separate source for the held-out examples, in the same format; None takes them from `source`."""

    held_out_split: str | None = None
    """The split that the held-out examples come from; None means `split`."""

    teacher: TeacherConfig | None = None
    """A language model that writes the expert's responses, in place of those in the source, if any."""

    difficulty: int = Field(default=1, ge=1, le=5)
    """Number of reasoning steps of an `arithmetic` problem."""

    verifier: str | None = None
    """The rule that tells right responses from wrong ones; for `arithmetic` it is `final-number` unless set. A teacher
    has none: nobody knows whether its responses are right."""

    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """Limit of a prompt, in tokens; None leaves only the model's context, less `max_response_tokens`."""

    max_response_tokens: int = Field(default=256, ge=1)
    """Limit of a response, in tokens, with its end token; generation has the same limit."""

    overlong_prompt: Literal["drop", "truncate-left", "error"] = "drop"
    """What happens to an example whose prompt is over the limit."""

    overlong_response: Literal["truncate", "drop", "error"] = "truncate"
    """What happens to an expert response over the limit; a truncated one has no end token, as it did not end."""

    chat_template: str = "auto"
    """`auto`: the tokenizer's own where it has one, else plain text; `none`: plain text; or a Jinja file."""

    skip_invalid: bool = False
    """Leave invalid rows out and list them, rather than stop at the first."""

    @model_validator(mode="before")
    @classmethod
    def _default_verifier(cls, values: Any) -> Any:
        unset = isinstance(values, dict) and values.get("verifier") is None and values.get("teacher") is None
        if unset and values.get("source") in list(TASKS):
            return {**values, "verifier": TASKS[values["source"]].verifier}
        return values

    @field_validator("source", "held_out_source")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError(f"must name a file, a folder, a dataset or a task ({', '.join(TASKS)}), got nothing")
        return value

    @field_validator("verifier")
    @classmethod
    def _known_verifier(cls, value: str | None) -> str | None:
        if value is not None:
            require_one_of("verifier", value, VERIFIERS)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_columns()
        if self.teacher is not None and self.verifier is not None:
            raise ValueError("verifier compares with right responses, and a teacher's need not be right; remove one")
        if self.source in TASKS:
            self._check_task()
        elif self.difficulty != 1:
            raise ValueError(f"difficulty is for built-in tasks ({', '.join(TASKS)}); remove it for '{self.source}'")
        if self.held_out_source in TASKS:
            raise ValueError(f"held_out_source cannot be the built-in task '{self.held_out_source}'; give a file")
        separate = self.held_out_source is not None or self.held_out_split is not None
        if separate and self.held_out == 0:
            raise ValueError("held_out is 0, so held_out_source and held_out_split have no use; remove them")
        if self.held_out_source is None and self.held_out_split == self.split:
            raise ValueError(f"held_out_split is the training split '{self.split}'; remove it to draw from that split")
        return self

    def _check_columns(self) -> None:
        formats = FORMATS.values() if self.format == "auto" else [FORMATS[self.format]]
        known = {field for item in formats for field in (*item.fields, *item.optional)}
        for field in self.columns:
            if field not in known:
                what = "no format" if self.format == "auto" else f"format '{self.format}' does not"
                verb = "has" if self.format == "auto" else "have"
                raise ValueError(f"columns: {what} {verb} a field '{field}'; {did_you_mean(field, known)}")

    def _check_task(self) -> None:
        defaults = type(self).model_fields
        for name in _FOR_FILES_ONLY:
            if getattr(self, name) != defaults[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} has no use for '{self.source}', which is generated; remove it")
        if self.limit is None:
            raise ValueError(f"'{self.source}' is generated, so it needs limit: the number of training examples")
