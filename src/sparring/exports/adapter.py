"""Exports the adapter of a policy for peft, with a name of its base model that others can use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparring.errors import InputError
from sparring.exports.named import check_free, policy_folder, weights_of
from sparring.files import atomic_path, public_name
from sparring.integrity import DIGESTS
from sparring.models import ModelConfig
from sparring.models.config import Quantization
from sparring.models.endings import end_ids
from sparring.models.loading import format_name, load_config, stored_dtype
from sparring.run_directory import RunDirectory
from sparring.run_files import read_manifest
from sparring.selfplay.checks.consent import read_config
from sparring.selfplay.policy import check_saved

_CONFIG, _CARD = "adapter_config.json", "README.md"


@dataclass(frozen=True)
class AdapterBase:
    """The base model that an adapter was trained on, and that it needs.

    Attributes:
        name: Its Hugging Face id, or the name of its folder without the path.
        revision: The revision in the run's configuration.
        dtype: The number format that the run held its weights in.
        quantization: The format that the run held the weights of linear layers in.
        stop_ids: The tokens at which the adapter was trained to stop, if the base's own `generate` does not stop at all
            of them; else empty.
    """

    name: str
    revision: str | None
    dtype: str
    quantization: Quantization | None
    stop_ids: tuple[int, ...]

    @classmethod
    def of(cls, config: ModelConfig, stop_ids: Sequence[int]) -> AdapterBase:
        """The base model that a run's configuration names.

        Args:
            config: The settings of the run's model.
            stop_ids: The tokens that end a response of the run.
        """
        dtype = config.dtype
        held = format_name(stored_dtype(load_config(config))) if dtype == "auto" else dtype
        told = () if end_ids(config).issuperset(stop_ids) else tuple(stop_ids)
        return cls(public_name(config.name), config.revision, held, config.quantization, told)

    def __str__(self) -> str:
        held = "" if self.quantization is None else f", its linear layers quantised ({self.quantization})"
        text = (
            f"The adapter belongs on {self.name} in {self.dtype}{held}: on a base held otherwise it is another model."
        )
        if self.stop_ids:
            text += (
                f" It ends a response with another token than the base: `generate` needs eos_token_id="
                f"{list(self.stop_ids)}, or goes on to its limit."
            )
        return text


def export_adapter(
    run: Path, to: Path, name: str, *, card: Callable[[AdapterBase], str], trust_remote_code: bool = False
) -> AdapterBase:
    """Writes the adapter of a policy to a new folder that `PeftModel.from_pretrained` loads, with its tokenizer.

    Args:
        run: The run directory.
        to: The folder to write.
        name: The policy, as in `load_policy`.
        card: Makes the text of its README.md.
        trust_remote_code: Whether code that the run's model brings along may run.

    Returns:
        The base model that it needs.

    Raises:
        InputError: As `load_policy`, the folder exists or is a part of the run, or the policy has no adapter.
    """
    check_free(run, to)
    directory = RunDirectory(run)
    config = read_config(directory, trust_remote_code=trust_remote_code)
    weights = weights_of(directory, policy_folder(directory, name))
    if config.lora is None:
        problem = "the run trained all weights, so none of its policies is an adapter"
        raise InputError(problem, where="--adapter", fix="leave it out, which writes the whole model")
    if weights is None:
        fix = "name a policy that was trained, such as --policy iterations/000"
        raise InputError("the base model has no adapter", where="--adapter", fix=fix)
    check_saved(weights)
    stop_ids = read_manifest(directory.manifest, "data.stop_ids")["data"]["stop_ids"]
    base = AdapterBase.of(config.model, stop_ids)
    with atomic_path(to) as partial:
        shutil.copytree(weights, partial, ignore=shutil.ignore_patterns(DIGESTS, _CARD))
        settings = json.loads((partial / _CONFIG).read_text(encoding="utf-8"))
        # peft has written the path on this machine.
        settings |= {"base_model_name_or_path": base.name, "revision": base.revision}
        (partial / _CONFIG).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        (partial / _CARD).write_text(card(base), encoding="utf-8")
    return base
