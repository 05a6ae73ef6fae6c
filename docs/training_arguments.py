"""Trainer's TrainingArguments, and what pairft has for each. `python docs/generate.py` makes the tables of
docs/from-trainer.md from this; a test compares it with transformers' own class and with pairft's flags.

Read from transformers 5.23.0. 5.17.0 has the same arguments and defaults, except for NEWER and OLDER_DEFAULTS.
"""

# Argument: its default, the flags, what is different.
FLAGS: dict[str, tuple[object, str, str]] = {
    "output_dir": (None, "--runs-dir --run-name", "each run has a directory of its own"),
    "run_name": (None, "--run-name", ""),
    "per_device_train_batch_size": (8, "--batch-size", "or `--max-tokens`: tokens per micro-batch"),
    "num_train_epochs": (3.0, "--epochs", "whole epochs"),
    "max_steps": (-1, "--max-steps", ""),
    "learning_rate": (5e-5, "--lr", "`--layer-decay` lowers it from layer to layer"),
    "lr_scheduler_type": ("linear", "--schedule", "linear, cosine or constant"),
    "warmup_steps": (0, "--warmup-ratio", "always a fraction of the steps"),
    "weight_decay": (0.0, "--weight-decay", "on the same parameters"),
    "gradient_accumulation_steps": (1, "--accumulate", "the mean over all examples, however they are split"),
    "max_grad_norm": (1.0, "--max-grad-norm", ""),
    "label_smoothing_factor": (0.0, "--label-smoothing", ""),
    "bf16": (False, "--precision", "`--precision bf16`; on CUDA it is the default if the hardware has it"),
    "fp16": (False, "--precision", "`--precision fp16`, with a gradient scaler"),
    "tf32": (None, "--tf32", ""),
    "gradient_checkpointing": (None, "--gradient-checkpointing", ""),
    "activation_checkpointing": (None, "--gradient-checkpointing", ""),
    "logging_steps": (500, "--log-every", ""),
    "report_to": ("none", "--track", "besides TensorBoard, which is always written"),
    "eval_strategy": ("no", "--eval-every", "`epoch`, `never` or a number of steps; always after the last step"),
    "eval_steps": (None, "--eval-every", ""),
    "save_strategy": ("steps", "--save-every", "as `--eval-every`"),
    "save_steps": (500, "--save-every", ""),
    "push_to_hub": (False, "--push-to-hub", "once, after training"),
    "hub_model_id": (None, "--push-to-hub", "its value is the repository"),
    "full_determinism": (False, "--deterministic", "on CUDA; the CPU is reproducible without it"),
    "seed": (42, "--seed", "or `--seeds 1,2,3`: a run for each, and their spread"),
    "use_cpu": (False, "--device", "`--device cpu`"),
    "ddp_timeout": (1800, "--timeout", "in seconds"),
    "fsdp": (None, "--shard", "`--shard full`"),
    "resume_from_checkpoint": (None, "--resume", "the state is restored exactly, the random state too"),
}

