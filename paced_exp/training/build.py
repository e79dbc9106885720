"""Builds the trainer of a run: a loss and a teacher for each stage, the teacher's cache, and Trainer's arguments."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from paced_exp.core.errors import UserError
from paced_exp.core.progress import progress
from paced_exp.core.run_folder import RunFolder
from paced_exp.losses.divergences import DIVERGENCES, divergence
from paced_exp.losses.fused_loss import FusedLoss
from paced_exp.losses.heads import plain_head
from paced_exp.losses.problem_loss import ProblemLoss
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.groups import Processes
from paced_exp.training.config import DistillConfig
from paced_exp.training.data import TrainingData
from paced_exp.training.keeping import Keeping
from paced_exp.training.references_config import ReferencesConfig
from paced_exp.training.sharding import FSDP, check_fsdp_device
from paced_exp.training.stages import Stage, parse_stages
from paced_exp.training.teacher_cache import CachedTeacher
from paced_exp.training.teachers import EMATeacher, ModelTeacher, NoTeacher, Teacher
from paced_exp.training.trainer import PacedTrainer

EXACT_VOCABULARY = 4096  # up to which `auto` caches all logits: 16 kB per position in float32; Qwen3's 151,936 tokens would need 600


def make_trainer(
    config: DistillConfig,
    run: RunFolder,
    data: TrainingData,
    teacher: LoadedModel,
    processes: Processes,
    keeping: Keeping | None = None,
) -> PacedTrainer:
    """The trainer of `config`, with a loss and a teacher for each stage. keeping: see `PacedTrainer`."""
    stages = parse_stages(config.stages)
    teachers = _teachers(config, run, data, teacher, stages)
    losses = _losses(config, data.student, stages)
    steps = data.segments[-1].end

    def on_segment(step: int) -> None:
        stage = data.segments[data.segment(step)].stage
        cache = teachers[stage.name]
        if isinstance(cache, CachedTeacher):
            rows = data.reference_rows(step)
            if processes.main:
                with progress(len(rows), "references", f"teacher cache, update {step}") as bar:
                    cache.prepare(rows, bar.update)
            processes.wait()
            cache.refresh()

    return PacedTrainer(
        training_arguments(config, run.path / "training", steps, data.student.device),
        data,
        losses,
        teachers,
        schedule=config.schedule,
        warmup=config.warmup,
        on_segment=on_segment,
        keeping=keeping,
    )


def _losses(config: DistillConfig, student: LoadedModel, stages: list[Stage]) -> dict[str, ProblemLoss | FusedLoss]:
    found: dict[str, ProblemLoss | FusedLoss] = {
        stage.name: ProblemLoss(divergence(stage.divergence, jsd_beta=config.jsd_beta), config.loss_temperature, config.loss_chunk)
        for stage in stages
    }
    if config.loss == "dense":
        return found
    head = plain_head(student.model, "student")
    return {name: FusedLoss(loss, head) for name, loss in found.items() if isinstance(loss, ProblemLoss)}


def _cached(config: DistillConfig, stage: Stage) -> bool:
    frozen = config.teacher != "self" or config.teacher_update == "frozen"
    return frozen and stage.source == "references" and config.teacher_statistics != "live"


def _top_k(config: DistillConfig | ReferencesConfig, teacher: LoadedModel) -> int | None:
    """How many tokens the cache keeps at each position; None for all."""
    exact = config.teacher_statistics == "exact"
    if config.teacher_statistics == "auto":
        exact = teacher.model.get_output_embeddings().weight.shape[0] <= EXACT_VOCABULARY
    return None if exact else config.top_k


def _teachers(config: DistillConfig, run: RunFolder, data: TrainingData, initial: LoadedModel, stages: list[Stage]) -> dict[str, Teacher]:
    live: Teacher
    needed = any(DIVERGENCES[stage.divergence].needs_teacher and not _cached(config, stage) for stage in stages)
    states = needed and config.loss == "fused"
    if config.teacher_update == "live":
        live = ModelTeacher(data.student.model, states=states)
    elif config.teacher_update == "ema":
        live = EMATeacher(data.student.model, config.ema_decay, states=states)
    else:
        live = ModelTeacher(initial.model, states=states)
    teachers: dict[str, Teacher] = {}
    for stage in stages:
        if not DIVERGENCES[stage.divergence].needs_teacher:
            teachers[stage.name] = NoTeacher()
        elif _cached(config, stage):
            teachers[stage.name] = cached_teacher(config, run, initial, data.student)
        else:
            teachers[stage.name] = live
    return teachers


def cached_teacher(config: DistillConfig | ReferencesConfig, run: RunFolder, teacher: LoadedModel, student: LoadedModel) -> CachedTeacher:
    """The frozen `teacher` for this student, read through the cache that `config` names, which is in the run's folder by default."""
    return CachedTeacher(
        Path(config.cache) if config.cache is not None else run / "teacher_cache",
        ModelTeacher(teacher.model),
        teacher.fingerprint,
        pad_id=teacher.pad_id,
        top_k=_top_k(config, teacher),
        temperature=config.loss_temperature,
        chunked=getattr(config, "loss", "fused") == "fused",  # references alone are made without a loss
        width=student.model.get_output_embeddings().weight.shape[0],
    )


# Trainer would take these and do nothing: updates, rates and losses are made here.
_WITHOUT_EFFECT = {"num_train_epochs", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "label_smoothing_factor"}


def training_arguments(config: DistillConfig, folder: Path, steps: int, device: torch.device) -> TrainingArguments:
    """Trainer's arguments: this package's, and the user's `training_arguments`, such as {"fsdp": true, "gradient_checkpointing": true}.

    Raises `UserError` if the processes do not divide the batch, or if `training_arguments` are invalid.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch % (config.micro_batch * processes):
        raise UserError(f"`batch` {config.batch} must be a multiple of `micro_batch` {config.micro_batch} x {processes} processes")
    ours: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": config.micro_batch,
        "gradient_accumulation_steps": config.batch // (config.micro_batch * processes),
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "save_strategy": "steps",
        "save_only_model": False,  # without the optimizer's state a resumed run would end with other weights
        "save_steps": config.checkpoint_every,
        "logging_strategy": "steps",  # every update's gradient is looked at, and written to metrics.jsonl
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": config.report_to,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "train_sampling_strategy": "sequential",
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
        "use_cpu": device.type == "cpu",
        "bf16": config.precision == "bf16",
        "seed": config.seed,
    }
    theirs = config.training_arguments or {}
    if taken := sorted((ours.keys() | _WITHOUT_EFFECT) & theirs.keys()):
        raise UserError(f"`training_arguments` may not set {', '.join(taken)}, which options of this command determine")
    check_fsdp_device(theirs, device.type)
    if theirs.get("fsdp"):
        theirs = {**theirs, "fsdp_config": {**FSDP, **(theirs.get("fsdp_config") or {})}}
    try:
        return TrainingArguments(**ours, **theirs)
    except (TypeError, ValueError) as error:
        raise UserError(f"`training_arguments` {theirs}: {error!s:.200}") from error
