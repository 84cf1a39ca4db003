"""A trained reward model, whose scores become preferences by Bradley–Terry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring import models
from sparring.data import PromptTemplate
from sparring.data.chats import Turn
from sparring.data.template import turns_of
from sparring.errors import InputError
from sparring.examples import Example
from sparring.judges.local import LocalModel, check_known
from sparring.judges.protocol import Judge, Question, Verdict, verdict_of_scores
from sparring.judges.template import conversation
from sparring.registry import require_positive


@dataclass(frozen=True, kw_only=True)
class RewardModel(LocalModel):
    """Compares responses by the scores s of a sequence classification model: P(y_i ≻ y_j) = σ((s_i − s_j)/T).

    The tokenizer's chat template writes the conversation; without one, prompt and response are a pair of texts. The
    judge abstains from a conversation that is longer than `max_tokens`, since a cut one would be another response.

    Source: Bradley–Terry reward models, as in arXiv 2203.02155. T makes the scales of different models comparable.

    Attributes:
        model: A local folder or a Hugging Face id of a model with one label. Only safetensors weights are read, and
            code that comes with a model is never run.
        revision: Branch, tag or commit of a Hugging Face id.
        temperature: T. At 1 the scores are log odds, as reward models are trained.
        max_tokens: The longest conversation that is scored, if the model's context is not shorter.
        dtype: Number format of the weights: `float32`, `bfloat16`, `float16`, or `auto` as they were saved.
        device: `auto`, `cpu`, `cuda` or `mps`.
        template_options: Variables of the model's chat template; in a run, those of `data.template_options` that it
            reads are set too.
        time: The time that the chat template sees, in ISO 8601; None for the run's own, or the time of rendering.

    Raises:
        ValueError: T or `max_tokens` is not positive, or the dtype or device is unknown.
    """

    temperature: float = 1.0
    max_tokens: int = 2048

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature, "it divides differences of scores")
        super().__post_init__()

    def start(self, cache: Path) -> Judge:
        """The judge, with the model loaded."""
        model, tokenizer = models.load_reward_model(self.source)
        return _RatingJudge(self.temperature, self.limit(model, tokenizer), model, self.chat(tokenizer))


@dataclass(frozen=True)
class _RatingJudge:
    """The judge at work.

    Attributes:
        temperature: T.
        limit: The longest conversation, in tokens.
        model: The model.
        template: The template that writes a conversation for it.
    """

    temperature: float
    limit: int
    model: Any
    template: PromptTemplate

    def __call__(self, questions: Sequence[Question]) -> list[Verdict]:
        return [
            verdict_of_scores([self._score(question, text) for text in question.responses], self.temperature)
            for question in questions
        ]

    def _score(self, question: Question, response: str) -> float | None:
        """The score of one response; not of a batch, since models differ in which token of a padded row they read."""
        import torch

        inputs = self._encode(question, response)
        if inputs is None or inputs["input_ids"].shape[1] > self.limit:
            return None
        check_known(self.model, self.template.tokenizer, inputs["input_ids"][0].tolist())
        with torch.inference_mode():
            score: float = self.model(**inputs.to(self.model.device)).logits[0, 0].float().item()
        return score

    def _encode(self, question: Question, response: str) -> Any:
        """What the model reads; None where the text of a special token in it cannot be told from the token itself."""
        tokenizer = self.template.tokenizer
        if not self.template.chat:
            return tokenizer(conversation(question), response, split_special_tokens=True, return_tensors="pt")
        example = Example(index=0, prompt=question.prompt, messages=question.messages)
        turns = [*turns_of(example), {"role": "assistant", "content": response}]
        try:
            if any(self.template.special.found(turn["content"]) for turn in turns):
                ids = self.template.special.prompt(turns, self._written)
                return None if ids is None else _encoding(ids)
            written = self._written(turns)
        except InputError as error:
            fix = "take a judge whose template takes such turns, or leave them out of the data"
            raise InputError(f"its chat template fails: {error.problem}", where="judge.model", fix=fix) from error
        return tokenizer(written, add_special_tokens=False, return_tensors="pt")

    def _written(self, turns: Sequence[Turn]) -> str:
        asked = Example(index=0, prompt=turns[-2]["content"], messages=tuple(turns[:-1]))
        return self.template.whole(asked, turns[-1]["content"])


def _encoding(ids: list[int]) -> Any:
    from transformers import BatchEncoding

    return BatchEncoding({"input_ids": [ids], "attention_mask": [[1] * len(ids)]}, tensor_type="pt")
