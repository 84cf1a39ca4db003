"""The one model in memory, which plays as any of the policies."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sparring.errors import RunError
from sparring.files import atomic_path
from sparring.integrity import check_folder, seal
from sparring.logprobs import check_log_probs, likely_tokens, per_token_log_probs, tempered
from sparring.models import ModelConfig, content_digest, load_model, local_folder
from sparring.models.adapters import adapter_of
from sparring.models.endings import tell_endings
from sparring.models.finite import broken_weight
from sparring.models.loading import format_name, load_adapter
from sparring.models.lora import lora_config
from sparring.models.quantization import check_trained, restore
from sparring.models.quiet import quiet_transformers
from sparring.seeding import derive_seed
from sparring.tokens import LikelyTokens
from sparring.work import processes

_IN_TRAINING = "in training"


class Policy:
    """Holds one model and makes it play as any saved policy; only `base_forward` may load a second model.

    With LoRA the base model stays and only adapters are exchanged; the base model itself is the initial adapter, which
    changes nothing. Without LoRA a policy is freed before the next one is loaded.

    Args:
        config: The settings of the base model.
        tokenizer: The tokenizer, which is saved beside every policy, so that its folder is complete.
        lora: Fields of peft's `LoraConfig`, or None to train all weights.
        seed: The seed of the initial adapter.
        stop_ids: The tokens that end a response; they are written into the configuration of every saved policy.
        autocast: The dtype of forward passes; None for that of the weights. Training and scoring must use the same, or
            a model's log ratio to itself would not be zero.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Any,
        *,
        lora: Mapping[str, Any] | None,
        seed: int,
        stop_ids: Sequence[int] = (),
        autocast: torch.dtype | None = None,
    ) -> None:
        self._config, self.tokenizer, self._autocast = config, tokenizer, autocast
        self._stop_ids = tuple(stop_ids)
        self._lora, self._seed = lora, seed
        self.model: Any = None
        self._initial: dict[str, torch.Tensor] | None = None
        self._digests: dict[Path | None, str] = {}
        self._load_base()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles only the settings; unpickling loads the base model."""
        build = functools.partial(
            Policy, lora=self._lora, seed=self._seed, stop_ids=self._stop_ids, autocast=self._autocast
        )
        folder = Path(self._config.name).absolute()
        config = self._config.model_copy(update={"name": str(folder)}) if folder.is_dir() else self._config
        return build, (config, self.tokenizer)

    def _load_base(self) -> None:
        self.model = None
        gc.collect()
        self.model = self._load(self._config)
        if self._lora is not None:
            self._add_adapter(self._lora)
        self._active: Path | ModelConfig | str | None = None

    def _load(self, config: ModelConfig) -> Any:
        model = load_model(config)
        tell_endings(model, self._stop_ids)
        return model

    def _add_adapter(self, lora: Mapping[str, Any]) -> None:
        from peft import get_peft_model, get_peft_model_state_dict

        check_trained(self.model, lora)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self._seed, "adapter"))
            fitted = adapter_of(self.model.config, lora_config(lora), trust_remote_code=self._config.trust_remote_code)
            self.model = get_peft_model(self.model, fitted.config).eval()
        self._initial = {name: value.clone() for name, value in get_peft_model_state_dict(self.model).items()}

    @property
    def has_adapter(self) -> bool:
        """Whether only an adapter is trained."""
        return self._initial is not None

    @property
    def causal_lm(self) -> Any:
        """The model without peft's wrapper; its injected adapter stays active."""
        return self.model.get_base_model() if self.has_adapter else self.model

    @property
    def folder(self) -> Path | None:
        """The folder of the active policy; None for the base model.

        Raises:
            ValueError: No policy is active: the model is in training, or another one is in its place.
        """
        if isinstance(self._active, str | ModelConfig):
            raise ValueError("the model is in training or not the run's: save it or activate a policy first")
        return self._active

    def origin(self, folder: Path | None) -> dict[str, Any]:
        """Plain values that decide the bits of the policy saved in `folder`; None is the base model."""
        return {
            "base": self._digest(None),
            "weights": None if folder is None else self._digest(folder),
            "model": self._config.model_dump(mode="json", include={"dtype", "attention", "quantization"}),
            "lora": None if self._lora is None else dict(self._lora),
            "autocast": str(self._autocast),
            "device": self.causal_lm.device.type,
        }

    def _digest(self, folder: Path | None) -> str:
        if folder not in self._digests:
            base = local_folder(self._config.name, revision=self._config.revision)
            self._digests[folder] = content_digest(base if folder is None else str(folder))
        return self._digests[folder]

    def activate(self, folder: Path | None) -> None:
        """Makes the model play as the policy saved in `folder`; None is the base model.

        Raises:
            DamagedError: A file of the folder is not as `save` wrote it.
        """
        if folder == self._active:
            return
        if folder is not None:
            check_saved(folder)
        if isinstance(self._active, ModelConfig) and self._lora is not None:
            self._load_base()
        if self._initial is None:
            self.model = None
            gc.collect()
            path = self._config if folder is None else self._config.model_copy(update={"name": str(folder)})
            self.model = self._load(path)
        else:
            self._load_adapter(folder)
        self._active = folder

    def activate_other(self, other: ModelConfig) -> None:
        """Loads another model in place of this one, until a policy is activated."""
        if other == self._active:
            return
        self.model = self._initial = None
        gc.collect()
        self.model = load_model(other)
        check_log_probs(self.model)
        self._active = other

    def start_training(self, folder: Path | None) -> Any:
        """The model with the weights of `folder`, to be trained; no policy is active until it is saved."""
        self.activate(folder)
        self._active = _IN_TRAINING
        return self.model

    def replace_sharded(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replaces a model that training has sharded by a whole one; no policy is active until it is saved.

        Args:
            weights: All trained weights, by name, in the main process; empty in the others, which load them once saved.

        Raises:
            RunError: A trained weight is missing, or the model has no such weight.
        """
        self._load_base()
        self._active = _IN_TRAINING
        unknown = self.model.load_state_dict(weights, strict=False).unexpected_keys
        if unknown:
            raise RunError(f"training gave weights that the model does not have: {', '.join(sorted(unknown)[:3])}")
        # Of tied weights only one name is in `weights`.
        every = self.model.named_parameters(remove_duplicate=False)
        given = {weight for name, weight in every if name in weights}
        missing = [n for n, weight in self.model.named_parameters() if weight.requires_grad and weight not in given]
        if missing and processes.is_main():
            raise RunError(f"training did not give the weights {', '.join(missing[:3])}, which it trained")

    def _load_adapter(self, folder: Path | None) -> None:
        from peft import set_peft_model_state_dict

        initial = self._initial or {}
        set_peft_model_state_dict(self.model, initial if folder is None else load_adapter(folder, like=initial))

    def broken_weight(self) -> str | None:
        """The name of a trained weight that is not finite; None if all are finite."""
        return broken_weight(self.model)

    def save(self, folder: Path, *, log_lines: int = 0) -> None:
        """Saves the model or adapter and the tokenizer to a folder that is whole or absent; the policy is then active.

        Args:
            folder: The folder.
            log_lines: As of `seal`.
        """
        with quiet_transformers(), atomic_path(folder) as partial:
            self.model.save_pretrained(partial)
            self.tokenizer.save_pretrained(partial)
            seal(partial, log_lines=log_lines)
        self._active = folder

    def merged(self, dtype: torch.dtype) -> Any:
        """The active policy as a whole model without adapters; this object must not be used afterwards.

        The adapter of a quantised base is merged into the very weights that it was trained on, rebuilt in `dtype`; both
        models are in memory meanwhile.

        Args:
            dtype: The number format of the merged weights.
        """
        if not self.has_adapter:
            return self.causal_lm
        if self._config.quantization is None:
            wider = torch.promote_types(self.causal_lm.dtype, dtype)
            if wider != self.causal_lm.dtype:
                # Not where it is that already: the adapter, in fp32, would be rounded before it is added.
                self.model.to(wider)
            return self.model.merge_and_unload().to(dtype)
        config = self._config.model_copy(update={"quantization": None, "dtype": format_name(dtype)})
        whole = Policy(config, self.tokenizer, lora=self._lora, seed=self._seed, stop_ids=self._stop_ids)
        restore(whole.causal_lm, self.causal_lm)
        whole.activate(self.folder)
        return whole.merged(dtype)

    @contextmanager
    def base_forward(self) -> Iterator[Callable[..., Any]]:
        """The base model's forward pass, while the model plays as the active policy.

        With LoRA it is the same model with its adapter off, so `lora.bias` must be "none": trained biases would stay
        on. Without LoRA a second model is in memory within the context.
        """
        if self.has_adapter:
            yield self._without_adapter()
            return
        base: Any = load_model(self._config)
        try:
            yield base.forward
        finally:
            del base
            gc.collect()

    def _without_adapter(self) -> Callable[..., Any]:
        tuner, model = self.model.base_model, self.causal_lm

        # The signature is kept, since `generate` reads from it which inputs a model takes.
        @functools.wraps(model.forward)
        def forward(**inputs: Any) -> Any:
            # Not by peft's `disable_adapter`, which goes through all modules, and here would at every token.
            tuner.disable_adapter_layers()
            try:
                return model(**inputs)
            finally:
                tuner.enable_adapter_layers()

        return forward

    @contextmanager
    def forward_dtype(self) -> Iterator[None]:
        """Within, forward passes have the dtype of training."""
        if self._autocast is None:
            yield
            return
        with torch.autocast(self.causal_lm.device.type, dtype=self._autocast):
            yield

    @torch.no_grad()
    def log_probs(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[Sequence[int]]],
        *,
        temperature: float = 1.0,
    ) -> list[list[torch.Tensor]]:
        """Log-probs of the tokens of each response under the active policy at a temperature, `[T]` nats.

        Their sum is log π(y|x).
        """
        self.model.eval()
        with self.forward_dtype(), tempered(self.model, temperature):
            return per_token_log_probs(self.model, prompts, responses)

    def likely_tokens(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[Sequence[int]]],
        *,
        count: int,
        vocabulary: int,
        temperature: float = 1.0,
    ) -> list[list[LikelyTokens]]:
        """The active policy's likeliest next tokens at each token of each response; see `sparring.logprobs`."""
        self.model.eval()
        with self.forward_dtype(), tempered(self.model, temperature):
            return likely_tokens(self.model, prompts, responses, count=count, vocabulary=vocabulary)


def check_saved(folder: Path) -> None:
    """Raises DamagedError if a file of a policy's folder is not as `Policy.save` wrote it."""
    fix = (
        f"put a whole copy back; or remove {folder} and run `sparring resume RUN`, which trains it again from the "
        "responses on disk (on a CPU to the same bits)"
    )
    check_folder(folder, fix=fix)
