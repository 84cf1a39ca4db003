"""`generate`, `export` and `export-samples`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparring.cli.output import print_json, print_lines
from sparring.data import encode_prompts, load_prompts
from sparring.errors import InputError
from sparring.generation import GenerationConfig, generator
from sparring.models import ModelConfig, context_length, load_model, load_tokenizer
from sparring.progress import progress
from sparring.run_directory import RunDirectory
from sparring.seeding import derive_seed


def generate_command(
    model: str,
    prompts: Sequence[str],
    data: Path | None,
    settings: Mapping[str, Any],
    *,
    max_tokens: int,
    seed: int,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Samples responses and prints them, in the order of the prompts."""
    if bool(prompts) == (data is not None):
        raise InputError("there must be prompts from one place", fix="give --prompt TEXT, or --data FILE")
    try:
        config = GenerationConfig(**settings)
    except ValidationError as error:
        raise InputError("; ".join(item["msg"] for item in error.errors()), where="options") from error
    texts = list(prompts) if data is None else load_prompts(data)
    rows = answers(model, texts, config, max_tokens=max_tokens, seed=seed, trust_remote_code=trust_remote_code)
    if as_json:
        print_json(rows)
    else:
        print_lines(line for row in rows for line in (f"> {row['prompt']}", row["response"], ""))


def answers(
    model: str,
    prompts: Sequence[str],
    config: GenerationConfig,
    *,
    max_tokens: int,
    seed: int,
    trust_remote_code: bool,
) -> list[dict[str, str]]:
    """Responses of a model, or of a run's best policy: `prompt`, `response` and `finish_reason`, in their order."""
    loaded, tokenizer, template = _load(model, trust_remote_code)
    limit = context_length(loaded.config) - max_tokens
    encoded, stop_ids = encode_prompts(prompts, tokenizer, chat_template=template, limit=limit)
    sampler = generator(config, model=loaded, tokenizer=tokenizer, stop_ids=stop_ids, max_new_tokens=max_tokens)
    samples = []
    with progress("generate", total=len(encoded)) as meter:
        for number, batch in enumerate(sampler.plan(encoded)):
            done = sampler.sample(batch, seed=derive_seed(seed, number))
            samples += done
            meter.advance(len(batch), quantity=sum(len(sample.response_ids) for sample in done))
    samples.sort(key=lambda sample: (sample.index, sample.sample))
    return [
        {"prompt": prompts[sample.index], "response": sample.text, "finish_reason": sample.finish_reason}
        for sample in samples
    ]


def _load(model: str, trust_remote_code: bool) -> tuple[Any, Any, str]:
    """The model, its tokenizer and the chat template that it was trained with."""
    if RunDirectory(Path(model)).config.exists():
        from sparring.training.export import load_policy

        run, policy = load_policy(Path(model), trust_remote_code=trust_remote_code)
        return policy.causal_lm, policy.tokenizer, run.data.chat_template
    config = ModelConfig(name=model, trust_remote_code=trust_remote_code)
    return load_model(config), load_tokenizer(config), "auto"


def export_command(run: Path, to: Path, policy: str, *, trust_remote_code: bool, as_json: bool) -> None:
    """Writes a policy as a whole model with its card and says where."""
    from sparring.models.origin import origin
    from sparring.reports.card import model_card
    from sparring.reports.summary import summarize
    from sparring.training.consent import read_config
    from sparring.training.export import components, export, policy_folder

    summary, directory = summarize(run), RunDirectory(run)
    config = read_config(directory, trust_remote_code=trust_remote_code)
    folder = policy_folder(directory, policy)
    card = model_card(summary, folder, name=to.name, base=origin(config.model), settings=components(config))
    export(run, to, folder, card=card, trust_remote_code=trust_remote_code)
    if as_json:
        print_json({"model": str(to)})
    else:
        print_lines([f"model: {to.resolve()}"])


def export_samples_command(run: Path, to: Path, *, as_json: bool) -> None:
    """Writes all that was said in a run as one Parquet file and says where."""
    from sparring.training.export_samples import export_samples

    count = export_samples(run, to)
    if as_json:
        print_json({"samples": str(to), "rows": count})
    else:
        print_lines([f"{count} rows: {to.resolve()}"])
