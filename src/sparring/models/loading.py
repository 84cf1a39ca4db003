"""Loads models and tokenizers by their names in a configuration, or raises an error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from sparring.errors import InputError, causes, in_a_line, nearest
from sparring.heap import keep_few_kernels
from sparring.integrity import DIGESTS, check_folder
from sparring.models.config import EMBEDDED, ModelConfig
from sparring.models.finite import check_finite
from sparring.models.folder import ADAPTER, SMALL, WEIGHTS, check_whole_model, ends_digest, near_by, weight_files
from sparring.models.loaded import check_formats, check_loaded, plain_outputs, tell_left_out, tell_untied, tell_zeros
from sparring.models.noise import without_noise
from sparring.models.quantization import check_saved, loading_options, settle, without_quantization
from sparring.models.quiet import making_models, quiet_transformers
from sparring.models.smollm2 import embedded_model
from sparring.models.tokenizer_file import as_its_file

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_MISSPELT = 0.85
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def resolve(name: str) -> str:
    """The argument of `from_pretrained` for `name`: a local folder or a Hugging Face id.

    Raises:
        InputError: `name` is neither the embedded model, nor a model folder, nor of the form of an id; or it is the
            embedded model's, misspelt.
    """
    if name == EMBEDDED:
        return str(embedded_model())
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_whole_model(folder)
        return str(folder)
    # The hub has no such model, and would be tried five times if it cannot be reached.
    misspelt = "/" not in name and nearest(name, [EMBEDDED], like=_MISSPELT) is not None
    if folder.exists() or misspelt or not _HUB_ID.fullmatch(name):
        fix = f"give a folder that `save_pretrained` wrote, a Hugging Face id (owner/model), or '{EMBEDDED}'"
        raise InputError(f"no model folder at '{name}'", where="model.name", fix=near_by(name) + fix)
    return name


def load_config(config: ModelConfig) -> PreTrainedConfig:
    """The model's own configuration, without its weights: enough to check whether data fit.

    Raises:
        InputError: The model is missing or is no causal language model.
    """
    path = resolve(config.name)
    with _loading(path):
        settings: PreTrainedConfig = AutoConfig.from_pretrained(path, **origin_of(config))
        _check_causal(settings, path)
        check_saved(settings, config.quantization, path)
    return settings


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    # Loaded first, since for a missing model tokenizers raise errors that name neither the model nor the cause.
    load_config(config)
    return tokenizer_of(config)


def tokenizer_of(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, whatever kind of model it is; raises what `load_tokenizer` does."""
    path = resolve(config.name)
    try:
        with quiet_transformers():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **origin_of(config))
            tokenizer = as_its_file(tokenizer, path, origin_of(config))
            # Many faults of its files show only when it is used.
            tokenizer.decode(tokenizer("a")["input_ids"])
            return tokenizer
    except Exception as error:
        # Files of another person may raise any error in transformers and tokenizers.
        fix = "save the tokenizer into the model's folder with `tokenizer.save_pretrained(folder)`"
        raise InputError(f"no usable tokenizer ({in_a_line(error)})", where=path, fix=fix) from error


def load_model(config: ModelConfig) -> PreTrainedModel:
    """The model, in evaluation mode, in the dtype and on the device that `config` names.

    Its input embedding has no `padding_idx`: with one, `nn.Embedding` drops the gradient of the padding token, which in
    many models also ends a response, and must be trained for that. The model has no dropout either.

    Only safetensors files are read, never pickles, which can run code when they are opened.

    Raises:
        InputError: The model is missing, is no causal language model, lacks weights or has them in another format; or
            there is no such device.
    """
    settings = load_config(config)
    files = weight_files(folder := Path(local_folder(config.name, revision=config.revision)))
    model = _load(config, AutoModelForCausalLM)
    without_quantization(model, settings)
    tell_untied(model)
    tell_left_out(model, files, config.name)
    if not (folder / DIGESTS).exists():
        tell_zeros(model, config.name)
    return model


