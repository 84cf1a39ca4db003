"""`generate`, `export` and `export-samples`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sparring.cli.candidates import candidate
from sparring.cli.output import print_json, print_lines
from sparring.data import Conversation, read_prompts
from sparring.errors import InputError
from sparring.exports.named import BEST, NONE_BETTER, check_free, in_words, last_instead, policy_folder, weights_of
from sparring.generation import generation_config
from sparring.progress import console
from sparring.run_directory import RunDirectory

if TYPE_CHECKING:
    from sparring.exports.adapter import AdapterBase
    from sparring.exports.hub import Repository
    from sparring.exports.merge import Merge
    from sparring.reports.summary import Summary


def generate_command(
    model: str,
    prompts: Sequence[str],
    data: Path | None,
    settings: Mapping[str, Any],
    *,
    system: str | None,
    max_tokens: int | None,
    seed: int,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Samples responses and prints them, in the order of the prompts.

    By default the run's own settings are used to read a data file, write prompts and sample.
    """
    if bool(prompts) == (data is not None):
        raise InputError("prompts must come from exactly one place", fix="give --prompt TEXT, or --data FILE")
    asked = candidate(model, trust_remote_code=trust_remote_code)
    run = None if asked.config is None else asked.config()
    own = {} if run is None else {name: getattr(run.generation, name) for name in ("top_p", "top_k")}
    if run is not None:
        # A higher temperature is for exploring, not for answering.
        own["temperature"] = min(run.generation.temperature, 1.0)
    try:
        config = generation_config(**own | dict(settings))
    except ValidationError as error:
        raise InputError("; ".join(item["msg"] for item in error.errors()), where="options") from error
    limit = max_tokens or (256 if run is None else run.data.max_response_tokens)
    given = list(prompts) if data is None else read_prompts(data, None if run is None else run.data)
    conversations = given if system is None else [_after_system(system, each) for each in given]
    texts = [each if isinstance(each, str) else each[-1]["content"] for each in given]
    from sparring.evaluation import answer

    samples = answer(asked.load(), conversations, config, max_tokens=limit, seed=seed)
    if as_json:
        print_json(
            [
                {"prompt": texts[sample.index], "response": sample.text, "finish_reason": sample.finish_reason}
                for sample in samples
            ]
        )
    else:
        print_lines(line for sample in samples for line in (f"> {texts[sample.index]}", sample.text, ""))


def _after_system(system: str, prompt: str | Conversation) -> Conversation:
    """The prompt with this system turn in place of its own, if any."""
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return [{"role": "system", "content": system}, *(turn for turn in turns if turn["role"] != "system")]


def export_command(
    run: Path,
    to: Path,
    policy: str,
    *,
    push_to: str | None = None,
    private: bool = False,
    dtype: str | None = None,
    adapter: bool = False,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Writes a policy, or its adapter, with its card, and prints where it is; uploads it where it is asked to."""
    if private and push_to is None:
        raise InputError("nothing is uploaded", where="--private", fix="say where to: --push-to OWNER/NAME")
    if adapter and dtype is not None:
        raise InputError("an adapter is written as it was trained", where="--dtype", fix="leave it out")
    directory, folder = _found(run, to, policy)
    import torch

    from sparring.exports.adapter import export_adapter
    from sparring.exports.card import NOT_MEASURED
    from sparring.exports.hub import find_repository
    from sparring.exports.policy import export
    from sparring.reports.summary import summarize

    summary = summarize(run)
    card = _card_of(directory, summary, folder, name=push_to or to.name, trust_remote_code=trust_remote_code)
    repository = None if push_to is None else find_repository(push_to, private=private)
    merged, base = None, None
    if adapter:
        base = export_adapter(run, to, folder, card=partial(card, None, {}), trust_remote_code=trust_remote_code)
    else:
        number = None if dtype is None else getattr(torch, dtype)
        merged = export(run, to, folder, card=card, dtype=number, trust_remote_code=trust_remote_code)
    commit = None if repository is None else _push(to, repository)
    if as_json:
        told = {"merged": merged and asdict(merged)} if base is None else {"base": asdict(base)}
        print_json({"model": str(to), "policy": folder, **told, "commit": commit})
        return
    last = last_instead(directory, folder) if policy == BEST else None
    better = f": {NONE_BETTER}; --policy {last} writes the last iteration" if last else ""
    print_lines([f"{'adapter' if adapter else 'model'}: {to.resolve()}, {in_words(folder)}{better}"])
    if summary.columns and all(row.path != folder for row in summary.rows):
        print_lines([f"this policy {NOT_MEASURED}"])
    print_lines([*_of_merge(merged), *([] if base is None else [str(base)])])
    if commit is not None:
        print_lines([f"uploaded: {commit}"])


def _found(run: Path, to: Path, policy: str) -> tuple[RunDirectory, str]:
    """A run and the folder of an existing policy; raises InputError before anything heavy is imported."""
    directory = RunDirectory(run)
    directory.require()
    folder = policy_folder(directory, policy)
    weights_of(directory, folder)
    check_free(run, to)
    return directory, folder


def _card_of(
    directory: RunDirectory, summary: Summary, folder: str, *, name: str, trust_remote_code: bool
) -> Callable[..., str]:
    """The function that writes a policy's card, from the merge and the shipped settings, or from an adapter's base."""
    from sparring.exports.card import model_card
    from sparring.exports.policy import components, is_supervised
    from sparring.models import load_tokenizer
    from sparring.models.origin import origin
    from sparring.selfplay.checks.consent import read_config

    config = read_config(directory, trust_remote_code=trust_remote_code)
    chat = config.data.template(load_tokenizer(config.model)).chat

    def card(merged: Merge | None, shipped: Mapping[str, object], alone: AdapterBase | None = None) -> str:
        return model_card(
            summary,
            folder,
            name=name,
            base=origin(config.model),
            settings=components(config, folder),
            supervised=is_supervised(config, folder),
            chat=chat,
            shipped=shipped,
            merged="" if merged is None else str(merged),
            adapter=alone,
        )

    return card


def _of_merge(merged: Merge | None) -> Iterator[str]:
    """Lines on the merge of an adapter, and on the alternative."""
    if merged is None:
        return
    yield str(merged)
    if merged.trained and merged.dtype != "float32":
        yield "The run measured the adapter beside the base's weights: --dtype float32 keeps all its digits."
    if merged.trained and merged.rounded is not None:
        yield (
            f"The adapter alone belongs on a base in {merged.rounded} as well: on one in another number format it is "
            "another model. --adapter writes it."
        )


def _push(folder: Path, to: Repository) -> str:
    """Prints what will be uploaded, and uploads it."""
    from sparring.exports.hub import announcement, upload

    for line in announcement(folder, to):
        console.print(line)
    return upload(folder, to)


def export_samples_command(run: Path, to: Path, *, as_json: bool) -> None:
    """Writes all responses of a run as one Parquet file, and prints where it is."""
    if to.suffix != ".parquet":
        raise InputError(
            "the samples are written as Parquet", where=str(to), fix=f"name it {to.with_suffix('.parquet')}"
        )
    from sparring.exports.samples import export_samples

    count = export_samples(run, to)
    removed = RunDirectory(run).removed("samples")
    if as_json:
        print_json({"samples": str(to), "rows": count, "removed": removed})
        return
    told = [f"the samples of {', '.join(removed)} were removed (keep.samples)"] if removed else []
    print_lines([f"{count} rows: {to.resolve()}", *told])
