"""The section `data`: the sources of the data, and the way in which they become tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from sparring.data.clock import Clock
from sparring.data.formats import FORMATS, MESSAGE_KEYS
from sparring.data.tasks import TASKS
from sparring.data.teacher import TeacherConfig
from sparring.data.template import PromptTemplate, SpecialTokensSetting
from sparring.data.verifiers import VERIFIERS
from sparring.errors import did_you_mean
from sparring.own_code import is_own
from sparring.registry import require_one_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OF_A_SOURCE = ("split", "subset", "format", "columns")
_FOR_FILES_ONLY = (*_OF_A_SOURCE, "roles", "ignore", "held_out_source", "held_out_split", "skip_invalid")
# Names that transformers uses for variables of every template, or for arguments of its own.
_NOT_OPTIONS = (
    *("messages", "conversation", "tools", "documents", "add_generation_prompt", "continue_final_message"),
    *("chat_template", "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
    *("return_assistant_tokens_mask", "tokenizer_kwargs", "strftime_now", "raise_exception"),
    *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"),
)

FormatName = Literal[
    "auto",
    "prompt-response",
    "prompt-completion",
    "messages",
    "alpaca",
    "sharegpt",
    "preference",
    "comparison",
    "prompt-only",
]

MEANT = {
    **dict.fromkeys(("dataset", "dataset_name", "path", "file"), "source"),
    "dataset_config": "subset",
    "dataset_train_split": "split",
    "dataset_test_split": "held_out_split",
    "max_prompt_length": "max_prompt_tokens",
    "truncation_mode": "overlong_prompt",
    "chat_template_path": "chat_template",
    **dict.fromkeys(("max_completion_length", "max_new_tokens", "max_tokens"), "max_response_tokens"),
}
"""Fields, by the names that people write for them."""


class SourceConfig(BaseModel):
    """One of several sources of the training examples."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: str = Field(min_length=1)
    """As `DataConfig.source`, but no built-in task."""

    weight: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    """Its share of the training and held-out examples, relative to the other sources' weights."""

    split: str = "train"
    """As `DataConfig.split`."""

    subset: str | None = None
    """As `DataConfig.subset`."""

    format: FormatName = "auto"
    """As `DataConfig.format`."""

    columns: dict[str, str] = Field(default_factory=dict)
    """As `DataConfig.columns`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source in TASKS:
            raise ValueError(f"the built-in task '{self.source}' cannot be one of several sources; write it to a file")
        check_columns(self.columns, self.format)
        return self


class DataConfig(BaseModel):
    """The section `data` of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: str | None = None
    """A .jsonl, .ndjson, .json, .parquet, .csv or .tsv file, a folder of them or one written by `save_to_disk`, a
    Hugging Face dataset name, or the built-in task `arithmetic`."""

    sources: tuple[SourceConfig, ...] = ()
    """Several sources in place of one, mixed by their weights. No row is taken twice: without a `limit` the mixture
    ends where the first source is used up."""

    split: str = "train"
    """The split to train on; in a folder of files, the files whose names start with it."""

    subset: str | None = None
    """The configuration name of a Hugging Face dataset, for `source` only."""

    format: FormatName = "auto"
    """The format of the rows; `auto` finds it by the names of the columns."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Field name to the file's column name, e.g. `{prompt: question, response: answer}`; `role` and `content` are the
    keys of a message."""

    roles: dict[str, Literal["system", "user", "assistant"]] = Field(default_factory=dict)
    """The file's names of roles, where they are not the usual ones, e.g. `{customer: user, agent: assistant}`."""

    ignore: tuple[str, ...] = ()
    """Columns, and keys of messages, whose content may be left out. A row with tools, images, a thought or the like,
    which the model would not see, is wrong unless they are named here; other columns that are not read are listed."""

    limit: int | None = Field(default=None, ge=1)
    """Number of training examples, drawn with the seed; None takes all. `arithmetic` needs it. If `held_out` is not set
    and there are not enough rows for both, the held-out examples are taken from these."""

    held_out: int | None = Field(default=None, ge=0)
    """Number of examples set apart for evaluation; None takes a fifth of the prompts, at most 32 (a built-in task makes
    32 more). No row is trained on whose prompt equals a held-out one up to white space, case and Unicode form. Where
    some rows have an expert's response, they are drawn from these rows; with a `verifier`, a fifth of these rows, and
    the rest from rows that have the right answer alone, as long as there are such."""

    held_out_source: str | None = None
    """A separate source for the held-out examples, in the same format; None takes them from `source`. It may lack every
    mapped column but the prompt's."""

    held_out_split: str | None = None
    """The split that the held-out examples come from; None means `split`."""

    experts: int | None = Field(default=None, ge=0)
    """Number of training examples that keep their expert's response, drawn with the seed; None keeps all. In the others
    it is used only to verify answers, where they have no ground truth."""

    teacher: TeacherConfig | None = None
    """A language model that writes the expert's responses, in place of those in the source, if any."""

    difficulty: int = Field(default=1, ge=1, le=5)
    """Number of reasoning steps of an `arithmetic` problem."""

    verifier: str | None = None
    """The rule that tells right responses from wrong ones; for `arithmetic` it is `final-number` unless set. With a
    teacher there can be none, since nobody knows whether its responses are right."""

    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """Limit of a prompt, in tokens; None leaves only the model's context, less `max_response_tokens`."""

    max_response_tokens: int = Field(default=256, ge=1)
    """Limit of a response, in tokens, with its end token; generation has the same limit."""

    overlong_prompt: Literal["drop", "truncate-left", "error"] = "drop"
    """The treatment of an example whose prompt is over the limit."""

    overlong_response: Literal["truncate", "drop", "error"] = "truncate"
    """The treatment of an expert's response over the limit; a truncated one has no end token."""

    chat_template: str = "auto"
    """`auto`: the tokenizer's own where it has one, else plain text; `none`: plain text; or a Jinja file."""

    template_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables of the chat template, e.g. `{enable_thinking: false}`; the same wherever prompts are written."""

    special_tokens: SpecialTokensSetting = "auto"
    """How the text of a special token in the data, such as `<|im_start|>`, is tokenized: `text`, as its characters, so
    that no row can forge a turn; `tokens`, as the token itself. `auto` is `tokens` in a prompt without a chat template,
    since its turns may be written by hand, and `text` everywhere else."""

    prompts_per_iteration: int | None = Field(default=None, ge=1)
    """Number of training prompts that each iteration is played on; the next iteration takes other ones until all were
    used. None plays every iteration on all of them."""

    skip_invalid: bool = False
    """Whether to leave out invalid rows and list them, rather than stop at the first."""

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
        if value is not None and is_own(value):
            judge = f"write judge (or evaluation.judge): {{name: verifier, rule: {value}}}"
            known = f"what can stand here: {', '.join(VERIFIERS)}"
            raise ValueError(f"a function of your own is a judge's rule and no verifier of the data: {judge}; {known}")
        if value is not None:
            require_one_of("verifier", value, VERIFIERS)
        return value

    @field_validator("template_options")
    @classmethod
    def _free_variables(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in value:
            if name in _NOT_OPTIONS:
                raise ValueError(f"'{name}' is given to the template by whoever renders it, and cannot be set here")
            if not name.isidentifier():
                raise ValueError(f"'{name}' is not the name of a variable")
        return value

    @property
    def parts(self) -> tuple[SourceConfig, ...]:
        """The sources: `sources`, or the single one."""
        if self.source is None:
            return self.sources
        return (SourceConfig.model_validate({"source": self.source} | {n: getattr(self, n) for n in _OF_A_SOURCE}),)

    def template(
        self,
        tokenizer: PreTrainedTokenizerBase,
        clock: Clock | None = None,
        *,
        end_ids: frozenset[int] = frozenset(),
    ) -> PromptTemplate:
        """The template that writes the prompts.

        Args:
            tokenizer: The model's tokenizer.
            clock: The time that the chat template sees; None for the time of rendering.
            end_ids: As `PromptTemplate.end_ids`.

        Raises:
            InputError: The template's file is missing or is no text.
        """
        return PromptTemplate.choose(
            tokenizer,
            self.chat_template,
            options=self.template_options,
            clock=clock,
            special_tokens=self.special_tokens,
            end_ids=end_ids,
        )

    @property
    def title(self) -> str:
        """The data's name in messages: the names of the sources."""
        return ", ".join(part.source for part in self.sources) if self.source is None else self.source

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_sources()
        check_columns(self.columns, self.format)
        if self.teacher is not None and self.verifier is not None:
            raise ValueError("verifier compares with right responses, and a teacher's need not be right; remove one")
        if self.teacher is not None and self.experts is not None:
            raise ValueError("experts leaves out responses of the data, and a teacher writes them all; remove one")
        if self.source in TASKS:
            self._check_task()
        elif self.difficulty != 1:
            raise ValueError(f"difficulty is for built-in tasks ({', '.join(TASKS)}); remove it for '{self.title}'")
        if self.held_out_source in TASKS:
            raise ValueError(f"held_out_source cannot be the built-in task '{self.held_out_source}'; give a file")
        separate = self.held_out_source is not None or self.held_out_split is not None
        if separate and self.held_out == 0:
            raise ValueError("held_out is 0, so held_out_source and held_out_split have no use; remove them")
        if self.held_out_source is None and self.held_out_split == self.split:
            raise ValueError(f"held_out_split is the training split '{self.split}'; remove it to draw from that split")
        return self

    def _check_sources(self) -> None:
        if (self.source is None) == (not self.sources):
            which = "neither" if self.source is None else "both"
            raise ValueError(f"one of source and sources must be given, got {which}")
        if self.source is None:
            for name in (*_OF_A_SOURCE[:2], "held_out_split"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is said of one source; set split and subset in sources, or remove it")

    def _check_task(self) -> None:
        defaults = type(self).model_fields
        for name in _FOR_FILES_ONLY:
            if getattr(self, name) != defaults[name].get_default(call_default_factory=True):
                raise ValueError(f"{name} has no use for '{self.source}', which is generated; remove it")
        if self.limit is None:
            raise ValueError(f"'{self.source}' is generated, so it needs limit: the number of training examples")


def check_columns(columns: Mapping[str, str], name: str) -> None:
    """Checks that a mapping names existing fields.

    Raises:
        ValueError: No format has such a field, or the chosen one has not.
    """
    formats = FORMATS.values() if name == "auto" else [FORMATS[name]]
    known = {field for item in formats for field in item.known} | MESSAGE_KEYS
    for field in columns:
        if field not in known:
            what = "no format" if name == "auto" else f"format '{name}' does not"
            verb = "has" if name == "auto" else "have"
            raise ValueError(f"columns: {what} {verb} a field '{field}'; {did_you_mean(field, known)}")
