"""The model card of an exported policy: what it is, how it was trained, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from sparring.exports.adapter import AdapterBase
from sparring.files import public_name
from sparring.models.origin import Origin
from sparring.reports.settings import sources_of
from sparring.reports.summary import PolicyRow, Summary

_TEMPLATE = """---
{{ card_data }}
---

# {{ name }}

{{ base }}, {{ after }} with [sparring](https://sparring.readthedocs.io): {{ which }}

## License

{{ terms }}

## How it was trained

{% for what, how in facts %}- {{ what }}: {{ how }}
{% endfor %}
```yaml
{{ settings }}```

{{ listed }}. This is not the whole configuration: paths, addresses and accounts, the templates of a judge and a
scorer, and how the data were read are not here.
{% if trained_before %}
{{ trained_before }}
{% endif %}
## Evaluation

{{ table }}

## Limits

{% for limit in limits %}- {{ limit }}
{% endfor %}
## Use

```python
{% if adapter -%}
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{{ name }}")
base = AutoModelForCausalLM.from_pretrained("{{ adapter.name }}", dtype=torch.{{ adapter.dtype }})
model = PeftModel.from_pretrained(base, "{{ name }}")
{%- else -%}
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{{ name }}")
model = AutoModelForCausalLM.from_pretrained("{{ name }}")
{%- endif %}
{% if chat -%}
messages = [{"role": "user", "content": "…"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
{%- else -%}
inputs = tokenizer("…", return_tensors="pt")
{%- endif %}
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=256{{ ends }})[0]))
```
"""

NOT_MEASURED = "was not measured: the run had not got so far"
"""The remark on a policy that has no row in the table."""
_OF_PLAY = (
    "Objectives, regularizers, opponents and judges are listed with their defaults, those that are Python code of the "
    "run's own without; of the fields of training and LoRA only those that were set"
)
_OF_FINE_TUNING = "Of the fields of training and LoRA those are listed that were set"
_PREFERENCES = (
    "Preference accuracy is the share of pairs of the held-out data in which the policy, more than the base model "
    "does, prefers the response that the data prefer, and the margin is by how much, in nats; a policy that was "
    "trained on its own samples has not seen such pairs."
)
_PLAIN = (
    "It was trained on plain prompts, which no chat template wrote. A server that is asked for a chat writes it by the "
    "tokenizer's template, if there is one, which this training did not see."
)


def model_card(
    summary: Summary,
    policy: str,
    *,
    name: str,
    base: Origin,
    settings: Mapping[str, Any],
    supervised: bool,
    chat: bool,
    shipped: Mapping[str, object],
    merged: str = "",
    adapter: AdapterBase | None = None,
) -> str:
    """The README.md of an exported policy.

    Args:
        summary: The run.
        policy: The policy's folder in it, e.g. "iterations/001".
        name: The name of the exported model.
        base: The origin of the base model, whose licence is carried over.
        settings: The settings that decided its training, by section of the configuration.
        supervised: Whether nothing but supervised fine-tuning trained it.
        chat: Whether a chat template writes its prompts; if not, they are plain text.
        shipped: The sampling settings that the base model came with, which the exported one keeps.
        merged: The facts of the merge, if it had an adapter.
        adapter: The base model that an adapter needs, if only the adapter is exported.
    """
    kinds = [*([] if adapter is None else ["lora"]), *([] if supervised else ["self-play"])]
    card = ModelCard.from_template(
        _metadata(base, tags=["sparring", *kinds, *_objectives(settings)], is_adapter=adapter is not None),
        template_str=_TEMPLATE,
        name=name,
        base=base.name,
        after=_after(policy, supervised=supervised),
        which=_which(policy),
        listed=_OF_PLAY if _objectives(settings) else _OF_FINE_TUNING,
        terms=_terms(base),
        trained_before=base.trained,
        facts=list(_facts(summary, policy, base)),
        chat=chat,
        settings=yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True),
        table=_table(summary, policy),
        adapter=adapter,
        ends=f", eos_token_id={list(adapter.stop_ids)}" if adapter is not None and adapter.stop_ids else "",
        limits=[
            *([merged] if merged else []),
            *_of_adapter(adapter, base),
            *_elsewhere(shipped, chat=chat),
            *_limits(summary, policy, base),
        ],
    )
    return str(card)


def _metadata(base: Origin, *, tags: list[str], is_adapter: bool) -> ModelCardData:
    """The head of the card, which the Hugging Face hub reads."""
    return ModelCardData(
        base_model=base.hub_id or base.made_from,
        **({"license": "unknown"} | base.license),
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=tags,
    )


def _of_adapter(adapter: AdapterBase | None, base: Origin) -> Iterator[str]:
    if adapter is None:
        return
    yield str(adapter)
    if base.hub_id != adapter.name:
        yield (
            f"{adapter.name} is no model of the Hugging Face hub: `sparring export RUN FOLDER --policy base` writes it "
            "from the run that trained the adapter."
        )


def _elsewhere(shipped: Mapping[str, object], *, chat: bool) -> Iterator[str]:
    """Warnings on defaults by which other programs may sample differently than it was trained."""
    if not chat:
        yield _PLAIN
    if shipped:
        named = ", ".join(f"{name}: {value}" for name, value in shipped.items())
        yield (
            f"The base model came with settings of its own ({named}), which `generate` and servers follow unless they "
            "are told otherwise. Training and evaluation did not use them."
        )


def _objectives(settings: Mapping[str, Any]) -> list[str]:
    """The names of the objectives that trained it, each once."""
    parts = [part["objective"]["name"] for part in settings.get("phases", [settings]) if "objective" in part]
    return [*dict.fromkeys(parts)]


def _after(policy: str, *, supervised: bool) -> str:
    if policy == "base":
        return "as it came, exported"
    return "after supervised fine-tuning alone," if supervised else "after self-play"


def _which(policy: str) -> str:
    if policy == "base":
        return "this is the base model itself, which no training improved."
    if policy == "warmup":
        return "this is the policy after the warm-up (`warmup` of its run); no self-play trained it."
    if policy.startswith("control"):
        return f"this is a policy of more supervised fine-tuning, with which self-play was compared (`{policy}`)."
    return f"this is the policy after iteration {int(Path(policy).name)}, counted from 0 (`{policy}` of its run)."


def _terms(base: Origin) -> str:
    if not base.license:
        return (
            f"**Not known**: no card of the base model, {base.name}, that names a license was found. Find it out "
            "before you pass this model on."
        )
    terms = base.license.get("license_name") or base.license.get("license")
    link = f" ({base.license['license_link']})" if "license_link" in base.license else ""
    return (
        f"The base model, {base.name}, is under {terms}{link}. This model is made from it, so its terms hold here too. "
        "The training data may bring terms of their own."
    )


def _facts(summary: Summary, policy: str, base: Origin) -> Iterator[tuple[str, str]]:
    data, sources = summary.manifest["data"], " and ".join(map(public_name, sources_of(summary.config)))
    yield "base model", base.name if base.hub_id is None else f"[{base.name}](https://huggingface.co/{base.hub_id})"
    yield "data", f"{sources}: {data['train']['examples']} training examples, {data['held_out']['examples']} held out"
    if policy == "warmup" and "warmup" in data:
        taught, apart = (data["warmup"][side] for side in ("trained", "validation"))
        until = f"; {apart} more were set apart to tell when to end" if apart else ""
        yield "trained on", f"the expert's responses of {taught} of them{until}"
    if teacher := summary.config["data"]["teacher"]:
        yield "expert responses", _teacher(teacher, base)
    yield "seed", str(summary.manifest["seed"])
    yield "versions", ", ".join(f"{package} {version}" for package, version in summary.manifest["versions"].items())


def _teacher(teacher: Mapping[str, Any], base: Origin) -> str:
    who = f"the base model, {base.name}," if teacher["model"] is None else public_name(teacher["model"])
    asked = "" if teacher["system"] is None else ", under a system turn of its own"
    terms = "" if teacher["model"] is None else "; that model's terms may hold for what is trained on them"
    return f"written by {who} at temperature {teacher['temperature']:g}{asked}, not by people{terms}"


def _table(summary: Summary, policy: str) -> str:
    """The table of estimates in Markdown, the exported policy in bold."""
    if not summary.columns:
        return "Nothing was held out, so nothing was measured."
    lines = [
        ["policy", *(heading for _, heading, _ in summary.columns)],
        ["---", *("---:" for _ in summary.columns)],
        *(_cells(summary, row, bold=row.path == policy) for row in summary.rows),
    ]
    shared = f" {_PREFERENCES}" if any(key.startswith("preference/") for key, _, _ in summary.columns) else ""
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    measured = any(row.path == policy for row in summary.rows)
    which = "The model of this card is in bold." if measured else f"The model of this card {NOT_MEASURED}."
    ties = f" {summary.ties}" if summary.ties else ""
    return (
        f"{table}\n\nOver {summary.prompts} held-out prompts: brackets hold the 95 % interval of a rate (Wilson), ± is "
        f"the standard error. KL and log-likelihood are in nats.{ties}{shared} {which}"
    )


def _cells(summary: Summary, row: PolicyRow, *, bold: bool) -> list[str]:
    cells = [row.name, *(row.cell(key, digits) for key, _, digits in summary.columns)]
    return [f"**{cell}**" for cell in cells] if bold else cells


def _limits(summary: Summary, policy: str, base: Origin) -> Iterator[str]:
    result = summary.result
    if summary.columns:
        yield (
            f"The numbers are over {summary.prompts} prompts from the source of the training data. They say nothing of "
            "other tasks, other languages or other ways to ask."
        )
    if result is not None and result["metric"] is not None and result["best"] == policy:
        yield (
            f"This policy was chosen among {len(summary.rows)} by {result['metric']} on these very prompts, so that "
            "number is a little too good."
        )
    if result is None:
        yield "The run had not ended."
    elif result["stopped_early"] and policy.startswith("iterations/"):
        yield f"The run was stopped early: {result['reason']}."
    cut = summary.manifest["data"]["train"]["truncated_responses"]
    if cut:
        yield f"{cut} responses of the data were cut at {summary.config['data']['max_response_tokens']} tokens."
    if base.note:
        yield base.note
    yield (
        "Safety, bias and truthfulness were not evaluated. Training imitates its data, mistakes included, and what "
        "holds for the base model is to be expected here too."
    )
