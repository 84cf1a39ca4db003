"""Notes on a run's data for people before it is played: rows left out or cut, and texts changed for the model."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sparring.data import TASKS, Encoded
from sparring.data.findings import Observation
from sparring.data.guesses import likely_ground_truths
from sparring.data.split import LEAKS
from sparring.data.watch import CUT
from sparring.log_ratios import REFERENCE_FIELDS
from sparring.models import reading_changes_at
from sparring.progress import console
from sparring.regularizers import split_regularizers
from sparring.selfplay.arguments import bf16_is_faster, epochs_of
from sparring.selfplay.config.warmup import WarmupConfig
from sparring.selfplay.few_steps import few_steps
from sparring.selfplay.phases import row_needs
from sparring.selfplay.prepared import Prepared

_SHOWN = 10
# The standard deviation, over problems, of the difference between two policies' right answers (docs/studies.md).
_PAIRED_DEVIATION = 0.47
_TELLING = 128
_FAR_LONGER = 8
# The smallest settings that the recipe `auto` was measured with (docs/auto.md).
_EXPERTS, _EPOCHS, _PROMPTS = 16, 8, 192
_OF_HELD_OUT = "with the prompt of a held-out row"


def announce(prepared: Prepared) -> None:
    """Prints the notes, so that nobody has to read them in the manifest."""
    for note in notes(prepared):
        console.print(note)
    for phase in prepared.phases if prepared.config.total_iterations else ():
        fitting, known = len(phase.prompts(prepared.train.examples)), len(prepared.train.examples)
        each = prepared.config.data.prompts_per_iteration or fitting
        if prepared.config.phases or min(each, fitting) < known:
            first, last = phase.iterations.start, phase.iterations[-1]
            once = first == last
            span = f"iteration {first}" if once else f"iterations {first} to {last}"
            turns = f", {each} in each iteration" if each < fitting and not once else ""
            count = min(each, fitting) if once else fitting
            prompts = f"all {known}" if count == known else f"{count} of {known}"
            console.print(f"phase {phase.number}, {phase.title}: {span}, on {prompts} prompts{turns}")


def notes(prepared: Prepared) -> list[str]:
    """The notes, a paragraph each: what was left out or cut, and where the model sees other text than the rows hold."""
    lines = [*_unread(prepared), *prepared.reasons]
    lines += (
        _left_out(_skipped(prepared))
        + _experts(prepared.train)
        + _held_out(prepared)
        + _warmup(prepared)
        + _control(prepared)
    )
    lines += _number_format(prepared) + _limit(prepared) + _below_measured(prepared) + _reference(prepared)
    lines += few_steps(prepared) + _reading(prepared)
    if prepared.adapter is not None:
        lines.append(prepared.adapter.told())
    unset = prepared.template.unset_variables()
    if unset:
        names = ", ".join(unset)
        lines.append(
            f"warning: the chat template reads {names}, which nobody sets; data.template_options sets such variables"
        )
    if not prepared.template.chat and prepared.config.data.chat_template == "auto":
        lines.append(
            "the tokenizer has no chat template, so prompts are written as plain text; data.chat_template names one"
        )
    if prepared.teacher is not None and prepared.teacher.asked_otherwise:
        lines.append(
            "warning: the teacher's chat template is another than the model's, so the two are asked in different "
            "words; data.chat_template sets one for both"
        )
    for part, encoded in _parts(prepared).items():
        if encoded is None:
            continue
        left = {name: getattr(encoded, name) for name in ("truncated_prompts", "dropped_responses")}
        text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in left.items() if count)
        lines += [f"{part} examples: {text}"] if text else []
        lines += [
            f"{'warning: ' if each.warning else ''}{part} examples: {each}" for each in _findings(prepared, encoded)
        ]
    return lines


def _reference(prepared: Prepared) -> list[str]:
    """A note that a penalty on the distance from the reference pulls to the base model, not to the warm-up's policy."""
    penalties = {
        each.name: None
        for phase in prepared.phases
        for each in split_regularizers(phase.objective)[1]
        if each.requires & {*REFERENCE_FIELDS, "policy_reference"}
    }
    if prepared.config.warmup is None or not penalties:
        return []
    return [
        f"the reference of {', '.join(penalties)} is the base model before the warm-up, so the penalty takes back what "
        "the warm-up taught; to stay near the warm-up's policy, write it with `sparring export RUN FOLDER --policy "
        "warmup`, and play from that folder (model.name) without a warm-up"
    ]


