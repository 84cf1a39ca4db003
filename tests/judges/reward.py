"""A reward model that is trained in seconds, by Bradley and Terry, on right and wrong answers to word problems."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import LlamaForSequenceClassification

from sparring.data import DataConfig, load
from sparring.types import Example
from tiny import tiny_model, tiny_tokenizer


def problems(count: int, unseen: int) -> tuple[list[Example], list[Example]]:
    """To train on, and others."""
    data = load(DataConfig(source="arithmetic", limit=count, held_out=unseen), seed=7)
    return data.train, data.held_out


def wrong(example: Example) -> str:
    """The solution without its result, so that nothing stands where the answer should."""
    return example.response.rpartition("\n")[0] + "\n#### "


def train_reward_model(folder: Path, examples: list[Example], *, steps: int) -> str:
    """Writes a tiny Llama with one label; each step minimises −log σ(s_right − s_wrong) on one pair."""
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(tiny_model(num_labels=1, initializer_range=0.02).config)
    tokenizer, draw = tiny_tokenizer(), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def score(example: Example, response: str) -> torch.Tensor:
        turns = [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": response}]
        return model(torch.tensor([tokenizer.apply_chat_template(turns, return_dict=False)])).logits[0, 0]

    for _ in range(steps):
        example = draw.choice(examples)
        loss = torch.nn.functional.softplus(score(example, wrong(example)) - score(example, example.response))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
