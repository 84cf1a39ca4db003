"""A client of one OpenAI-compatible endpoint that takes and returns token ids."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparring import web
from sparring.errors import InputError, RunError, in_a_line
from sparring.generation.config import ServerConfig
from sparring.generation.protocol import Completion, EngineModel, Request
from sparring.generation.vllm_weights import PROBING, VllmWeights, own_log_probs, sampling
from sparring.web import Answer

# HTTP statuses after which the same request may succeed later: overloaded, restarting, or gone.
_PASSING = frozenset({408, 425, 429})
_UNKNOWN = "unknown"
_WHERE = "generation.endpoints"
_ANOTHER = "use a server that honours n, such as vLLM"
_ADAPTER_FILE = "adapter_model.safetensors"


class Unavailable(Exception):  # noqa: N818 - a state of an endpoint rather than an error of the program
    """The endpoint cannot answer now; it, or another one, may later."""


class Nonsense(Unavailable):
    """The endpoint's answer has not the right form: once it is a fault, repeated it is the wrong kind of server.

    Args:
        problem: What is wrong with the answer.
        fix: What to do if it happens again and again.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; if it always does, {fix}")
        self.problem, self.fix = problem, fix


class Endpoint(VllmWeights):
    """An endpoint and the weights that it was given last.

    It is reached without the environment's proxies and without redirects, so the key and the prompts go nowhere else.

    Args:
        url: The address, without a path.
        config: The pool's settings.
        model: The model that it must serve.
    """

    def __init__(self, url: str, config: ServerConfig, model: EngineModel) -> None:
        super().__init__(model)
        self.where, self._config = url, config
        self._key = web.read_key(config.api_key_env, where="generation.api_key_env")
        self._served, self._adapter = config.model, ""
        self.playing: Path | str | None = _UNKNOWN

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keeps connections open within the block; all other methods need them."""
        with web.client(self.where, key=self._key, seconds=self._config.timeout_s) as self._client:
            yield

    def check(self) -> None:
        """Checks that the endpoint answers, returns token ids, and lets weights be changed.

        Raises:
            Unavailable: It does not answer.
            InputError: It cannot be used; the fix says how to start it.
        """
        if self._model.lora_rank is None:
            route, fix = "/reset_prefix_cache", "start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment"
        else:
            rank = self._model.lora_rank
            fix = f"start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and --max-lora-rank {rank}"
            route = "/v1/load_lora_adapter"
        try:
            self._token_ids(self._complete([1, 1], max_tokens=1)[0])
            self.token_log_probs([1, 1])
        except Nonsense as error:
            raise InputError(f"{self.where} {error.problem}", where=_WHERE, fix=error.fix) from error
        except RunError as error:
            raise InputError(str(error), where=_WHERE) from error
        # The request names no adapter, so nothing is loaded; only a missing route answers 404.
        if self._send("POST", route, {}).status == 404:
            raise InputError(f"{self.where} does not let weights be changed ({route})", where=_WHERE, fix=fix)

    def load(self, folder: Path | None) -> None:
        """Loads the adapter or model in `folder`, a path that the endpoint must see too; None is the base model."""
        self.playing = _UNKNOWN
        super().load(folder)
        self.playing = folder

    def _call(self, method: str, **settings: str) -> None:
        self._post("/collective_rpc", {"method": method, "kwargs": settings})

    def _repack_head(self) -> None:
        # Needed, and possible, only on a CPU with `HeadRepacking`; where it was needed but failed, the probe shows it.
        with suppress(Unavailable):
            super()._repack_head()

    def _forget_prefixes(self) -> None:
        self._post("/reset_prefix_cache", {})

    def _play_adapter(self, folder: Path | None) -> None:
        previous, self._adapter = self._adapter, ""
        if folder is not None:
            # A name of its content: an adapter that another run left there is never taken for this one.
            name = f"sparring-{hashlib.sha256((folder / _ADAPTER_FILE).read_bytes()).hexdigest()[:16]}"
            answer = self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
            if answer.status >= 400 and "already been loaded" not in answer.text:
                raise self._refused(answer)
            self._adapter = name
        if previous and previous != self._adapter:
            # Only frees memory; it may be gone already, after a restart.
            self._send("POST", "/v1/unload_lora_adapter", {"lora_name": previous})

    def token_log_probs(self, ids: Sequence[int]) -> list[float]:
        """Log-probs of all tokens but the first, nats."""
        choice = self._complete(ids, **PROBING)[0]
        try:
            found = own_log_probs(choice["prompt_logprobs"], ids, lambda entry, token: entry[str(token)]["logprob"])
            if any(map(math.isnan, found)):
                raise ValueError("not a number")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Nonsense(
                "returns no prompt_logprobs, so its weights cannot be proved",
                "serve the model with vLLM, or take the generator 'transformers'",
            ) from error
        return found

    def complete(self, request: Request) -> list[Completion]:
        """All samples of one prompt.

        Raises:
            Unavailable: It does not answer, answers in a wrong form, or lost the weights that it was given.
            RunError: It refuses the request.
        """
        choices = self._complete(request.prompt_ids, **sampling(request))
        numbers = [choice.get("index", 0) for choice in choices]
        # The type is compared too, since `true` is a number in Python.
        if sorted(map(repr, numbers)) != sorted(map(repr, range(request.samples))):
            raise Nonsense(f"returned {len(choices)} samples, numbered otherwise than {request.samples}", _ANOTHER)
        ordered = sorted(choices, key=lambda choice: choice.get("index", 0))
        completions = [
            Completion(ids=self._token_ids(each), finish_reason=str(each.get("finish_reason"))[:40]) for each in ordered
        ]
        problems = [problem for each in completions if (problem := request.problem(each))]
        if problems:
            raise Nonsense(
                f"answered with {problems[0]}",
                "check that it serves the run's model with room for the prompt and "
                f"{request.max_new_tokens} new tokens",
            )
        return completions

    def _complete(self, ids: Sequence[int], **settings: Any) -> list[dict[str, Any]]:
        # Every parameter that a server might otherwise take from its defaults or the checkpoint, at its neutral value.
        neutral = {"temperature": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
        body = {
            "model": self._adapter or self._model_name(),
            "prompt": list(ids),
            "ignore_eos": True,
            "frequency_penalty": 0.0,
            "return_token_ids": True,
        }
        answer = self._post("/v1/completions", body | neutral | settings)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices or not all(isinstance(each, dict) for each in choices):
            raise Unavailable("it answered a completion without choices")
        if any(each.get("prompt_token_ids") not in (None, list(ids)) for each in choices):
            raise Nonsense("changed the prompt's tokens", "serve the model without truncation")
        return choices

    def _model_name(self) -> str:
        if self._served is None:
            listed = self._json(self._send("GET", "/v1/models"))
            try:
                self._served = str(listed["data"][0]["id"])
            except (KeyError, IndexError, TypeError) as error:
                raise Nonsense("lists no model", "set generation.model") from error
        return self._served

    def _token_ids(self, choice: Mapping[str, Any]) -> list[int]:
        ids = choice.get("token_ids")
        known = range(self._model.vocabulary)
        if not isinstance(ids, list) or not all(type(token) is int and token in known for token in ids):
            raise Nonsense(
                "does not return the token ids that it sampled (token_ids), and its text tokenised again need not be "
                "what was sampled",
                "use a server that honours return_token_ids, such as vLLM",
            )
        return ids

    def _post(self, route: str, body: Mapping[str, Any]) -> Any:
        return self._json(self._send("POST", route, body))

    def _send(self, method: str, route: str, body: Mapping[str, Any] | None = None) -> Answer:
        try:
            answer = web.ask(self._client, method, route, body)
        except (web.NoAnswerError, web.BadAnswerError) as error:
            raise Unavailable(str(error)) from error
        if answer.status >= 500 or answer.status in _PASSING:
            raise Unavailable(f"status {answer.status}: {self._told(answer)}")
        if 300 <= answer.status < 400:
            to = web.without_key(answer.headers.get("location", "nowhere"), self._key)
            raise Nonsense(f"sends us to {to}", "give the address that it names")
        return answer

    def _json(self, answer: Answer) -> Any:
        if answer.status >= 400:
            raise self._refused(answer)
        try:
            return answer.json() if answer.content else None
        except web.BadAnswerError as error:
            raise Unavailable(str(error)) from error

    def _refused(self, answer: Answer) -> Exception:
        if answer.status == 404 and self._adapter:
            # A server that was restarted has lost the adapter.
            self.playing = _UNKNOWN
            return Unavailable(f"it lost the adapter {self._adapter}")
        fix = ""
        if answer.status in {401, 403}:
            fix = "\n  fix: name the variable that holds its key in generation.api_key_env"
        return RunError(f"{self.where} refused a request (status {answer.status}: {self._told(answer)}){fix}")

    def _told(self, answer: Answer) -> str:
        return in_a_line(web.without_key(answer.text, self._key))
