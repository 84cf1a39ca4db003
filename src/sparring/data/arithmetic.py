"""Word problems of one to five steps, with worked solutions; made from a seed, so there is nothing to download.

A problem starts from a number, changes it step by step and asks for the result, so the solution is a chain:

    Ada has 12 marbles. She buys 9 more. She shares them equally among 3 friends. How many … does each friend get?

    12 + 9 = 21
    21 / 3 = 7
    #### 7
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from sparring.data.scenes import COMPARE, DOUBLES, HALF, NAMES, SCENES, TWICE, Scene
from sparring.errors import InputError
from sparring.examples import Example

T = TypeVar("T")

# The problems are made in memory, one by one.
_MOST = 1_000_000
_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


def generate(count: int, difficulty: int, seed: int) -> list[Example]:
    """Makes `count` problems with distinct prompts.

    The same arguments give the same problems on every machine and Python version, and a larger `count` only
    appends: the first problems stay.

    Args:
        count: The number of problems.
        difficulty: Number of steps of each, 1 to 5. Numbers stay below 200 up to two steps, below 500 above.
        seed: Any integer.

    Raises:
        InputError: There are not so many distinct problems (of every difficulty there are more than 10,000), or more
            than a million were asked for.
    """
    if count > _MOST:
        problem = f"{count:,} problems are more than {_MOST:,}, which is as many as are made"
        raise InputError(problem, where="data.limit", fix="lower data.limit")
    draw = _Draw(f"arithmetic/{difficulty}/{seed}")
    largest = 199 if difficulty <= 2 else 499
    problems: dict[str, str] = {}
    for _ in range(20 * count + 1000):
        if len(problems) == count:
            break
        story = _Story(draw, largest)
        if story.tell(difficulty):
            problems.setdefault(" ".join(story.sentences), story.solution())
    else:
        problem = f"only {len(problems)} distinct problems of difficulty {difficulty} were found, {count} are needed"
        raise InputError(problem, where="data.limit", fix="lower data.limit, or raise data.difficulty")
    return [
        Example(index=index, prompt=prompt, response=solution)
        for index, (prompt, solution) in enumerate(problems.items())
    ]


class _Draw:
    """Random choices through `Random.random` alone, the one method that Python promises never to change."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 (no secret depends on it)

    def one_of(self, items: Sequence[T]) -> T:
        return items[int(self._random.random() * len(items))]

    def between(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))


class _Story:
    """One problem while it is told: the sentences, the worked steps and the number so far."""

    def __init__(self, draw: _Draw, largest: int) -> None:
        self.draw, self.largest = draw, largest
        self.sentences: list[str] = []
        self.steps: list[str] = []
        self.told: set[str] = set()
        self.value = 0
        self.scene: Scene = draw.one_of(SCENES)
        name, he, him = draw.one_of(NAMES)
        # A friend with the other pronoun, so that it is clear whom "she" and "he" mean.
        friend = draw.one_of([other for other, pronoun, _ in NAMES if pronoun != he])
        things = draw.one_of(self.scene.things)
        self.words = {"name": name, "he": he, "He": he.capitalize(), "him": him, "friend": friend, "things": things}

    def tell(self, difficulty: int) -> bool:
        """Tells it in exactly that many steps; False where the numbers lead to a dead end."""
        opening = self.draw.one_of(["have", "groups", "compare"] if self.scene.compared else ["have", "groups"])
        ending = self.draw.one_of(["ask", "ask", "share"])
        events = difficulty - (opening != "have") - (ending == "share")
        if events < 0:
            return False
        self._open(opening)
        for _ in range(events):
            self._happen()
        return self._share() if ending == "share" else self._ask(after_events=events > 0 or opening == "have")

    def solution(self) -> str:
        return "\n".join([*self.steps, f"#### {self.value}"])

    def _open(self, opening: str) -> None:
        if opening == "groups":
            a, b = self.draw.between(2, 12), self.draw.between(2, 12)
            self._say(self.draw.one_of(self.scene.groups), a=a, b=b)
            self.value = a
            self._step("*", b)
            return
        self.value = self.draw.between(5, 80)
        if opening == "have":
            self._say(self.draw.one_of(self.scene.have), n=self.value)
            return
        first = self.value
        operation, operand = self._draw_step(times=range(2, 6), among=list(COMPARE))
        words = {"half": HALF.get(operand, ""), "twice": TWICE.get(operand, "")}
        self._say(COMPARE[operation], n=first, k=operand, **words)
        self._step(operation, operand)

    def _happen(self) -> None:
        fresh = {
            operation: [text for text in texts if text not in self.told]
            for operation, texts in self.scene.events.items()
        }
        operation, operand = self._draw_step(times=DOUBLES, among=[name for name, texts in fresh.items() if texts])
        text = self.draw.one_of(fresh[operation])
        self.told.add(text)
        self._say(text, k=operand, doubles=DOUBLES.get(operand, ""), half=HALF.get(operand, ""))
        self._step(operation, operand)

    def _share(self) -> bool:
        divisors = [k for k in range(2, 10) if self.value % k == 0 and self.value // k >= 2]
        if not divisors:
            return False
        operand = self.draw.one_of(divisors)
        self._say(self.draw.one_of(self.scene.share), k=operand)
        self._step("/", operand)
        return True

    def _ask(self, *, after_events: bool) -> bool:
        self._say(self.draw.one_of(self.scene.ask_now) if after_events else self.scene.ask)
        return True

    def _draw_step(self, *, times: Collection[int], among: list[str]) -> tuple[str, int]:
        """An operation and an operand that keep the number whole, at least 2 and at most `largest`."""
        value = self.value
        operands: dict[str, Sequence[int]] = {
            "+": range(2, min(50, self.largest - value) + 1),
            "-": range(2, min(50, value - 2) + 1),
            "*": [k for k in times if value * k <= self.largest],
            "/": [k for k in HALF if value % k == 0 and value // k >= 2],
        }
        operation = self.draw.one_of([name for name in among if operands[name]])
        return operation, self.draw.one_of(operands[operation])

    def _step(self, operation: str, operand: int) -> None:
        result = _COMPUTE[operation](self.value, operand)
        self.steps.append(f"{self.value} {operation} {operand} = {result}")
        self.value = result

    def _say(self, text: str, **words: str | int) -> None:
        self.sentences.append(text.format_map({**self.words, **words}))
