"""Fields of transformers' training arguments that need a remark, without importing transformers."""

from __future__ import annotations

MANAGED = {
    "output_dir": "set `output` at the top",
    "seed": "set `seed` at the top",
    "data_seed": "set `seed` at the top",
    "remove_unused_columns": "remove it: the triples have their own columns",
    "resume_from_checkpoint": "run `sparring resume RUN`",
    "load_best_model_at_end": "remove it: the run keeps the best iterate by itself; see `stop`",
    "hub_token": "run `hf auth login`: a secret in a configuration would be written into the run directory",
    "push_to_hub": "remove it, and push what `sparring export` writes",
    "use_liger_kernel": "remove it: the log-prob engine has its own head, and calls the decoder itself",
    "save_only_model": "remove it: without the optimizer's state a resumed run would take other steps",
    "ignore_data_skip": "remove it: a resumed run would see other batches",
    "auto_find_batch_size": "set per_device_train_batch_size; `sparring plan` estimates the memory",
    "label_smoothing_factor": "remove it: objectives have no labels to smooth",
    "eval_strategy": "remove it: the run evaluates by itself, after every stage; see `evaluation`",
    "eval_on_start": "remove it: the run evaluates by itself, after every stage; see `evaluation`",
    "do_eval": "remove it: the run evaluates by itself, after every stage; see `evaluation`",
    "deepspeed": "remove it: DeepSpeed is not supported; launch with FSDP2, see docs/scale.md",
    **dict.fromkeys(
        ("torch_compile", "torch_compile_backend", "torch_compile_mode"),
        "remove it: the log-prob engine calls the decoder itself, past what torch.compile makes of the model",
    ),
    # Names of TRL's arguments, and former names of transformers' own.
    "warmup_ratio": "set warmup_steps: below 1 it is a share of the steps, as in warmup_steps: 0.1",
    "label_smoothing": "remove it: objectives have no labels to smooth",
    "precompute_ref_log_probs": "remove it: the opponent's log-probs are always computed once, before the first step",
    **dict.fromkeys(
        ("max_length", "max_seq_length"),
        "set data.max_prompt_tokens and data.max_response_tokens in its place: it is the length of both together",
    ),
    **dict.fromkeys(("padding_free", "packing"), "remove it: rows are always packed without padding"),
    "disable_dropout": "remove it: a model's own dropout is always off",
}
"""Fields that a configuration may not set, and what to do instead."""
MEANT = {
    "per_device_batch_size": "per_device_train_batch_size",
    "batch_size": "per_device_train_batch_size",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "optimizer": "optim",
}
"""Fields, by the names that people write for them."""
