"""A reward model that is trained in seconds, by Bradley and Terry, on right and wrong answers to word problems."""

from __future__ import annotations

import random
import re
from pathlib import Path

import torch
from transformers import LlamaForSequenceClassification, get_linear_schedule_with_warmup

from sparring.data import DataConfig, load
from sparring.examples import Example
from tiny import tiny_model, tiny_tokenizer


def problems(count: int, unseen: int) -> tuple[list[Example], list[Example]]:
    """To train on, and others."""
    data = load(DataConfig(source="arithmetic", limit=count, held_out=unseen), seed=7)
    return data.train, data.held_out


def wrong(example: Example) -> str:
    """The solution with a question mark for every digit."""
    return re.sub(r"[0-9]", "?", example.response)


def train_reward_model(folder: Path, examples: list[Example], *, steps: int) -> str:
    """Writes a tiny Llama with one label; each step minimises −log σ(s_right − s_wrong) on two pairs.

    Small steps at the start and the end, and none that is large: otherwise it is a matter of luck, and so of the
    processor, whether it learns.
    """
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(tiny_model(num_labels=1, initializer_range=0.02).config)
    tokenizer, draw = tiny_tokenizer(), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def score(example: Example, response: str) -> torch.Tensor:
        turns = [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": response}]
        return model(torch.tensor([tokenizer.apply_chat_template(turns, return_dict=False)])).logits[0, 0]

    schedule = get_linear_schedule_with_warmup(optimizer, 10, steps)
    for _ in range(steps):
        margins = [score(each, each.response) - score(each, wrong(each)) for each in draw.sample(examples, 2)]
        loss = torch.nn.functional.softplus(-torch.stack(margins)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
