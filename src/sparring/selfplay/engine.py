"""The generator of a run, and the facts of the model that its engine needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sparring.data import Encoded
from sparring.errors import InputError
from sparring.generation import GenerationConfig, generator, names
from sparring.generation.protocol import Engine, EngineModel, Generator, GeneratorParts
from sparring.models import local_folder, torch_device
from sparring.models.loading import format_name
from sparring.selfplay.arguments import run_autocast
from sparring.selfplay.config.schema import SelfPlayConfig
from sparring.selfplay.policy import Policy
from sparring.selfplay.teacher import Teacher

if TYPE_CHECKING:
    from sparring.generation.mixture import Mixture

# Settings of LoRA that peft can train and vLLM cannot load, with the value that turns each off.
_UNPLAYABLE = {
    "use_dora": False,
    "modules_to_save": None,
    "bias": "none",
    "lora_bias": False,
    "target_parameters": None,
    "trainable_token_indices": None,
    "alora_invocation_tokens": None,
    "use_bdlora": None,
    "use_qalora": False,
}


def generator_for(
    config: GenerationConfig,
    policy: Policy,
    engine: Engine | None,
    *,
    stop_ids: tuple[int, ...],
    max_new_tokens: int,
    mixture: Mixture | None = None,
) -> Generator:
    """A generator that samples from the policy that is active at the time; see `GeneratorParts`."""
    parts = GeneratorParts(
        model=policy.causal_lm,
        tokenizer=policy.tokenizer,
        stop_ids=stop_ids,
        max_new_tokens=max_new_tokens,
        mixture=mixture,
        policy=policy,
        engine=engine,
    )
    return generator(config, parts)


def engine_model(
    config: SelfPlayConfig,
    model_config: Any,
    train: Encoded,
    held_out: Encoded | None = None,
    teacher: Teacher | None = None,
) -> EngineModel:
    """The facts of the model that a run's engine needs; the data and the teacher decide the longest prompt.

    Raises:
        InputError: The run trains adapters that no engine can load.
    """
    parts = [train.examples, [] if held_out is None else held_out.examples]
    parts += [] if teacher is None else [teacher.train, teacher.held_out]
    prompts = [len(item.prompt_ids) for part in parts for item in part]
    autocast = run_autocast(config)
    stored = model_config.dtype if config.model.dtype == "auto" else config.model.dtype
    return EngineModel(
        base=local_folder(config.model.name, revision=config.model.revision),
        lora_rank=None if config.lora is None else _rank(config.lora),
        dtype=format_name(autocast or stored or "float32"),
        device=torch_device(config.model.device).type,
        max_length=max(prompts) + config.data.max_response_tokens,
        vocabulary=model_config.get_text_config().vocab_size,
        trust_remote_code=config.model.trust_remote_code,
    )


def _rank(lora: Mapping[str, Any]) -> int:
    for name, off in _UNPLAYABLE.items():
        if lora.get(name, off) != off:
            raise InputError(
                f"engines do not play adapters with {name}",
                where=f"lora.{name}",
                fix=f"leave it out, or set generation.name: {names(lambda kind: kind.engine is None)}",
            )
    return max(int(rank) for rank in (lora.get("r", 8), *lora.get("rank_pattern", {}).values()))
