"""Tiny distillations for tests: two random models, forty sums, a grader that passes by checksum."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paced_exp.core.run_folder import RunFolder
from paced_exp.data.sources import load_problems
from paced_exp.models.loading import LoadedModel
from paced_exp.rollouts.engine import Sampling
from paced_exp.rollouts.engines import Engines
from paced_exp.rollouts.groups import RunContext
from paced_exp.rollouts.options import EngineOptions
from paced_exp.training.build import make_trainer
from paced_exp.training.config import DistillConfig
from paced_exp.training.counts import Measured
from paced_exp.training.data import make_training_data
from paced_exp.training.student_rollouts import StudentRollouts
from paced_exp.training.trainer import PacedTrainer
from tests.support.graders import HashGrader
from tests.support.tiny_models import loaded, tiny_model, tiny_tokenizer

PROBLEMS = 40


def save_models(folder: Path) -> Path:
    """student (Qwen3) and teacher (Llama) checkpoints under `folder`."""
    for name, kind, seed in (("student", "qwen3", 0), ("teacher", "llama", 1)):
        tiny_model(kind, seed=seed, context=160).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    return folder


def rows() -> list[dict[str, Any]]:
    return [
        {"id": f"sum{i:02}", "prompt": f"{i}+{i * i}=", "answer": str(i + i * i), "solution": f"\\boxed{{{i + i * i}}}", "grader": "exact"}
        for i in range(PROBLEMS)
    ]


def write_problems(path: Path, content: list[dict[str, Any]] | None = None) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows() if content is None else content)))
    return path


def arguments(models: Path, source: Path, out: Path, **changes: Any) -> list[str]:
    """A command line of `paced_exp.distill` on the tiny models, without evaluation."""
    options = {
        "student": models / "student",
        "teacher": models / "teacher",
        "problems": source,
        "K": 4,
        "max-new-tokens": 12,
        "batch": 8,
        "micro-batch": 4,
        "steps": 6,
        "learning-rate": 1e-3,
        "checkpoint-every": 2,
        "evaluate": "none",
        "device": "cpu",
        "seed": 3,
        "out": out,
        **changes,
    }
    return [text for name, value in options.items() for text in ((f"-{name}" if name == "K" else f"--{name}"), str(value))]


def tiny(kind: str, seed: int) -> LoadedModel:
    return loaded(tiny_model(kind, seed=seed, context=160, dtype=torch.float64))


def trainer_config(folder: Path, source: Path, **changes: Any) -> DistillConfig:
    """Options of `trainer`: plain gradient descent on worked solutions, three updates."""
    options: dict[str, Any] = {
        "max_new_tokens": 12,
        "batch": 8,
        "micro_batch": 8,
        "steps": 3,
        "reference": "solution",
        "teacher_statistics": "live",
        "learning_rate": 0.05,
        "schedule": "constant",
        "warmup": 0,
        "max_grad_norm": 1e9,
        "training_arguments": {"optim": "sgd"},
        "device": "cpu",
        "dtype": "float64",
        "out": str(folder),
        **changes,
    }
    return DistillConfig(problems=str(source), **options)


def student_rollouts(folder: Path, config: DistillConfig) -> StudentRollouts:
    """Of a tiny student in float64, graded by checksum."""
    context = RunContext(folder, Engines(EngineOptions()), HashGrader())  # type: ignore[arg-type]
    sampling = Sampling(config.K, config.max_new_tokens, config.temperature, config.seed)
    return StudentRollouts(context, tiny("qwen3", 0), load_problems(config.problems), sampling)


def trainer(folder: Path, source: Path, **changes: Any) -> PacedTrainer:
    """A trainer in float64 on tiny models, with pass counts made up."""
    config = trainer_config(folder, source, **changes)
    run, teacher = RunFolder(folder, config).open(), tiny("llama", 1)
    rollouts = student_rollouts(folder, config)
    passes = Measured.of(np.arange(len(rollouts.problems)) % 9, np.full(len(rollouts.problems), 8))
    return make_trainer(config, run, make_training_data(config, rollouts, teacher, passes), teacher, rollouts.context.processes)