def data_summary(prepared: Prepared) -> dict[str, Any]:
    """A summary of the data: rows read, left out, and cut, with reasons; and the form of prompts."""
    report, skipped, warmup = prepared.report, _skipped(prepared), prepared.config.warmup
    return {
        "read": report.read,
        "kept": report.read - len(skipped),
        "skipped": [list(item) for item in skipped],
        "unread": list(report.unread),
        "needs": {who: sorted(parts) for who, parts in row_needs(prepared.config, prepared.phases).items()},
        **{
            part.replace("training", "train").replace("-", "_"): _counts(prepared, each)
            for part, each in _parts(prepared).items()
        },
        **({} if warmup is None else {"warmup": _sides(warmup, prepared)}),
        "findings": {
            part: [dataclasses.asdict(finding) for finding in _findings(prepared, each)]
            for part, each in _parts(prepared).items()
            if each is not None
        },
        "template": {
            "options": dict(prepared.template.options),
            "unset_variables": prepared.template.unset_variables(),
            "clock": str(prepared.template.clock),
        },
        "stop_ids": list(prepared.train.stop_ids),
    }


def _sides(warmup: WarmupConfig, prepared: Prepared) -> dict[str, int]:
    """The number of examples that a warm-up trains on, and that it sets apart."""
    taught, validation = warmup.split(prepared.train.examples)
    return {"trained": len(taught), "validation": len(validation)}


def _parts(prepared: Prepared) -> dict[str, Encoded | None]:
    return {"training": prepared.train, "held-out": prepared.held_out}


def _skipped(prepared: Prepared) -> list[tuple[str, str]]:
    """The rows that were left out as they were read, and those that the template or the tokenizer refused."""
    later = [item for each in _parts(prepared).values() if each is not None for item in each.skipped]
    return [*prepared.report.skipped, *later]


def _unread(prepared: Prepared) -> list[str]:
    """The columns that are not read, and how to read one that may hold right answers, with which more can be played."""
    unread = prepared.report.unread
    if not unread:
        return []
    lines = [f"columns that hold something and are not read: {', '.join(unread)}"]
    likely = likely_ground_truths(unread)
    if likely and all(item.ground_truth is None for item in prepared.train.examples):
        verifier = " and data.verifier" if prepared.config.data.verifier is None else ""
        lines.append(f"if '{likely[0]}' is the right answer, set data.columns.ground_truth={likely[0]}{verifier}")
    return lines


def _experts(train: Encoded) -> list[str]:
    """The number of prompts with an expert's response, if it is neither all nor none of them."""
    others = [item for item in train.examples if item.response is None]
    if len(others) in {0, len(train.examples)}:
        return []
    known = sum(item.ground_truth is not None for item in others)
    experts, total = len(train.examples) - len(others), len(train.examples)
    rest = f"; of the others, {known} have a ground truth" if known else ""
    return [f"{experts} of {total} training prompts have an expert's response{rest}"]


def _held_out(prepared: Prepared) -> list[str]:
    """Notes that a separate source has more rows than are held out, or that these take most of the few experts."""
    data, spare = prepared.config.data, prepared.report.spare
    held_out = [] if prepared.held_out is None else prepared.held_out.examples
    if spare:
        source, total = data.held_out_source or data.title, len(held_out) + spare
        return [f"{len(held_out)} of the {total} rows of '{source}' are held out; data.held_out={total} takes all"]
    taken, left = (sum(bool(item.expert_ids) for item in items) for items in (held_out, prepared.train.examples))
    few = taken + left < len(held_out) + len(prepared.train.examples)
    if data.source in TASKS or not few or taken <= left:
        return []
    return [
        f"warning: {taken} of the {taken + left} experts' responses are held out, so that {left} are left to learn "
        "from: a smaller data.held_out takes fewer"
    ]


def _control(prepared: Prepared) -> list[str]:
    """The policies that a control adds."""
    if not prepared.config.controls:
        return []
    lines = [
        "the control: supervised fine-tuning goes on from where play starts too, for as much computation as the play "
        "takes, and is measured as often"
    ]
    count = 0 if prepared.held_out is None else len(prepared.held_out.examples)
    if 0 < count < _TELLING:
        lines.append(
            f"warning: on {count} held-out prompts a difference in right answers of less than about "
            f"{2 * _PAIRED_DEVIATION / math.sqrt(count):.2f} cannot be told from chance; {_TELLING} and more tell one "
            f"of {2 * _PAIRED_DEVIATION / math.sqrt(_TELLING):.2f} (data.held_out{_spared(prepared)})"
        )
    return lines


def _spared(prepared: Prepared) -> str:
    """A note on how to spare the experts, if they are few and the held-out prompts take some of them."""
    data, train = prepared.config.data, prepared.train.examples
    few = any(not item.expert_ids for item in train) and any(item.expert_ids for item in train)
    own = data.held_out_source is None and data.held_out_split is None and data.source not in TASKS
    if not few or not own or prepared.verifier is None:
        return ""
    return "; data.held_out_source, a file of prompts with the right answer alone, takes no expert from training"


