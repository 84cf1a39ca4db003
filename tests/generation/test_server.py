"""The pool of endpoints: nothing is lost, nothing comes from other weights, nothing is taken for what it is not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from completions_server import CompletionsServer
from judges.server import HOSTILE
from sparring import web
from sparring.errors import InputError, RunError
from sparring.generation import engine, generation_config, server
from sparring.generation.config import ServerConfig
from sparring.generation.server import ServerEngine
from sparring.generation.weights import Weights
from sparring.pauses import Pauses
from tiny import save_tiny, tiny_model
from tiny_engine import TinyEngine, engine_model, request, weights_of

Start = Callable[..., CompletionsServer]
REQUESTS = [request([1, 40 + n, 50], samples=2, seed=n) for n in range(12)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PAUSES", Pauses(first_s=0.01, longest_s=30.0))


@pytest.fixture
def start(tiny_folder: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(**settings: Any) -> CompletionsServer:
            parts = {name: settings.pop(name) for name in ("keeps_head", "repairs") if name in settings}
            return stack.enter_context(CompletionsServer(TinyEngine(tiny_folder, **parts), **settings).running())

        yield begin


def pool(folder: Path, *servers: CompletionsServer, lora_rank: int | None = None, **settings: Any) -> ServerEngine:
    options = {"endpoints": [each.url for each in servers], "concurrency": 3, "timeout_s": 20.0} | settings
    return ServerEngine(ServerConfig(**options), engine_model(folder, lora_rank=lora_rank))


@pytest.fixture
def base(tiny_folder: Path) -> Weights:
    return weights_of(TinyEngine(tiny_folder))


@pytest.fixture
def other(tmp_path: Path) -> Weights:
    folder = save_tiny(tmp_path / "other", seed=5)
    return weights_of(TinyEngine(folder), folder)


@pytest.fixture
def expected(tiny_folder: Path) -> list[Any]:
    model = TinyEngine(tiny_folder)
    return [model.complete(each) for each in REQUESTS]


def test_answers_are_those_of_the_model_in_order(tiny_folder: Path, start: Start, base: Weights, expected: Any) -> None:
    servers = [start(), start()]
    assert pool(tiny_folder, *servers).complete(REQUESTS, base) == expected
    assert all(each.served for each in servers)
    assert sum(len(each.served) for each in servers) == len(REQUESTS)


@pytest.mark.parametrize("fault", ["500", "429", "drop", "garbage", "empty", "restart", "hang"])
def test_a_fault_that_passes_loses_nothing(
    tiny_folder: Path, start: Start, base: Weights, expected: Any, fault: str
) -> None:
    only = start()
    only.faults.extend([fault] * 3)
    only.hang_s = 1.0
    settings = {"timeout_s": 0.5} if fault == "hang" else {}
    assert pool(tiny_folder, only, **settings).complete(REQUESTS, base) == expected


def test_what_a_dying_endpoint_had_goes_to_the_others(
    tiny_folder: Path, start: Start, base: Weights, expected: Any
) -> None:
    dying, living = start(), start()
    engines = pool(tiny_folder, dying, living, retries=1)
    complete = dying.completion

    def die(body: dict[str, Any], fault: str) -> tuple[int, Any]:
        if "prompt_logprobs" not in body and len(dying.served) >= 2:
            dying.down = True
            return 500, {}
        return complete(body, fault)

    dying.completion = die  # type: ignore[method-assign]
    assert engines.complete(REQUESTS, base) == expected
    assert 1 <= len(dying.served) <= 4
    # It comes back for the next batch, if it can.
    dying.down, dying.completion = False, complete  # type: ignore[method-assign]
    dying.served.clear()
    assert engines.complete(REQUESTS, base) == expected
    assert dying.served


def test_all_endpoints_down_says_how_to_go_on(tiny_folder: Path, start: Start, base: Weights) -> None:
    servers = [start(), start()]
    engines = pool(tiny_folder, *servers, retries=2)
    for each in servers:
        each.down = True
    with pytest.raises(RunError, match=r"(?s)no endpoint answers any more .*127.*127.*sparring resume RUN"):
        engines.complete(REQUESTS, base)


def test_a_pool_that_is_down_for_a_while_is_waited_for(
    tiny_folder: Path, start: Start, base: Weights, expected: Any
) -> None:
    only = start()
    only.down = True
    revive = threading.Timer(0.3, lambda: setattr(only, "down", False))
    revive.start()
    assert pool(tiny_folder, only, retries=12).complete(REQUESTS, base) == expected
    revive.join()


def test_new_weights_are_loaded_once_and_the_base_comes_back(
    tiny_folder: Path, start: Start, base: Weights, other: Weights, expected: Any
) -> None:
    servers = [start(), start()]
    engines = pool(tiny_folder, *servers)
    assert other.folder is not None
    mine = [TinyEngine(other.folder).complete(each) for each in REQUESTS]
    for weights, answers in ((base, expected), (other, mine), (other, mine), (base, expected)):
        assert engines.complete(REQUESTS, weights) == answers
    for each in servers:
        loaded = [body["kwargs"]["weights_path"] for _, body in each.calls if body.get("method") == "reload_weights"]
        assert loaded == [str(tiny_folder), str(other.folder), str(tiny_folder)]


def test_a_restart_between_batches_is_noticed(tiny_folder: Path, start: Start, other: Weights) -> None:
    only = start()
    engines = pool(tiny_folder, only)
    before = engines.complete(REQUESTS, other)
    only.engine.restart()
    assert engines.complete(REQUESTS, other) == before


def test_a_restart_within_a_batch_is_noticed(
    tiny_folder: Path, start: Start, other: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any failed request: only the silence tells."""
    only = start()
    engines = pool(tiny_folder, only, concurrency=1)
    before = engines.complete(REQUESTS, other)
    monkeypatch.setattr(server, "_SILENCE_S", -1.0)
    complete = only.completion

    def restart_after(body: dict[str, Any], fault: str) -> tuple[int, Any]:
        answer = complete(body, fault)
        if "prompt_logprobs" not in body and len(only.served) % 5 == 0:
            only.engine.restart()
        return answer

    only.completion = restart_after  # type: ignore[method-assign]
    assert engines.complete(REQUESTS, other) == before


