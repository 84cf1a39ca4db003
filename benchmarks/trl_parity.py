"""Do we compute what TRL computes? Log-probs, SPIN loss and gradients against DPOTrainer (sigmoid), on equal tokens.

    python benchmarks/trl_parity.py [--model NAME] [--triples N] [--beta B] [--lora] [--device cuda] [--json FILE]

SPIN with the logistic link is DPO's loss with the expert's response chosen and the opponent's rejected, the opponent
being the reference. Both sides score the same token ids under the same weights; then the weights are moved by noise,
so that the log ratios are not all zero, and loss and gradient are compared. Exit code 1 where anything differs by
more than 1e-4, relatively.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import TrainingArguments

from sparring import SelfPlayTrainer
from sparring.data import DataConfig, load
from sparring.models import ModelConfig, load_model, load_tokenizer
from sparring.objectives import OBJECTIVES

TOLERANCE = 1e-4


def triples(count: int) -> Dataset:
    """Word problems, each with its solution and with the solution of another problem in the generated one's place."""
    data = load(DataConfig(source="arithmetic", limit=count, held_out=0, difficulty=2), seed=0).train
    others = data[1:] + data[:1]
    return Dataset.from_list(
        [
            {"prompt": own.prompt + "\n", "chosen": own.response, "rejected": other.response}
            for own, other in zip(data, others, strict=True)
        ]
    )


def peer(model: Any, tokenizer: Any, data: Dataset, options: argparse.Namespace, folder: str) -> trl.DPOTrainer:
    """TRL's trainer, in fp32, its reference log-probs computed by the model itself."""
    args = trl.DPOConfig(
        output_dir=folder,
        beta=options.beta,
        loss_type="sigmoid",
        bf16=False,
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
        per_device_train_batch_size=4,
        max_length=None,
        report_to="none",
        use_cpu=options.device == "cpu",
        disable_tqdm=True,
    )
    return trl.DPOTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)


def ours(model: Any, rows: list[dict[str, Any]], options: argparse.Namespace, folder: str) -> SelfPlayTrainer:
    """Our trainer on the peer's token ids."""
    data = [
        {"prompt_ids": row["prompt_ids"], "expert_ids": row["chosen_ids"], "generated_ids": [row["rejected_ids"]]}
        for row in rows
    ]
    on_cpu = options.device == "cpu"
    args = TrainingArguments(output_dir=folder, report_to="none", use_cpu=on_cpu, disable_tqdm=True)
    trainer = SelfPlayTrainer(model, objective=OBJECTIVES["spin"](beta=options.beta), args=args, train_dataset=data)
    trainer.score()
    return trainer


def loss_and_gradient(model: Any, loss: Callable[[], torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    """A loss and the gradient of every trained parameter."""
    model.zero_grad(set_to_none=True)
    value = loss()
    value.backward()
    gradients = {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return float(value.detach()), gradients


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """‖ours − theirs‖ / ‖theirs‖."""
    return float((ours - theirs).norm() / theirs.norm())


def compare(options: argparse.Namespace, folder: str) -> dict[str, float]:
    """Relative differences of log-probs, loss and gradient."""
    config = ModelConfig(name=options.model, device=options.device)
    model, tokenizer = load_model(config), load_tokenizer(config)
    if options.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    theirs = peer(model, tokenizer, triples(options.triples), options, folder)
    rows = theirs.train_dataset.to_list()
    mine = ours(model, rows, options, folder)
    scored = mine.train_dataset.items
    log_probs = relative(
        torch.tensor([[item.opponent_expert, *item.opponent_generated] for item in scored], dtype=torch.float64),
        torch.tensor([[row["ref_chosen_logps"], row["ref_rejected_logps"]] for row in rows], dtype=torch.float64),
    )
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * parameter.data.std().nan_to_num().clamp(min=1e-3) * torch.randn_like(parameter)
    model.train()
    their_batch, our_batch = (
        trainer._prepare_inputs(trainer.data_collator(each))  # noqa: SLF001 - puts them where the model is
        for trainer, each in ((theirs, rows), (mine, scored))
    )
    their_loss, their_gradient = loss_and_gradient(model, lambda: theirs.compute_loss(model, their_batch))
    our_loss, our_gradient = loss_and_gradient(model, lambda: mine.compute_loss(model, our_batch))
    assert our_gradient.keys() == their_gradient.keys()
    flat = [torch.cat([g.flatten().double() for g in part.values()]) for part in (our_gradient, their_gradient)]
    return {
        "log_probs": log_probs,
        "loss": abs(our_loss - their_loss) / abs(their_loss),
        "gradient": relative(*flat),
        "gradient_worst_parameter": max(relative(our_gradient[n], their_gradient[n]) for n in their_gradient),
        "loss_value": our_loss,
    }


def main() -> int:
    """Prints the differences and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--triples", type=int, default=8)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(options, folder)
    checked = ("log_probs", "loss", "gradient")
    agree = all(found[name] <= TOLERANCE for name in checked)
    result = {
        "model": options.model,
        "triples": options.triples,
        "beta": options.beta,
        "lora": options.lora,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, trl)},
        "relative_difference": found,
        "agree_to": TOLERANCE,
        "agree": agree,
    }
    print(json.dumps(result, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
