"""A pool of endpoints: requests go to a free one, and those of one that dies go to another."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

from sparring.errors import InputError, RunError
from sparring.generation.config import GenerationConfig, ServerConfig
from sparring.generation.endpoint import Endpoint, Unavailable
from sparring.generation.protocol import Completion, EngineModel, Request
from sparring.generation.weights import Weights, swap
from sparring.pauses import Pauses
from sparring.progress import console

_PAUSES = Pauses(first_s=0.5, longest_s=30.0)
# No server restarts faster than this. One that was silent for longer may have restarted, so its weights are checked
# again.
_SILENCE_S = 5.0


class ServerEngine:
    """Shares a batch's prompts out among endpoints.

    The weights of every endpoint are checked at the start of a batch and again after each failure, since a restart
    loses them.

    Args:
        config: The settings.
        model: The model that the endpoints serve.
    """

    name = "server"

    def __init__(self, config: ServerConfig, model: EngineModel) -> None:
        self._config = config
        self._endpoints = [Endpoint(url, config, model) for url in config.endpoints]

    @classmethod
    def of(cls, config: GenerationConfig, model: EngineModel) -> Self:
        """The engine of some settings; ValueError where they are another engine's."""
        if not isinstance(config, ServerConfig):
            raise ValueError(f"these are the settings of the generator '{config.name}'")
        return cls(config, model)

    def check(self) -> None:
        """Asks each endpoint for a token; at least one must answer, and the others are named."""
        silent = []
        for endpoint in self._endpoints:
            try:
                with endpoint.connected():
                    endpoint.check()
            except Unavailable as error:
                silent.append(f"{endpoint.where}: {error}")
        if len(silent) == len(self._endpoints):
            raise InputError(
                f"no endpoint answers ({'; '.join(silent)})",
                where="generation.endpoints",
                fix="start them, or correct their addresses",
            )
        for each in silent:
            console.print(f"an endpoint does not answer, the others play: {each}")

    def complete(self, requests: Sequence[Request], weights: Weights) -> list[list[Completion]]:
        """All samples of each request; see `Engine`.

        Raises:
            RunError: Every endpoint failed too often, one has other weights, or one keeps answering in a wrong form.
        """
        batch = _Batch(requests)
        turns = [_Turn(endpoint, self._config, weights, batch) for endpoint in self._endpoints]
        with ExitStack() as stack:
            for endpoint in self._endpoints:
                stack.enter_context(endpoint.connected())
            threads = stack.enter_context(ThreadPoolExecutor(len(turns) * self._config.concurrency))
            for turn in turns:
                for _ in range(min(self._config.concurrency, len(requests))):
                    threads.submit(turn.work)
        if batch.error is not None:
            raise batch.error
        if not batch.over.is_set():
            failures = "; ".join(f"{turn.endpoint.where}: {turn.failure}" for turn in turns)
            raise RunError(
                f"no endpoint answers any more ({failures})\n"
                "  fix: start them again, then `sparring resume RUN`: the batches before this one are on disk"
            )
        return batch.answers()


class _Batch:
    """A batch's waiting requests, its answers so far, and the error that ends it, if any."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._waiting = deque(range(len(requests)))
        self._answers: dict[int, list[Completion]] = {}
        self._changed = threading.Condition()
        self.over = threading.Event()
        self.error: BaseException | None = None

    def take(self) -> int | None:
        """The next waiting request; None when all are answered. Waits for requests under way, which may come back."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.over.is_set())
            return None if self.over.is_set() else self._waiting.popleft()

    def __getitem__(self, number: int) -> Request:
        return self._requests[number]

    def put_back(self, number: int) -> None:
        """Leaves a request to another endpoint."""
        with self._changed:
            self._waiting.appendleft(number)
            self._changed.notify_all()

    def answer(self, number: int, completions: list[Completion]) -> None:
        """Keeps the answer to a request."""
        with self._changed:
            self._answers[number] = completions
            if len(self._answers) == len(self._requests):
                self._end()

    def fail(self, error: BaseException) -> None:
        """Ends the batch by an error that no other endpoint would avoid."""
        with self._changed:
            self.error = self.error or error
            self._end()

    def _end(self) -> None:
        self.over.set()
        self._changed.notify_all()

    def answers(self) -> list[list[Completion]]:
        """The answers in the order of the requests."""
        return [self._answers[number] for number in range(len(self._requests))]


class _Turn:
    """One endpoint's part in one batch, played by several threads."""

    def __init__(self, endpoint: Endpoint, config: ServerConfig, weights: Weights, batch: _Batch) -> None:
        self.endpoint, self.failure = endpoint, ""
        self._config, self._weights, self._batch = config, weights, batch
        self._lock = threading.Lock()
        self._ready, self._failures, self._era, self._heard = False, 0, 0, 0.0

    def work(self) -> None:
        """Answers requests until none is left or the endpoint is given up."""
        try:
            while (number := self._batch.take()) is not None:
                era = self._prepare()
                if era is None:
                    self._batch.put_back(number)
                    return
                try:
                    completions = self.endpoint.complete(self._batch[number])
                except Unavailable as error:
                    self._batch.put_back(number)
                    with self._lock:
                        self._failed(error, era)
                else:
                    self._keep(number, completions, era)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the batch was asked for
            self._batch.fail(error)

    def _prepare(self) -> int | None:
        """Waits until the endpoint plays the right weights; None when the batch is over or it is given up.

        One thread waits and asks, the others wait for that one.
        """
        with self._lock:
            if time.monotonic() - self._heard > _SILENCE_S:
                self._ready = False
            while not self._ready and self._failures <= self._config.retries and not self._batch.over.is_set():
                if self._failures:
                    self._batch.over.wait(_PAUSES.after(self._failures))
                try:
                    self._prove()
                except Unavailable as error:
                    self._failed(error, self._era)
            return self._era if self._ready and not self._batch.over.is_set() else None

    def _prove(self) -> None:
        tolerance = self._config.tolerance
        if not (self.endpoint.playing == self._weights.folder and self._weights.distance(self.endpoint) <= tolerance):
            swap(self.endpoint, self._weights, tolerance=tolerance)
        self._ready, self._heard = True, time.monotonic()

    def _keep(self, number: int, completions: list[Completion], era: int) -> None:
        with self._lock:
            if era == self._era:
                self._failures, self._heard = 0, time.monotonic()
                self._batch.answer(number, completions)
            else:
                # Another request failed meanwhile: the endpoint may have been restarted, with other weights.
                self._batch.put_back(number)

    def _failed(self, error: Unavailable, era: int) -> None:
        """Counts a failure; the failures of requests that were under way at the same time count as one."""
        if era == self._era:
            self.failure, self._ready = str(error), False
            self._failures, self._era = self._failures + 1, self._era + 1
