"""The configuration of a distillation."""

from dataclasses import dataclass

from paced_exp.core.options import RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.rollouts.options import EngineOptions, StudentOptions
from paced_exp.training.options import FinalEvaluationOptions, LossOptions, TrainingTeacherOptions, UpdateOptions, WeightingOptions
from paced_exp.training.segments import parse_recompute

KIND = "distillation"


STEPS = 200  # updates where neither `steps` nor `epochs` is given


@dataclass(frozen=True, kw_only=True)
class DistillConfig(
    StudentOptions,
    TrainingTeacherOptions,
    LimitedProblemOptions,
    WeightingOptions,
    LossOptions,
    UpdateOptions,
    FinalEvaluationOptions,
    EngineOptions,
    RunOptions,
):
    """What to distil and how.

    Attributes:
        temperature: of rollouts and references, above 0
        dtype: of the teacher: auto (float32 on a CPU), float32, bfloat16 or float64; the student trains in float32, or float64 if that is given
        seed: of everything random but the evaluation, whose seed is 0
    """

    out: str = "runs/distill"

    def __post_init__(self) -> None:
        self.positive("temperature")
        super().__post_init__()
        parse_recompute(self.recompute)
