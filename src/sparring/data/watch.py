"""Watches the examples as they are encoded, for peculiarities that a person would want to know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sparring.data.config import DataConfig
from sparring.data.findings import SHOWN, Count, DroppedTurns, Observation, difference, shortened
from sparring.data.template import PromptTemplate, answers, place, turns_of
from sparring.data.verifiers import VERIFIERS, is_right
from sparring.errors import InputError
from sparring.examples import Example

CUT = "cut responses"
"""The name of the finding that matters only where the data's responses are learned from."""

_OFTEN = 0.1
# The mark that opens a thought, a channel or a turn, at the end of a prompt.
_MARK = re.compile(r"(<[^<>\s]{1,40}>|\[[A-Z_]{1,40}\])\s*$")
# The end of a transcript, after which the assistant is to answer.
_ANSWER = re.compile(r"(?:\A|\n)[# ]*(?:Assistant|ASSISTANT|Response):\s*\Z")


@dataclass(kw_only=True)
class Watch:
    """Counts, with an example of each kind, where the model sees something else than the rows seem to say.

    Attributes:
        template: Writes the prompts.
        config: The limits, and how the data are read.
        mismatch: Rows that the template writes differently when prompt and response are one conversation.
        dropped: Turns whose words are not in the prompt.
        special: Rows that hold the text of special tokens.
        long: Prompts that are left out as too long.
        cut: Responses that are cut at their limit.
        wrong: Expert responses that the verifier finds wrong by the row's own ground truth.
        unknown: Rows with characters that the tokenizer has no token for.
        bare: Prompts that the user's own template begins without the token that the tokenizer puts first.
        opened: Rows whose response begins with the mark that the prompt already ends with.
        repeated: Rows whose responses all begin with the words of the prompt.
        transcripts: Rows whose last turn is a transcript that ends where the assistant answers, within a chat template.
    """

    template: PromptTemplate
    config: DataConfig
    mismatch: Count = field(default_factory=Count)
    dropped: Count = field(default_factory=Count)
    special: Count = field(default_factory=Count)
    long: Count = field(default_factory=Count)
    cut: Count = field(default_factory=Count)
    wrong: Count = field(default_factory=Count)
    bare: Count = field(default_factory=Count)
    unknown: Count = field(default_factory=Count)
    opened: Count = field(default_factory=Count)
    repeated: Count = field(default_factory=Count)
    transcripts: Count = field(default_factory=Count)
    _between: set[str] = field(default_factory=set)
    _seen_special: set[str] = field(default_factory=set)
    _turns: DroppedTurns = field(init=False)

    def __post_init__(self) -> None:
        self._turns = DroppedTurns(render=self.template.render)
        self._verifier = None if self.config.verifier is None else VERIFIERS[self.config.verifier]()
        tokenizer = self.template.tokenizer
        puts_first = tokenizer.bos_token_id in tokenizer("a")["input_ids"][:1]
        # Some models have one token for this and for the end of a text.
        self._ends = {*self.template.stop_ids()}
        apart = tokenizer.unk_token_id not in {*self._ends, tokenizer.bos_token_id}
        self._unknown = tokenizer.unk_token_id if apart else None
        self._first = tokenizer.bos_token if puts_first and self.template.jinja is not None else ""

    def see(self, example: Example, prompt: str, ids: Sequence[Sequence[int]]) -> None:
        """Counts the peculiarities of an example that was kept.

        Args:
            example: The example.
            prompt: Its prompt, as text.
            ids: The tokens of the prompt, and those of each of its responses.
        """
        self._see_special(example)
        self._see_answer(example)
        again = [text.lstrip().startswith(example.prompt.strip()) for text in answers(example)]
        self.repeated.add(bool(again) and all(again), 1, lambda: f"{place(example)}: {shortened(example.prompt)}")
        cut = [response[-1] not in self._ends for response in ids[1:]]
        self.cut.add(sum(cut), len(cut), lambda: place(example))
        tokens = [part for part in ids if self._unknown in part]
        self.unknown.add(
            bool(tokens), 1, lambda: f"{place(example)}: {shortened(self.template.tokenizer.decode(tokens[0]))}"
        )
        if not self.template.chat:
            return
        asks = _ANSWER.search(example.prompt) is not None
        self.transcripts.add(asks, 1, lambda: f"{place(example)}: …{shortened(example.prompt[-SHOWN // 2 :])}")
        turns = turns_of(example)
        lost = self._turns.find(turns, prompt)
        self.dropped.add(
            len(lost),
            len(turns),
            lambda: f"{place(example)}: the {turns[lost[0]]['role']}'s {shortened(turns[lost[0]]['content'])}",
        )
        self.bare.add(not prompt.startswith(self._first), 1, lambda: f"{place(example)}: {shortened(prompt)}")
        if example.response is not None:
            self._see_whole(example, prompt, example.response)

    def findings(self) -> tuple[Observation, ...]:
        """The findings, the gravest first."""
        found = (
            self.dropped.finding(
                "dropped turns",
                "turns are not written by the chat template, or not as a whole: the model never sees those words. "
                "Move them into a turn that is written, or take another template (data.chat_template)",
            ),
            self.long.finding(
                "dropped prompts",
                "prompts are left out as too long; data.overlong_prompt: error stops there instead, and truncate-left "
                "cuts them",
            ),
            self.wrong.finding(
                "wrong experts",
                f"expert responses beside a ground truth are wrong by it, says the verifier '{self.config.verifier}': "
                "imitation learns the error, while verdicts and accuracy go by the ground truth",
            ),
            self.opened.finding(
                "opened twice",
                "responses begin with the mark that their prompt ends in already: the model sees it twice, and never "
                "writes it so. Leave it out of the responses",
            ),
            self.repeated.finding(
                "repeated prompts",
                "rows have responses that begin with their own prompt, word for word: the model learns to say it "
                "again. Where the responses are whole texts, take the prompt out of them",
            ),
            self.transcripts.finding(
                "written-out prompts",
                "prompts end in words such as 'Assistant:', where a text that writes out who speaks has the model "
                "answer: the chat template writes them all as one turn of the user's. Write the turns as messages, or "
                "set data.chat_template: none",
            ),
            self._special(),
            self.unknown.finding(
                "unknown characters",
                f"rows hold characters that the tokenizer has no token for: the model sees "
                f"{self.template.tokenizer.unk_token} in their place, and learns to write it. Replace them, or take "
                "another model",
            ),
            self.bare.finding(
                "bare prompts",
                f"prompts begin without {self._first}, which the tokenizer puts before every text: many models are "
                "lost without it. Begin the template with {{ bos_token }} (data.chat_template)",
            ),
            self.mismatch.finding(
                "template mismatch",
                "rows differ where the chat template writes the whole conversation at once. What is generated, trained "
                "and scored is the prompt and then the response, as a server writes them; a model that was tuned on "
                f"whole conversations has seen other tokens{self._switches()}",
            ),
            self._cut(),
        )
        return tuple(finding for finding in found if finding is not None)

    def _see_special(self, example: Example) -> None:
        held = {*self.template.special_in(example)}
        held |= {name for text in answers(example) for name in self.template.special.found(text)}
        self._seen_special |= held
        self.special.add(bool(held), 1, lambda: f"{place(example)}: {', '.join(sorted(held))}")

    def _see_answer(self, example: Example) -> None:
        if example.response is None or example.ground_truth is None:
            return
        right = is_right(self._verifier, example.response, example.ground_truth)
        if right is not None:
            truth = shortened(example.ground_truth)
            self.wrong.add(not right, 1, lambda: f"{place(example)}: the ground truth is {truth}")

    def _see_whole(self, example: Example, prompt: str, response: str) -> None:
        try:
            whole = self.template.whole(example, response)
        except InputError as error:
            reason = error.problem
            self.mismatch.add(1, 1, lambda: f"{place(example)}: the whole conversation is refused: {reason}")
            return
        end = _MARK.search(prompt)
        twice = end is not None and response.lstrip().startswith(end[1])
        self.opened.add(twice, 1, lambda: f"{place(example)}: {shortened(response)}")
        joined = prompt + self.template.space + response
        if whole.startswith(prompt) and (length := whole.find(response, len(prompt))) > 0:
            self._between.add(whole[len(prompt) : length])
        self.mismatch.add(not whole.startswith(joined), 1, lambda: f"{place(example)}: {difference(joined, whole)}")

    def _special(self) -> Observation | None:
        names = ", ".join(sorted(self._seen_special))
        becomes = {
            "text": "It is encoded as the characters that it is, so that it forges no turn",
            "tokens": "It is encoded as those tokens, so that it may begin or end turns",
            "auto": "In prompts, which no chat template writes here, it is encoded as those tokens, as if they were "
            "written out by hand; in responses as the characters that it is",
        }
        how = self.template.special_tokens
        if how == "auto" and self.template.chat:
            how = "text"
        return self.special.finding(
            "special tokens",
            f"rows hold the text of special tokens ({names}). {becomes[how]} (data.special_tokens)",
        )

    def _cut(self) -> Observation | None:
        limit, often = self.config.max_response_tokens, self.cut.count > _OFTEN * self.cut.of
        return self.cut.finding(
            CUT,
            f"responses are cut at data.max_response_tokens ({limit}): they have no end, so from them the model does "
            "not learn to stop. Raise it, or set data.overlong_response: drop",
            warning=often,
        )

    def _switches(self) -> str:
        """The end of the finding on mismatches: what would remove them, as far as that is known."""
        text = ""
        if len(self._between) == 1 and (between := next(iter(self._between))).strip():
            text = (
                f". It writes {between!r} before every response: a template of your own whose prompts end in it closes "
                "the difference (data.chat_template)"
            )
        return text + self._variables()

    def _variables(self) -> str:
        names = self.template.unset_variables()
        return f". The template reads {', '.join(names)}, which data.template_options may set" if names else ""