def test_a_stale_head_is_repaired_or_refused(tiny_folder: Path, start: Start, other: Weights) -> None:
    assert other.folder is not None
    mine = [TinyEngine(other.folder).complete(each) for each in REQUESTS]
    assert pool(tiny_folder, start(keeps_head=True)).complete(REQUESTS, other) == mine
    with pytest.raises(RunError, match="stale or other weights"):
        pool(tiny_folder, start(keeps_head=True, repairs=False)).complete(REQUESTS, other)


@pytest.fixture
def adapter(tmp_path: Path) -> Weights:
    model = get_peft_model(tiny_model(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.2)
    model.save_pretrained(tmp_path / "adapter")
    return weights_of(TinyEngine.of(model.eval()), tmp_path / "adapter")


def test_adapters_are_served_as_adapters(tiny_folder: Path, start: Start, base: Weights, adapter: Weights) -> None:
    only = start(routes=("lora",))
    engines = pool(tiny_folder, only, lora_rank=4)
    plain = engines.complete(REQUESTS, base)
    adapted = engines.complete(REQUESTS, adapter)
    assert adapted != plain
    assert only.seen[1]["model"].startswith("sparring-")
    # A server that was restarted has forgotten the adapter.
    only.engine.restart()
    assert engines.complete(REQUESTS, adapter) == adapted
    # Another program finds the adapter there already; the base model needs none.
    again = pool(tiny_folder, only, lora_rank=4)
    assert again.complete(REQUESTS, adapter) == adapted
    assert again.complete(REQUESTS, base) == plain
    assert only.engine.adapters == {}


NONSENSE = {
    "no-ids": "does not return the token ids that it sampled",
    "truncated": "changed the prompt's tokens",
    "extra": "tokens after an end token",
    "cut": "says otherwise|cut at the limit",
    "no samples": "returned 1 samples, numbered otherwise than 2",
    "one sample twice": "returned 2 samples, numbered otherwise than 2",
    "true for a number": "numbered otherwise",
    "a token of nobody's": "does not return the token ids",
    "another finish": "the finish reason",
}


@pytest.mark.parametrize("fault", NONSENSE)
def test_an_answer_that_is_not_what_was_sampled_is_asked_for_again(
    tiny_folder: Path, start: Start, base: Weights, expected: Any, fault: str
) -> None:
    only = start()
    only.faults.append(fault)
    assert pool(tiny_folder, only).complete(REQUESTS, base) == expected


@pytest.mark.parametrize("fault", NONSENSE)
def test_answers_that_are_never_what_was_sampled(tiny_folder: Path, start: Start, base: Weights, fault: str) -> None:
    only = start()
    engines = pool(tiny_folder, only, retries=1)
    only.faults.extend([fault] * 1000)
    with pytest.raises(RunError, match=rf"(?s)no endpoint answers any more .*{NONSENSE[fault]}"):
        engines.complete(REQUESTS, base)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer_that_cannot_be_read_is_asked_for_again(
    tiny_folder: Path, start: Start, base: Weights, expected: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LARGEST", 2**20)
    only = start()
    only.faults.append(HOSTILE[name])
    assert pool(tiny_folder, only, timeout_s=2.0).complete(REQUESTS[:3], base) == expected[:3]


@pytest.mark.parametrize("score", [10**400, "x", None, [], float("nan")])
def test_a_proof_that_cannot_be_read_once_is_asked_for_again(
    tiny_folder: Path, start: Start, base: Weights, expected: Any, score: object
) -> None:
    only = start()
    complete, spoilt = only.completion, []

    def spoil(body: dict[str, Any], fault: str) -> tuple[int, Any]:
        status, answer = complete(body, fault)
        if "prompt_logprobs" in body and not spoilt:
            spoilt.append(answer)
            for entry in filter(None, answer["choices"][0]["prompt_logprobs"]):
                entry[next(iter(entry))]["logprob"] = score
        return status, answer

    only.completion = spoil  # type: ignore[method-assign]
    assert pool(tiny_folder, only).complete(REQUESTS, base) == expected
    assert spoilt


def test_every_setting_that_a_server_could_choose_is_said(tiny_folder: Path, start: Start, base: Weights) -> None:
    only = start()
    asked = request([1, 44], samples=3, temperature=0.7, top_p=0.9, top_k=5, stop_ids=(2, 7), max_new_tokens=4, seed=9)
    pool(tiny_folder, only).complete([asked], base)
    assert only.seen[1] == {
        "model": "tiny",
        "prompt": [1, 44],
        "n": 3,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": 9,
        "max_tokens": 4,
        "ignore_eos": True,
        "stop_token_ids": [2, 7],
        "return_token_ids": True,
    }


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    tiny_folder: Path, start: Start, base: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = start(key="s3cret-key")
    monkeypatch.delenv("ENDPOINT_KEY", raising=False)
    with pytest.raises(InputError, match="variable ENDPOINT_KEY is not set"):
        pool(tiny_folder, only, api_key_env="ENDPOINT_KEY")
    monkeypatch.setenv("ENDPOINT_KEY", "wrong-key")
    with pytest.raises(InputError, match="api_key_env") as caught:
        pool(tiny_folder, only, api_key_env="ENDPOINT_KEY").check()
    assert "wrong-key" not in str(caught.value)
    monkeypatch.setenv("ENDPOINT_KEY", "s3cret-key")
    engines = pool(tiny_folder, only, api_key_env="ENDPOINT_KEY")
    engines.check()
    engines.complete(REQUESTS[:1], base)
    assert only.seen[0]["Authorization"] == "Bearer s3cret-key"


def test_a_key_that_a_server_repeats_is_not_shown(
    tiny_folder: Path, start: Start, base: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDPOINT_KEY", "s3cret/key")
    only = start(key="s3cret/key")
    engines = pool(tiny_folder, only, api_key_env="ENDPOINT_KEY", retries=0)
    said = b'{"error": "no, s3cret\\/key, s3cret/key"}'
    for code in (400, 500):
        only.faults.append(lambda handler, code=code: handler._send(code, said))
        with pytest.raises(RunError, match=re.escape("no, ***, ***")):
            engines.complete(REQUESTS[:1], base)
    only.faults.append(lambda handler: handler.reply(302, "", Location="http://127.0.0.1:1/?key=s3cret%2Fkey"))
    with pytest.raises(RunError, match=re.escape("key=***")):
        engines.complete(REQUESTS[:1], base)


class TestCheck:
    """What is refused before anything expensive."""

    def test_a_good_pool_passes(self, tiny_folder: Path, start: Start) -> None:
        config = generation_config(name="server", endpoints=[start().url])
        assert isinstance(engine(config, lambda: engine_model(tiny_folder)), ServerEngine)
        pool(tiny_folder, start(), lora_rank=8).check()

    def test_no_endpoint_answers(self, tiny_folder: Path, start: Start) -> None:
        only = start()
        only.down = True
        with pytest.raises(InputError, match=r"(?s)no endpoint answers \(http://127.*fix: start them"):
            pool(tiny_folder, only).check()

    def test_one_of_two_is_enough_and_the_other_is_named(
        self, tiny_folder: Path, start: Start, capsys: pytest.CaptureFixture[str]
    ) -> None:
        silent, there = start(), start()
        silent.down = True
        pool(tiny_folder, silent, there).check()
        assert silent.url in capsys.readouterr().err.replace("\n", "")

    def test_no_token_ids(self, tiny_folder: Path, start: Start) -> None:
        only = start()
        only.faults.append("no-ids")
        with pytest.raises(InputError, match="use a server that honours return_token_ids"):
            pool(tiny_folder, only).check()

    @pytest.mark.parametrize(("rank", "fix"), [(None, "VLLM_SERVER_DEV_MODE=1"), (8, "--max-lora-rank 8")])
    def test_weights_that_cannot_be_changed(self, tiny_folder: Path, start: Start, rank: int | None, fix: str) -> None:
        with pytest.raises(InputError, match=fix):
            pool(tiny_folder, start(routes=()), lora_rank=rank).check()
