"""The configuration of the command that makes references."""

from dataclasses import dataclass, fields
from typing import Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.rollouts.options import EngineOptions, SamplingOptions, TeacherOptions
from paced_exp.training.config import DistillConfig

KIND = "references"


@dataclass(frozen=True, kw_only=True)
class ReferencesConfig(TeacherOptions, SamplingOptions, LimitedProblemOptions, EngineOptions, RunOptions):
    """Whose responses to sample as references, and how.

    Attributes:
        student: lab:NAME, smollm2, a folder, a GGUF file, or a hub id of the model that will be trained on the references
        teacher: lab:NAME, smollm2, a folder, a GGUF file, or a hub id; it must read the student's tokens; or `self`, the student itself
        temperature: sampling temperature, above 0
        teacher_statistics: cached predictions of the teacher, for distill --cache: none, exact (all logits), topk (top_k and a tail bucket), auto (exact up to a vocabulary of 4,096, else topk)
        top_k: number of tokens that topk keeps at each position
        loss_temperature: temperature of the loss that will read the statistics; topk statistics depend on it
        cache: folder of the statistics, which several runs may share; OUT/teacher_cache when left out
        dtype: precision of the teacher: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: seed of the candidates and of the choice of problems
    """

    student: str = "lab:student"
    candidates: int = 2
    teacher_statistics: Literal["none", "auto", "exact", "topk"] = "none"
    top_k: int = 64
    loss_temperature: float = 1.0
    cache: str | None = None
    out: str = "runs/references"

    def __post_init__(self) -> None:
        self.positive("temperature", "loss_temperature")
        super().__post_init__()
        self.at_least(1, "top_k")
        if self.cache is not None and self.teacher_statistics == "none":
            raise UserError("`cache` has no effect with `teacher_statistics` none; leave it out, or take auto, exact or topk")


def references_for(training: DistillConfig, *, out: str = ReferencesConfig.out, cache: str | None = None) -> ReferencesConfig:
    """The configuration of the run that makes the references for `training`; without the teacher's statistics if `training` computes them live.

    out, cache: options of the references' run.
    """
    shared = {field.name for field in fields(ReferencesConfig)} - {"teacher_statistics", "cache", "out"}
    options = {name: getattr(training, name) for name in shared}
    if training.teacher_statistics == "live" or training.teacher_update != "frozen":
        return ReferencesConfig(**options, out=out)
    return ReferencesConfig(**options, teacher_statistics=training.teacher_statistics, cache=cache, out=out)
