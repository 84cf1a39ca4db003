"""Is every family of the installed transformers scored and sampled as its own forward pass says, or refused in words?

    python benchmarks/families_table.py [FAMILY …] [--markdown FILE]

Each family is built tiny (see tiny_families.py). Log-probs of responses of mixed lengths, and the gradient of a
weighted sum of them, are compared with the model's own forward pass on each sequence alone, on a copy that sparring has
not seen. Greedy samples of prompts of mixed lengths, two of each in one batch, are compared with greedy decoding of
each prompt alone without a cache. Exit code 1 where anything is wrong and nothing was said.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from measuring import versions
from sparring.errors import InputError
from sparring.examples import EncodedExample
from sparring.generation import generation_config
from sparring.generation.transformers import TransformersGenerator
from sparring.logprobs import layout_of, sequence_log_probs
from sparring.logprobs.decoder import own_logits
from tiny_families import FAMILIES, build

_PAGE = """# Model families

Every family of causal language models in the installed transformers, built tiny with random weights, and compared with
its own forward pass on each sequence alone: `python benchmarks/families_table.py --markdown docs/families.md`. Before
it plays, a run makes the same proofs on the model that it was given; see [Log-probs](logprobs.md#which-models) and
[Generators](generators.md#which-prompts-make-a-batch).

- **rows**: how log-probs are computed: `packed`, in `padded` batches, a `single` row at a time, or by the `whole`
  forward pass on a row, since something comes between the hidden states and the head.
- **values**: the largest error of a response's log-prob, fp32, of seven responses of 1 to 12 tokens, which have up to
  about 90 nats.
- **gradients**: the largest error of a weight's gradient, as a share of the norm of the whole gradient.
- **sampled**: in left-padded batches, in batches of prompts of `equal lengths`, or `one by one`; keys and values are
  kept row by row, unless `by batch` says that the family keeps what no prompt can join, or `no cache` that what it
  keeps gives other probabilities than reading the text again.
- **greedy**: whether ten greedy tokens of four prompts of different lengths, two samples of each in one batch, are
  those of each prompt alone without a cache.

"""

# Nats, and as a share of the whole gradient.
TOLERANCE = 1e-3
# Greedy decoding may choose either of two tokens that are as likely to within this many nats.
TIE = 1e-3
STOP, TOKENS = 2, 10
PROMPTS = ([1, 5, 9, 14, 3], [7], [1, 30, 31, 32, 33, 34, 35, 36], [4, 4])
# The ids of padding (0) and of the end (2) occur within responses.
RESPONSES = (
    [[6, 7, 8, 2], [11], [50, 2, 51, 0, 0, 52, 2]],
    [[12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 2]],
    [[96, 2], [40, 41, 42, 43]],
    [[9, 9, 2]],
)


@dataclass(frozen=True)
class Row:
    """What became of a family.

    Attributes:
        family: Its model type.
        layout: In which rows it is scored.
        values: Largest error of a response's log-prob, nats.
        gradients: Largest error of a weight's gradient, as a share of the norm of the whole gradient; None where the
            model itself has none of these sequences.
        path: How it is sampled.
        greedy: Whether greedy samples in a batch are those of each prompt alone.
        words: What was said instead, where it is refused or could not be built.
    """

    family: str
    layout: str = ""
    values: float = 0.0
    gradients: float | None = 0.0
    path: str = ""
    greedy: bool | None = None
    words: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something is wrong that nobody was told."""
        errors = (self.values, self.gradients or 0.0)
        return bool(self.layout) and (not all(error <= TOLERANCE for error in errors) or self.greedy is False)

    def markdown(self) -> str:
        """A line of the table."""
        if not self.layout:
            return f"| `{self.family}` | {_cell(self.words)} | | | | |"
        greedy = {True: "yes", False: "**no**", None: ""}[self.greedy]
        gradients = "none" if self.gradients is None else f"{self.gradients:.0e}"
        path = self.path or _cell(self.words)
        return f"| `{self.family}` | {self.layout} | {self.values:.0e} | {gradients} | {path} | {greedy} |"


class _Ids:
    """No tokenizer is needed to compare token ids."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return str(ids)


def measure(family: str) -> Row:
    """A family against its own forward pass."""
    try:
        model = build(family)
    except Exception as error:  # noqa: BLE001 - whatever a configuration of theirs raises
        return Row(family, words=f"not built: {_first_line(error)}")
    own: Tensor | None
    try:
        own, own_gradient = _log_probs_and_gradient(model, _own)
        alone = [_greedy(model, prompt) for prompt in PROMPTS]
    except Exception:  # noqa: BLE001 - it is compared with nothing then, and must be refused
        own, own_gradient, alone = None, None, []
    judged = copy.deepcopy(model)
    try:
        layout = layout_of(judged).rows
    except InputError as error:
        return Row(family, words=_refusal(error))
    if own is None:
        return Row(family, layout=layout, values=float("nan"), words="its own forward pass fails")
    ours, gradient = _log_probs_and_gradient(
        judged, lambda each: torch.cat(sequence_log_probs(each, PROMPTS, RESPONSES))
    )
    values = float((ours - own).abs().max())
    off = None if own_gradient is None or gradient is None else _off(gradient, own_gradient)
    try:
        path, greedy = _sampled(judged, alone)
    except InputError as error:
        return Row(family, layout, values, off, words=_refusal(error))
    return Row(family, layout, values, off, path, greedy)


def _own(model: Any) -> Tensor:
    sums = []
    for prompt, answers in zip(PROMPTS, RESPONSES, strict=True):
        for answer in answers:
            log_probs = own_logits(model, [*prompt, *answer], torch.device("cpu")).log_softmax(-1)
            sums.append(torch.stack([log_probs[len(prompt) - 1 + n, token] for n, token in enumerate(answer)]).sum())
    return torch.stack(sums)


def _log_probs_and_gradient(model: Any, score: Any) -> tuple[Tensor, dict[str, Tensor] | None]:
    with torch.no_grad():
        values = score(model)
    try:
        # A scalar whose gradient tells every sequence apart.
        (score(model) * torch.linspace(-1.0, 2.0, len(values))).sum().backward()
    except AssertionError:
        # Reformer has a gradient in training mode alone, and there of rows of certain lengths.
        return values, None
    gradient = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return values.detach(), gradient


def _off(ours: dict[str, Tensor], own: dict[str, Tensor]) -> float:
    whole = torch.stack([value.norm() for value in own.values()]).norm()
    nothing = torch.zeros(())
    names = ours.keys() | own.keys()
    return max(float((ours.get(name, nothing) - own.get(name, nothing)).norm() / whole) for name in names)


@torch.no_grad()
def _greedy(model: Any, prompt: list[int]) -> list[tuple[int, Tensor]]:
    """Each token with the log-probs that it was the largest of."""
    ids, found = list(prompt), list[tuple[int, Tensor]]()
    while len(found) < TOKENS and (not found or ids[-1] != STOP):
        log_probs = own_logits(model, ids, torch.device("cpu"))[-1].log_softmax(-1)
        ids.append(int(log_probs.argmax()))
        found.append((ids[-1], log_probs))
    return found


def _sampled(model: Any, alone: list[list[tuple[int, Tensor]]]) -> tuple[str, bool]:
    rows = [
        EncodedExample(index=number, prompt_ids=list(ids), expert_ids=[5], prompt="", response="")
        for number, ids in enumerate(PROMPTS)
    ]
    config = generation_config(top_k=1, batch_size=8).model_copy(update={"samples_per_prompt": 2})
    sampler = TransformersGenerator(config, model=model, tokenizer=_Ids(), stop_ids=(STOP,), max_new_tokens=TOKENS)
    samples = sampler.sample(rows, seed=0)
    same = all(_agrees(sample.response_ids, alone[sample.index]) for sample in samples)
    way = sampler.decoding()
    words = {"mixed": "batched", "equal": "equal lengths", "single": "one by one"}[way.lengths]
    kept = {"rows": "", "batch": "" if way.lengths == "single" else ", by batch", "nothing": ", no cache"}[way.keeps]
    return words + kept, same


def _agrees(sampled: list[int], alone: list[tuple[int, Tensor]]) -> bool:
    for token, (best, log_probs) in zip(sampled, alone, strict=False):
        if token != best:
            # What follows a tie is another text.
            return bool(log_probs[best] - log_probs[token] < TIE)
    return len(sampled) == len(alone)


def _refusal(error: InputError) -> str:
    return f"refused: {error.problem.partition(': ')[2]}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _first_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


def markdown(rows: list[Row]) -> str:
    """The table, and what it counts."""
    built = [row for row in rows if not row.words.startswith("not built")]
    counts: dict[str, int] = {}
    for row in built:
        counts[row.layout or "refused"] = counts.get(row.layout or "refused", 0) + 1
    told = ", ".join(f"{count} {layout}" for layout, count in sorted(counts.items(), key=lambda item: -item[1]))
    found = versions()
    lines = [
        f"{len(built)} families ({told}) on torch {found['torch']}, transformers {found['transformers']}; "
        f"{sum(row.wrong for row in built)} wrong without a word.",
        "",
        "| family | rows | values, nats | gradients | sampled | greedy: batch = alone |",
        "|---|---|---|---|---|---|",
        *(row.markdown() for row in sorted(rows, key=lambda row: row.words.startswith("not built"))),
    ]
    return _PAGE + "\n".join(lines) + "\n"


def main() -> int:
    """Prints the table, and writes it where it is told to."""
    parser = argparse.ArgumentParser(description="Every family against its own forward pass.")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="model types; all of them when absent")
    parser.add_argument("--markdown", type=Path, help="where the table goes")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity(logging.CRITICAL)
    logging.getLogger("sparring").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for family in arguments.families or FAMILIES:
        rows.append(measure(family))
        print(rows[-1].markdown(), flush=True)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(rows), encoding="utf-8")
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
