"""The options of making references."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.rollouts.options import check_engine
from paced_exp.training.config import DistillConfig

KIND = "references"


@dataclass(frozen=True)
class ReferencesConfig:
    """Whose responses to sample as references, and how.

    Attributes:
        student: lab:NAME, a folder, or a hub id; the model that is to be trained on the references
        teacher: likewise, reading the student's tokens; or `self`, the student itself
        teacher_prompt: what the teacher reads before the response: privileged (the expert solution), plain, or concise
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas
        limit: at most so many problems of each source, drawn at random by the seed from a file or the hub; all of them when left out (the lab: the first of its stream, by default the split's size)
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it
        skip_long: leave out the problems whose prompt and longest response exceed the model's context, instead of refusing all
        candidates: teacher responses sampled a problem; the first correct one is the reference
        fallback: solution (the worked one stands in where no candidate is correct) or drop
        temperature: of sampling
        max_new_tokens: longest response; a candidate cut there counts as failed
        teacher_statistics: over the references, for distill --cache: none, exact (all logits), topk (with a tail bucket), or auto: exact up to 4,096 tokens in the vocabulary, else topk
        top_k: tokens a position that topk keeps
        loss_temperature: of the loss that is to read the statistics; topk holds it
        cache: folder of the statistics, which runs may share; OUT/teacher_cache when left out
        engine: of the candidates: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.3}
        device: auto, cpu, cuda, cuda:N
        dtype: of the teacher: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of the candidates, and of the choice of problems
        out: folder of the run; the same command resumes it
    """

    student: str = DistillConfig.student
    teacher: str = DistillConfig.teacher
    teacher_prompt: Literal["privileged", "plain", "concise"] = DistillConfig.teacher_prompt
    problems: str = DistillConfig.problems
    limit: int | None = None
    columns: dict[str, str] | None = None
    skip_long: bool = False
    candidates: int = DistillConfig.candidates
    fallback: Literal["solution", "drop"] = DistillConfig.fallback
    temperature: float = DistillConfig.temperature
    max_new_tokens: int = DistillConfig.max_new_tokens
    teacher_statistics: str = "none"
    top_k: int = DistillConfig.top_k
    loss_temperature: float = DistillConfig.loss_temperature
    cache: str | None = None
    engine: str = DistillConfig.engine
    engine_options: dict[str, Any] | None = None
    device: str = DistillConfig.device
    dtype: str = DistillConfig.dtype
    seed: int = 0
    out: str = "runs/references"

    def __post_init__(self) -> None:
        for name in ("limit", "candidates", "max_new_tokens", "top_k"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"`{name}` {value} must be at least 1")
        for name in ("temperature", "loss_temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"`{name}` {getattr(self, name)} must be positive and finite")
        if self.seed < 0:
            raise UserError(f"`seed` {self.seed} must be at least 0")
        if self.cache is not None and self.teacher_statistics == "none":
            raise UserError("`cache` holds the teacher's statistics, and `teacher_statistics` is none; take auto, exact or topk")
        known = {
            "teacher_prompt": ("privileged", "plain", "concise"),
            "fallback": ("solution", "drop"),
            "teacher_statistics": ("none", "auto", "exact", "topk"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise UserError(f"`{name}` {getattr(self, name)} is not known; known: {', '.join(values)}")
        check_engine(self.engine, self.engine_options)


def references_for(training: DistillConfig, *, out: str = ReferencesConfig.out, cache: str | None = None) -> ReferencesConfig:
    """The options of making the references that `training` reads; without the teacher's statistics where it computes them live.

    out, cache: of the references' run.
    """
    shared = {field.name for field in dataclasses.fields(ReferencesConfig)} - {"teacher_statistics", "cache", "out"}
    options = {name: getattr(training, name) for name in shared}
    live = training.teacher_statistics == "live" or training.teacher_update != "frozen"
    statistics = "none" if live else training.teacher_statistics
    return ReferencesConfig(**options, teacher_statistics=statistics, cache=None if statistics == "none" else cache, out=out)