# Arguments that need no flag: what pairft does.
ALWAYS: dict[str, tuple[str, ...]] = {
    "`best/` is kept by the task's main metric, and `last/` after the last step": (
        *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    ),
    "the newest two checkpoints are kept, with everything that a resume needs": ("save_total_limit", "save_only_model"),
    "lines come every `--log-every` steps, to the terminal, `metrics.jsonl` and TensorBoard": (
        *("logging_strategy", "logging_first_step", "disable_tqdm", "log_level"),
        *("log_level_replica", "log_on_each_node"),
    ),
    "a loss that is not finite ends the run, before it reaches the weights": ("logging_nan_inf_filter",),
    "throughput in examples and tokens, and the share of padding, are logged": ("include_num_input_tokens_seen",),
    "a resume goes to the next example at once; no batch is replayed": ("ignore_data_skip",),
    "SIGTERM, SIGHUP and Ctrl-C end a run after a checkpoint": ("enable_jit_checkpoint",),
    "a step that doesn't fit into memory is repeated in smaller micro-batches, with the same gradient": (
        *("auto_find_batch_size", "torch_empty_cache_steps"),
    ),
    "an evaluation scores all examples at once, in batches of up to 2,048 tokens, in the training's precision": (
        *("per_device_eval_batch_size", "eval_accumulation_steps", "bf16_full_eval", "fp16_full_eval"),
        *("prediction_loss_only", "include_for_metrics", "batch_eval_metrics", "eval_do_concat_batches"),
        "eval_use_gather_object",
    ),
    "examples are tokenised once into a memory-mapped file; batches need no workers": (
        *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
        *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataloader_in_order"),
    ),
    "`--text-columns` and `--label-column` name the columns; others are not read": (
        *("remove_unused_columns", "label_names"),
    ),
    "batches are padding-free, so that nothing is won by grouping examples of the same length": (
        *("train_sampling_strategy", "length_column_name"),
    ),
    "with torchrun, gradients are summed in one piece, each divided by the number of examples in the whole step": (
        *("average_tokens_across_devices", "local_rank", "ddp_backend", "ddp_bucket_cap_mb", "ddp_broadcast_buffers"),
        *("ddp_find_unused_parameters", "ddp_static_graph", "save_on_each_node"),
    ),
    "`--push-to-hub` makes a private repository; the token is that of `hf auth login` or `HF_TOKEN`": (
        *("hub_private_repo", "hub_strategy", "hub_always_push", "hub_revision", "hub_token"),
    ),
    "the environment variables of the tracker say where `--track` sends a run": (
        *("project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
    ),
    "`train.py` trains and evaluates, `python -m pairft.predict` predicts": ("do_train", "do_eval", "do_predict"),
}

# Arguments that pairft has nothing for: why.
ABSENT: dict[str, tuple[str, ...]] = {
    "fused AdamW with Trainer's betas and epsilon is the only optimizer": (
        *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "optim_target_modules"),
    ),
    "the three schedules have no further settings": ("lr_scheduler_kwargs",),
    "the first evaluation is due after an epoch, or the steps of `--eval-every`": ("eval_delay", "eval_on_start"),
    "`--seed` seeds the order of examples, too": ("data_seed",),
    "the last, shorter batch of an epoch counts like any other": ("dataloader_drop_last",),
    "on the CPU, compiling took longer than it saved; on CUDA there is `--capture`": (
        *("torch_compile", "torch_compile_backend", "torch_compile_mode"),
    ),
    "for language models that generate text": (
        *("use_liger_kernel", "liger_kernel_config", "use_cache", "neftune_noise_alpha"),
    ),
    "gradient checkpointing and sharding have one form each": (
        *("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs", "fsdp_config"),
    ),
    "no accelerate, no DeepSpeed: the loop calls torch alone": (
        *("accelerator_config", "parallelism_config", "deepspeed"),
    ),
    "there are no callbacks": ("restore_callback_states_from_checkpoint",),
    "for debugging Trainer itself": ("debug", "skip_memory_metrics"),
}

NEWER = ("activation_checkpointing", "activation_checkpointing_kwargs")  # than 5.17.0
OLDER_DEFAULTS = {"gradient_checkpointing": False}  # of 5.17.0


def shown(value: object) -> str:
    """A default as the documents show it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else "off" if value is False else str(value)


def rows() -> list[tuple[str, ...]]:
    """Of the table of arguments with flags. The first row is the header."""
    from pairft.flags import flag_rows

    defaults = {flag: default for flag, default, _ in flag_rows()}
    found = [("TrainingArguments", "default", "pairft", "default", "")]
    for name, (default, flags, note) in FLAGS.items():
        ours = ", ".join(defaults[flag] for flag in flags.split())
        found.append((f"`{name}`", shown(default), ", ".join(f"`{flag}`" for flag in flags.split()), ours, note))
    return found


def grouped(reasons: dict[str, tuple[str, ...]], head: str) -> list[tuple[str, ...]]:
    """Of a table of arguments without flags."""
    return [
        ("TrainingArguments", head),
        *((", ".join(f"`{name}`" for name in names), said) for said, names in reasons.items()),
    ]