def load_reward_model(config: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classification model with one label, and its tokenizer; loaded as `load_model` does.

    Raises:
        InputError: As `load_model`; or the model has more than one label, or no tokenizer.
    """
    model = _load(config, AutoModelForSequenceClassification)
    if model.config.num_labels != 1:
        problem = f"a reward model has one label, this one has {model.config.num_labels}"
        raise InputError(problem, where=config.name, fix="take a reward model, trained to score conversations")
    return model, tokenizer_of(config)


def load_encoder(config: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model for its hidden states, without any head, and its tokenizer; loaded as `load_model` does.

    Raises:
        InputError: As `load_model`; or it has no tokenizer.
    """
    # A pooler reads the first token alone; nothing here uses it, and it is often not saved.
    return _load(config, AutoModel, optional=("pooler.",)), tokenizer_of(config)


def _load(config: ModelConfig, kind: Any, *, optional: tuple[str, ...] = ()) -> PreTrainedModel:
    device, path = torch_device(config.device), resolve(config.name)
    keep_few_kernels()
    if ((folder := Path(local_folder(config.name, revision=config.revision))) / DIGESTS).exists():
        check_folder(folder, fix="take another copy of this policy")
    with _loading(path):
        settings = AutoConfig.from_pretrained(path, **origin_of(config))
    check_formats(settings, weight_files(folder))
    options: dict[str, Any] = {"attn_implementation": config.attention} if config.attention else {}
    dtype = config.dtype if config.dtype == "auto" else getattr(torch, config.dtype)
    if config.quantization is not None:
        dtype = stored_dtype(load_config(config)) if dtype == "auto" else dtype
        options |= loading_options(config.quantization, dtype, device)
    with _loading(path):
        # Weights of other shapes are in the report, rather than in the log, where nobody sees them.
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, report = kind.from_pretrained(path, dtype=dtype, use_safetensors=True, **options, **origin_of(config))
    check_loaded(report, path, optional=optional, whole=kind is AutoModelForCausalLM)
    model.get_input_embeddings().padding_idx = None
    without_noise(model)
    plain_outputs(model)
    if config.quantization is not None:
        settle(model)  # It is on its device, and may not be moved.
    else:
        model = model.to(device)
    check_finite(model.named_parameters(), path)
    return model.eval()


def load_adapter(folder: Path, *, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of an adapter, from safetensors only; peft itself would also take a pickle, or look on the hub.

    Args:
        folder: The folder that peft wrote.
        like: The expected weights, by their names.

    Raises:
        InputError: Weights are missing, have other names or shapes, or are not finite.
    """
    path, fix = folder / ADAPTER, "put a whole copy back: adapters are read as safetensors that this run's LoRA fits"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the adapter cannot be read ({in_a_line(error)})", where=str(path), fix=fix) from error
    if {name: each.shape for name, each in weights.items()} != {name: each.shape for name, each in like.items()}:
        raise InputError("these are weights of another adapter", where=str(path), fix=fix)
    check_finite(weights.items(), str(path))
    return weights


def stored_dtype(config: PreTrainedConfig) -> torch.dtype:
    """The number format in which a model's weights were saved."""
    return config.dtype or torch.float32


def format_name(dtype: torch.dtype | str) -> str:
    """The name of a number format as configurations give it, such as bfloat16."""
    return str(dtype).removeprefix("torch.")


def fingerprint(path_or_id: str, *, revision: str | None = None) -> str:
    """A sha256 that tells whether two runs began from the same model.

    It covers configuration, tokenizer, chat template and the model's own code, and of each weight file the name, the
    size and the first and last MiB. Those hold the file's table of contents and its first and last tensors, which
    differ as soon as a model was trained; reading all of a 70B model would take minutes at every start. So it tells
    models apart, but does not reveal tampering: a change in the middle of a large file goes unnoticed.

    Args:
        path_or_id: A value of `ModelConfig.name`. A Hugging Face id is downloaded if it is not here yet.
        revision: The revision of a Hugging Face id.

    Raises:
        InputError: There is no such model, or it has no safetensors weights.
    """
    return ends_digest(Path(local_folder(path_or_id, revision=revision)))


def local_folder(path_or_id: str, *, revision: str | None = None) -> str:
    """The folder with a model's configuration and weights, downloaded if it is a Hugging Face id that is not here yet.

    Raises:
        InputError: There is no such model, or it has no safetensors weights.
    """
    path = resolve(path_or_id)
    if not Path(path).is_dir():
        try:
            path = snapshot_download(path, revision=revision, allow_patterns=[*SMALL, WEIGHTS])
        except (OSError, ValueError) as error:
            raise _cannot_load(path, error) from error
    weight_files(Path(path))
    return str(Path(path).absolute())


@contextmanager
def _loading(path: str) -> Iterator[None]:
    """Within, transformers loads a model quietly, and its errors become an InputError in plain words."""
    try:
        with making_models():
            yield
    except InputError:
        raise
    except Exception as error:
        # Files of another person may raise any error in transformers and torch.
        raise _cannot_load(path, error) from error


def _check_causal(config: PreTrainedConfig, path: str) -> None:
    architectures = config.architectures or []
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    suits = not architectures or any(name.endswith(_CAUSAL) for name in architectures)
    if (known or own_code) and suits and not config.is_encoder_decoder:
        if not own_code:
            _check_saved_as(AutoModelForCausalLM._model_mapping[type(config)], path)  # noqa: SLF001 - no public way
        return
    what = ", ".join(architectures) or config.model_type
    problem = f"this is a {what}, not a causal language model; only those have log π(y | x) of a response"
    raise InputError(problem, where=path, fix="take a decoder-only model, such as one whose name ends in ForCausalLM")


def _check_saved_as(kind: Any, path: str) -> None:
    """Refuses the part of a model for which transformers has no class once it is saved alone, as Llama 3.2 Vision's."""
    if kind.config_class.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        problem = f"its text model, a {kind.__name__}, can be saved but not loaded again by transformers"
        raise InputError(problem, where=path, fix="take a model of text alone")


def _cannot_load(path: str, error: Exception) -> InputError:
    chain = list(causes(error))
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in chain):
        problem = f"looked for '{path}': no such folder here, and the Hugging Face hub could not be reached"
        fix = f"check the name and the connection, download the model first, or take '{EMBEDDED}', which needs neither"
        return InputError(problem, where="model.name", fix=near_by(path) + fix)
    if any(isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in chain):
        problem = f"looked for '{path}': no such folder here, and no such model or revision on the Hugging Face hub"
        fix = "check the name and model.revision; a gated or private model needs `hf auth login` first"
        return InputError(problem, where="model.name", fix=near_by(path) + fix)
    if "trust_remote_code" in (text := str(error)):
        problem, fix = "this model brings its own Python code", "read that code, then set model.trust_remote_code: true"
        return InputError(problem, where=path, fix=fix)
    if "safetensors" in text and not Path(path).is_dir():
        problem = "the model offers no safetensors weights; pickles (.bin) are never loaded"
        return InputError(problem, where=path, fix="take a model or a revision that has safetensors files")
    fix = "take a whole copy, or save the model again with `save_pretrained`"
    return InputError(f"the model cannot be loaded ({in_a_line(error)})", where=path, fix=fix)


def origin_of(config: ModelConfig) -> dict[str, Any]:
    """The arguments of `from_pretrained` about a model's origin, besides its name."""
    origin: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    return origin | ({"revision": config.revision} if config.revision else {})


def torch_device(name: str) -> torch.device:
    """The device that `ModelConfig.device` names.

    Raises:
        InputError: PyTorch sees no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise InputError(f"PyTorch sees no {name} device here", where="model.device", fix="set model.device: auto")
    return torch.device(name)
