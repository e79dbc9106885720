"""The record of a training, made from the run's files where possible, so that a resumed run gives the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.store import ChunkStore
from paced_exp.training.config import DistillConfig
from paced_exp.training.segments import Plan
from paced_exp.training.teacher_cache import CachedTeacher
from paced_exp.training.teachers import matmul_parameters
from paced_exp.training.trainer import PacedTrainer


def training_record(config: DistillConfig, trainer: PacedTrainer, teacher: LoadedModel, keeping_flops: float = 0.0) -> dict[str, Any]:
    """The record of a finished training: weights and segments, references, the cache's size and error, updates, FLOPs, tokens, seconds.

    teacher: before training. flops: as `PacedTrainer.floating_point_ops` counts them. cache_flops: the cost of filling the cache, summed over
    the segments, since each may have other problems. keeping_flops: spent against forgetting before training.
    """
    data, folder = trainer.data, trainer.data.folder
    lines = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    data.prepare(data.segments[-1].start)
    cache: dict[str, Any] | None = None
    preparing = 0.0
    for segment in data.segments:
        cached = trainer.teachers[segment.stage.name]
        if isinstance(cached, CachedTeacher):
            rows = data.reference_rows(segment.start)
            loss = trainer.losses[segment.stage.name]
            preparing += 2.0 * matmul_parameters(teacher.model) * sum(row.teacher_tokens for row in rows)
            cache = {**cached.size(), "top_k": cached.top_k, "error": cached.error(data.student.model, rows[:64], loss)}
    return {
        "weights": data.prepared[0].weights.summary(),
        "segments": [
            {
                "start": segment.start,
                "end": segment.end,
                "stage": segment.stage.name,
                "pass_rate": None if prepared.counts is None else float(np.mean(prepared.counts[0] / prepared.counts[1])),
                **prepared.weights.summary(),
                **_visits(prepared.plan),
            }
            for segment, prepared in zip(data.segments, data.prepared, strict=True)
        ],
        "references": data.references.summary(),
        "cache": cache,
        "training": {
            "updates": data.segments[-1].end,
            "flops": lines[-1]["flops"],
            "cache_flops": preparing,
            **({"keeping_flops": keeping_flops} if keeping_flops else {}),
            "rollouts": _generated(folder),
            "first_loss": lines[0]["loss"],
            "last_loss": lines[-1]["loss"],
            "seconds": sum(line["seconds"] for line in lines),
        },
    }


def _visits(plan: Plan) -> dict[str, int]:
    """How a segment visits problems: how many it visits, the most visits of one, and how many were visited or skipped by its end."""
    _, visits = np.unique(plan.indices, return_counts=True)
    return {"visited": len(visits), "most_visits": int(visits.max()), "scanned": plan.cursor}


def _generated(folder: Path) -> dict[str, int]:
    """Number of responses and tokens that the run sampled from the student, and of prompts: one for the K responses of a problem."""
    found = {"prompts": 0, "responses": 0, "tokens": 0}
    for journal in [*folder.glob("rollouts-*.jsonl"), *folder.glob("pass_rate_rollouts-*.jsonl")]:
        store = ChunkStore(folder, journal.stem)
        made = store.lengths()
        found["prompts"] += len(store.done_ids())
        found["responses"] += len(made)
        found["tokens"] += sum(made)
    return found
