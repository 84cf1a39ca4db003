"""The parts of `gpu.py` that no other benchmark has, each in a process of its own.

python benchmarks/gpu_parts.py qlora|iteration --folder FOLDER --json FILE [--device cpu] [--tiny]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import shapes
from measuring import now


def memory_mb(device: str) -> dict[str, float]:
    """The most memory that tensors, and the allocator, had on the GPU; nothing on a processor."""
    import torch

    if device == "cpu":
        return {}
    return {
        "peak_mb": torch.cuda.max_memory_allocated() / 2**20,
        "reserved_mb": torch.cuda.max_memory_reserved() / 2**20,
    }


def qlora(options: argparse.Namespace) -> dict[str, Any]:
    """Four steps of SPIN on adapters over a base in nf4, with gradient checkpointing."""
    import torch
    from peft import LoraConfig
    from transformers import TrainerCallback, TrainingArguments

    from sparring import SelfPlayTrainer
    from sparring.models import ModelConfig, load_model
    from sparring.objectives import OBJECTIVES

    shape = "random-tiny" if options.tiny else "random-7b"
    length, start = (16 if options.tiny else 256), now()
    path = shapes.write(shape, options.folder, device=options.device)
    written = now() - start
    if options.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = now()
    dtype: Literal["float32", "bfloat16"] = "float32" if options.device == "cpu" else "bfloat16"
    model = load_model(ModelConfig(name=str(path), device=options.device, dtype=dtype, quantization="nf4"))
    loaded, loading = now() - start, memory_mb(options.device)
    generator = torch.Generator().manual_seed(0)

    def ids() -> list[int]:
        return torch.randint(3, shapes.SHAPES[shape]["vocab_size"], (length,), generator=generator).tolist()

    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(now() - self.start)

    args = TrainingArguments(
        output_dir=str(options.folder / "qlora"),
        per_device_train_batch_size=2,
        num_train_epochs=1,
        learning_rate=1e-4,
        gradient_checkpointing=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=options.device == "cpu",
    )
    trainer = SelfPlayTrainer(
        model,
        objective=OBJECTIVES["spin"](beta=0.1),
        args=args,
        train_dataset=[{"prompt_ids": ids(), "expert_ids": ids(), "generated_ids": [ids()]} for _ in range(8)],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    return {
        "shape": shape,
        "tokens_a_step": 2 * 4 * length,
        "write_s": written,
        "load_s": loaded,
        "loading": loading,
        "step_s": mean(seconds[1:]),
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    } | memory_mb(options.device)


def iteration(options: argparse.Namespace) -> dict[str, Any]:
    """Generate, score, train, evaluate, as `sparring train` does it."""
    from sparring.reports.cost import seconds_by_stage
    from sparring.run_directory import RunDirectory
    from sparring.selfplay.config.schema import SelfPlayConfig
    from sparring.selfplay.loop import run as play
    from sparring.shard_files import read_shard

    shape = "random-tiny" if options.tiny else "random-0.5b"
    path = shapes.write(shape, options.folder, device=options.device)
    limit, new, batch = (6, 8, 4) if options.tiny else (128, 128, 64)
    config = {
        "output": str(options.folder / "run"),
        "iterations": 1,
        "warmup": None,
        "reuse": False,
        "model": {
            "name": str(path),
            "device": options.device,
            "dtype": "float32" if options.device == "cpu" else "bfloat16",
        },
        "data": {"source": "arithmetic", "limit": limit, "held_out": limit // 3, "max_response_tokens": new},
        "objective": {"name": "spif"},
        "generation": {"batch_size": batch},
        "training": {
            "learning_rate": 1e-5,
            "per_device_train_batch_size": 2 if options.tiny else 8,
            "num_train_epochs": 1,
        },
    }
    start = now()
    play(SelfPlayConfig.from_mapping(config))
    seconds, directory = now() - start, RunDirectory(options.folder / "run")
    sampled = [row for shard in directory.path.rglob("samples/*.parquet") for row in read_shard(shard)]
    events = directory.events()
    return {
        "shape": shape,
        "prompts": limit,
        "seconds": seconds,
        "by_stage": seconds_by_stage(events),
        "sampled_tokens": sum(len(row["response_ids"]) for row in sampled),
        "losses": [event["loss"] for event in events if "loss" in event],
    } | memory_mb(options.device)


PARTS = {"qlora": qlora, "iteration": iteration}


def main() -> None:
    """Runs a part and writes its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.json.write_text(json.dumps(PARTS[options.part](options)), encoding="utf-8")


if __name__ == "__main__":
    main()
