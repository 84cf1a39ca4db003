"""A judge and a pool of completion servers under load, with a fifth of the answers broken in every way there is.

    $ python campaigns/load.py --judgements 2000 --completions 500 --concurrency 64 --seed 0

Each comparison must be judged exactly once or abstain as it should, each completion be what its model samples, with
none lost and none twice; after a kill in the middle only what is missing is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ground import CompletionsServer, Figures, save_tiny
from judges.server import HOSTILE, ChatServer, Fault, hang, serving, status
from sparring import web
from sparring.errors import RunError
from sparring.generation import server as generation_server
from sparring.generation.config import ServerConfig
from sparring.generation.server import ServerEngine
from sparring.generation.weights import Weights
from sparring.judges import JUDGES, Question, chat
from sparring.pauses import Pauses
from tiny_engine import TinyEngine, engine_model, request

SHARE = 0.2
# Prompts whose answer can never be read, one in so many.
HOPELESS = 50
FAULTS: dict[str, Fault] = HOSTILE | {
    "429": status(429),
    "429, wait": status(429, Retry_After="0.01"),
    "429, wait for ever": status(429, Retry_After="1e9"),
    "500": status(500),
    "503": status(503),
    "hang": hang,
}


class Faults:
    """A fault for a fifth of all requests, each kind in turn."""

    def __init__(self, seed: int) -> None:
        self._chance, self._lock, self.given = random.Random(seed), threading.Lock(), Counter[str]()

    def next(self) -> Fault | None:
        """What goes wrong with the next request, if anything."""
        with self._lock:
            if self._chance.random() >= SHARE:
                return None
            name = self._chance.choice(sorted(FAULTS))
            self.given[name] += 1
            return FAULTS[name]


def questions(count: int) -> list[Question]:
    """Comparisons of which the longer response wins; each is two requests."""
    return [Question(prompt=f"question {n}", responses=(f"short {n}", f"a longer answer {n}")) for n in range(count)]


def hopeless(prompt: str) -> bool:
    """Whether the server never answers this prompt in a way that can be read."""
    first = prompt.partition("\n")[2].partition("question ")[2].split("\n")[0]
    return first.isdecimal() and int(first) % HOPELESS == 0


def answer(prompt: str) -> str:
    """The longer one is better."""
    first = prompt.partition("[Response A]\n")[2]
    return "Verdict: A" if first.startswith("a longer") else "Verdict: B"


@contextlib.contextmanager
def judging_server(faults: Faults) -> Iterator[ChatServer]:
    """A server with faults."""
    with serving(answer) as running:
        running.spoils = lambda prompt: HOSTILE["not UTF-8"] if hopeless(prompt) else faults.next()
        yield running


def hurry() -> None:
    """Pauses and limits for a campaign's server, which is quick."""
    chat._PAUSES = Pauses(first_s=0.01, longest_s=0.1)  # noqa: SLF001
    generation_server._PAUSES = Pauses(first_s=0.01, longest_s=0.1)  # noqa: SLF001
    web.LARGEST = 2**20


def ask(url: str, cache: Path, count: int, concurrency: int) -> list[Any]:
    """The verdicts of so many comparisons."""
    hurry()
    settings = {"model": "m", "base_url": url, "api_key_env": None, "concurrency": concurrency}
    judge = JUDGES["llm"](**settings, patience=60.0, timeout=2.0).start(cache)
    return [*judge(questions(count))]


