"""Prompts with their known answers, from a file, a Hugging Face dataset or a built-in task to token ids.

    dataset = load(config, seed)                                     # reads, checks, splits: text only
    encoded = encode(dataset.train, tokenizer, config, context_length=2048)      # the chat template, once

Where things are, and where new ones go:

- a shape of rows: a parser and one line in `FORMATS` (formats.py), and its name in `DataConfig.format`. A parser
  takes a `Record` (records.py), reads it through `record.text`, `record.turns` and `record.items`, and raises
  `record.error` where it is wrong, so every message names file, row, field and fix.
- a kind of file: a function that yields rows, and one line in `READERS` (sources.py). A row that can't be read is
  yielded as its `InputError`, so that `skip_invalid` may go on without it.
- a built-in task: a module like arithmetic.py and one line in `TASKS` (tasks.py).
- a language model as the expert: nothing to write, see teacher.py.
- a verifier: a frozen dataclass and one line in `VERIFIERS` (verifiers.py).

The tests that run over each of these dicts are in tests/data/: add a row there too.
"""

from sparring.data.clock import Clock
from sparring.data.config import DataConfig, SourceConfig
from sparring.data.dataset import DataReport, Dataset, check_rows, load
from sparring.data.demonstration import DEMONSTRATION, PROMPT, check_demonstrations, demonstration_prompts
from sparring.data.encoding import Encoded, encode
from sparring.data.findings import Observation
from sparring.data.formats import FORMATS
from sparring.data.prompts import Conversation, encode_prompts, load_prompts, read_prompts
from sparring.data.rotation import prompts_of_iteration
from sparring.data.rows import CALLED
from sparring.data.tasks import TASKS
from sparring.data.teacher import TeacherConfig, teacher_prompts
from sparring.data.template import PromptTemplate, chat_template
from sparring.data.verifiers import VERIFIERS, Verifier, is_right

__all__ = [
    "CALLED",
    "DEMONSTRATION",
    "FORMATS",
    "PROMPT",
    "TASKS",
    "VERIFIERS",
    "Clock",
    "Conversation",
    "DataConfig",
    "DataReport",
    "Dataset",
    "Encoded",
    "Observation",
    "PromptTemplate",
    "SourceConfig",
    "TeacherConfig",
    "Verifier",
    "chat_template",
    "check_demonstrations",
    "check_rows",
    "demonstration_prompts",
    "encode",
    "encode_prompts",
    "is_right",
    "load",
    "load_prompts",
    "prompts_of_iteration",
    "read_prompts",
    "teacher_prompts",
]
