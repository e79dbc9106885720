"""The options of making references."""

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
        student: lab:NAME, a folder, or a hub id; the model that is to be trained on the references
        teacher: lab:NAME, a folder, or a hub id, reading the student's tokens; or `self`, the student itself
        temperature: of sampling, above 0
        teacher_statistics: over the references, for distill --cache: none, exact (all logits), topk (with a tail bucket), or auto: exact up to 4,096 tokens in the vocabulary, else topk
        top_k: tokens a position that topk keeps
        loss_temperature: of the loss that is to read the statistics; topk is made at it
        cache: folder of the statistics, which runs may share; OUT/teacher_cache when left out
        dtype: of the teacher: auto (float32 on a CPU), float32, bfloat16 or float64
        seed: of the candidates, and of the choice of problems
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
            raise UserError(
                "`cache` is for the teacher's statistics, of which `teacher_statistics` none makes none; take auto, exact or topk"
            )


def references_for(training: DistillConfig, *, out: str = ReferencesConfig.out, cache: str | None = None) -> ReferencesConfig:
    """The options of making the references that `training` reads; without the teacher's statistics where it computes them live.

    out, cache: of the references' run.
    """
    shared = {field.name for field in fields(ReferencesConfig)} - {"teacher_statistics", "cache", "out"}
    options = {name: getattr(training, name) for name in shared}
    if training.teacher_statistics == "live" or training.teacher_update != "frozen":
        return ReferencesConfig(**options, out=out)
    return ReferencesConfig(**options, teacher_statistics=training.teacher_statistics, cache=cache, out=out)