def judge_load(count: int, concurrency: int, seed: int, figures: Figures) -> None:
    """Judges half of it until it is killed, then all of it."""
    faults, began = Faults(seed), time.monotonic()
    with judging_server(faults) as running, tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        killed = multiprocessing.get_context("spawn").Process(target=ask, args=(running.url, cache, count, concurrency))
        killed.start()
        while killed.is_alive() and sum(1 for _ in cache.rglob("*.json")) < count:
            time.sleep(0.02)
        killed.kill()
        killed.join()
        kept = {*cache.rglob("*.json")}
        before = Counter(running.answered)
        verdicts = ask(running.url, cache, count, concurrency)
        expected = [None if n % HOPELESS == 0 else 1.0 for n in range(count)]
        again = len(running.requests)
        repeated = ask(running.url, cache, count, concurrency) == verdicts and len(running.requests) == again
        twice = sum(times > 1 for prompt, times in running.answered.items() if "question" in prompt)
        lost = sum(v.pairwise[1][0] != right for v, right in zip(verdicts, expected, strict=True))
        # What was being answered when the process was killed could not be kept.
        asked_again = sum(running.answered[p] > times for p, times in before.items() if "question" in p)
    figures.counts["judge"] = {
        "comparisons": count,
        "answers": 2 * count,
        "kept at the kill": len(kept),
        "requests": again,
        "faults given": dict(sorted(faults.given.items())),
        "judged": sum(v.pairwise[1][0] is not None for v in verdicts),
        "abstained": sum(v.abstentions for v in verdicts),
        "wrong or lost": lost,
        "answered twice": twice,
        "answered again after the kill": asked_again,
        "seconds": round(time.monotonic() - began, 1),
    }
    if lost:
        figures.faults.append(f"{lost} comparisons were lost, or came out otherwise")
    if not repeated:
        figures.faults.append("what is kept is not what was answered, or was asked for again")
    if twice > concurrency:
        figures.faults.append(f"{twice} were answered twice, more than can be under way at the kill")
    if len(kept) < count:
        figures.faults.append(f"the process ended by itself after {len(kept)} answers")


def completion_load(count: int, concurrency: int, seed: int, figures: Figures) -> None:
    """Samples from two servers, one of which dies and comes back."""
    faults, began = Faults(seed + 1), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        hurry()
        base = save_tiny(Path(folder) / "base")
        model = TinyEngine(base)
        probe = (1, *range(40, 60))
        weights = Weights(folder=None, probe=probe, log_probs=tuple(model.token_log_probs(probe)))
        servers = [stack.enter_context(CompletionsServer(TinyEngine(base)).running()) for _ in range(2)]
        for each in servers:
            each.faults.extend(fault or "" for fault in (faults.next() for _ in range(4 * count)))
        asked = [request([1, 40 + n % 200, 50 + n // 200], samples=2, seed=n) for n in range(count)]
        config = ServerConfig(
            endpoints=tuple(each.url for each in servers), concurrency=concurrency // 2, timeout_s=2.0, retries=60
        )
        try:
            answers = ServerEngine(config, engine_model(base)).complete(asked, weights)
        except RunError as error:
            figures.faults.append(f"the pool gave up: {error}")
            answers = []
        wrong = sum(found != model.complete(each) for found, each in zip(answers, asked, strict=False))
    figures.counts["completions"] = {
        "requests": count,
        "answered": len(answers),
        "wrong": wrong,
        "answered by the servers": sum(len(each.served) for each in servers),
        "faults left": sum(len(each.faults) for each in servers),
        "seconds": round(time.monotonic() - began, 1),
    }
    if wrong or len(answers) != count:
        figures.faults.append(f"{count - len(answers)} completions were lost and {wrong} are not what was sampled")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both; the exit code is 1 where there were faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--judgements", type=int, default=2000)
    parser.add_argument("--completions", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=20.0, help="after which it gives up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    figures = Figures("load", asked.seed)

    def give_up() -> None:
        print(f"load: not done after {asked.minutes:g} minutes", file=sys.stderr, flush=True)
        multiprocessing.current_process().kill() if multiprocessing.parent_process() else sys.exit(1)

    clock = threading.Timer(60 * asked.minutes, give_up)
    clock.daemon = True
    clock.start()
    judge_load(asked.judgements, asked.concurrency, asked.seed, figures)
    completion_load(asked.completions, asked.concurrency, asked.seed, figures)
    clock.cancel()
    return figures.end(asked.json)


if __name__ == "__main__":
    sys.exit(main())