def _limit(prepared: Prepared) -> list[str]:
    """A note that responses may become far longer than any expert's, as those of an untrained model do."""
    longest = max((len(item.expert_ids) for item in prepared.train.examples), default=0)
    limit = prepared.config.data.max_response_tokens
    if not longest or limit < _FAR_LONGER * longest:
        return []
    return [
        f"a response may have {limit} tokens, and the longest expert's has {longest}: data.max_response_tokens="
        f"{2 * longest} saves time where a policy does not end its responses"
    ]


def _below_measured(prepared: Prepared) -> list[str]:
    """A note that settings which `auto` chose are shrunk below the smallest that it was measured with."""
    config, warmup = prepared.config, prepared.config.warmup
    if not prepared.reasons or not config.total_iterations or prepared.phases[0].given:
        return []
    smaller = []
    if warmup is not None:
        taught, _ = warmup.split(prepared.train.examples)
        epochs = epochs_of(config, warmup.fields(config.training), rows=len(taught), processes=1)
        smaller += [f"{len(taught)} experts ({_EXPERTS})"] if len(taught) < _EXPERTS else []
        smaller += [f"{epochs:.3g} epochs of warm-up ({_EPOCHS})"] if epochs < _EPOCHS else []
    prompts = len(prepared.prompts(prepared.phases[0], 0))
    smaller += [f"{prompts} prompts in an iteration ({_PROMPTS})"] if prompts < _PROMPTS else []
    if not smaller:
        return []
    return [f"less than auto was measured with: {', '.join(smaller)}. Play may then lose more than it brings"]


def _number_format(prepared: Prepared) -> list[str]:
    """A note that a processor multiplies faster in another number format than the run's."""
    if not bf16_is_faster(prepared.config):
        return []
    return [
        "this device multiplies in bf16 as well: model.dtype=bfloat16 takes about two thirds of the time and half "
        "of the memory for weights, with log-probs that are rounded by up to 0.04 nats a token"
    ]


def _reading(prepared: Prepared) -> list[str]:
    """A note that texts are kept shorter than the model's context."""
    limit = reading_changes_at(prepared.model_config)
    if limit is None:
        return []
    return [
        f"prompt and response together are kept within {limit:,} tokens: this model reads longer texts with other "
        "factors of their positions (LongRoPE), from their first token on"
    ]


def _warmup(prepared: Prepared) -> list[str]:
    """A note on how a warm-up until a plateau ends, and on the prompts that it is found by."""
    warmup = prepared.config.warmup
    if warmup is None or warmup.until != "plateau":
        return []
    taught, validation = warmup.split(prepared.train.examples)
    fields = warmup.fields({})
    limit = f"{fields['max_steps']} steps" if fields["max_steps"] > 0 else f"{fields['num_train_epochs']:g} epochs"
    return [
        f"the warm-up trains on {len(taught)} prompts for {limit} at most, and takes the policy that finds the experts "
        f"of {len(validation)} others likeliest"
    ]


def _left_out(skipped: list[tuple[str, str]]) -> list[str]:
    if not skipped:
        return []
    # Those are known when the held-out rows are drawn, after the invalid ones were counted.
    leaks = sum(reason.startswith(LEAKS) for _, reason in skipped)
    kinds = [f"{count} {kind}" for count, kind in ((len(skipped) - leaks, "invalid"), (leaks, _OF_HELD_OUT)) if count]
    head = "1 row was left out" if len(skipped) == 1 else f"{len(skipped)} rows were left out"
    lines = [f"{head} ({', '.join(kinds)}):", *(f"  {where}: {reason}" for where, reason in skipped[:_SHOWN])]
    if len(skipped) > _SHOWN:
        lines.append(f"  … and {len(skipped) - _SHOWN} more; the manifest.json of a run lists them all")
    return ["\n".join(lines)]


def _counts(prepared: Prepared, encoded: Encoded | None) -> dict[str, int]:
    if encoded is None:
        return {"examples": 0}
    counts = {item.name: getattr(encoded, item.name) for item in dataclasses.fields(encoded)}
    unread = {} if _teach(prepared) else {"truncated_responses": 0}
    return {"examples": len(encoded.examples)} | {name: n for name, n in counts.items() if isinstance(n, int)} | unread


def _findings(prepared: Prepared, encoded: Encoded) -> list[Observation]:
    return [each for each in encoded.findings if each.name != CUT or _teach(prepared)]


def _teach(prepared: Prepared) -> bool:
    """Whether a phase or the warm-up learns from the responses that the data hold."""
    readers = (each.reads_expert or each.shows_expert or each.given for each in prepared.phases)
    players = (each.reward_player is not None for each in prepared.phases)
    return prepared.config.warmup is not None or bool(prepared.config.controls) or any(readers) or any(players)
