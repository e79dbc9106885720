"""The configuration of a distillation."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.core.options import RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.rollouts.options import EngineOptions, StudentOptions
from paced_exp.rollouts.stopping import check_adaptive
from paced_exp.training.options import (
    DA_KD,
    FinalEvaluationOptions,
    ForgettingOptions,
    LossOptions,
    TrainingTeacherOptions,
    UpdateOptions,
    WeightingOptions,
)
from paced_exp.training.sharding import check_sharding
from paced_exp.training.stages import parse_stages

KIND = "distillation"


@dataclass(frozen=True, kw_only=True)
class DistillConfig(
    StudentOptions,
    TrainingTeacherOptions,
    LimitedProblemOptions,
    WeightingOptions,
    LossOptions,
    UpdateOptions,
    ForgettingOptions,
    FinalEvaluationOptions,
    EngineOptions,
    RunOptions,
):
    """What is distilled and how.

    Attributes:
        temperature: sampling temperature of rollouts and references, above 0
        dtype: precision of the teacher and of the evaluation: auto (float32 on a CPU), float32, bfloat16 or float64; the student's weights are float32, or float64 if that is given
        seed: seed of everything random except the evaluation, whose seed is 0
    """

    out: str = "runs/distill"

    def __post_init__(self) -> None:
        self.positive("temperature")
        super().__post_init__()
        check_adaptive(self.adaptive, self.K)
        again = self.recompute.isdigit() or (self.recompute == "stages" and len(parse_stages(self.stages)) > 1)
        if self.adaptive != "off" and self.pass_rates is not None and not again:
            raise UserError(
                f"`adaptive` {self.adaptive} has no effect with `pass_rates` {self.pass_rates}, as none are measured in this run; leave one of them out"
            )
        if self.weight_by == "sampling":
            for name, allowed in (("regime", "multi-pass"), ("accounting", "equal-updates")):
                if (value := getattr(self, name)) != allowed:
                    raise UserError(
                        f"`{name}` {value} cannot be combined with `weight_by` sampling, which draws problems with replacement; take {allowed}"
                    )
        if self.forgetting == "classp" and self.weight_decay:
            raise UserError(f"`weight_decay` {self.weight_decay:g} is AdamW's, which `forgetting` classp replaces; leave one of them out")
        check_sharding(self.training_arguments or {}, loss=self.loss, forgetting=self.forgetting, teacher_update=self.teacher_update)
        on_rollouts = any(stage.source != "references" for stage in parse_stages(self.stages))
        if self.weights == DA_KD and (self.reference != "teacher" or on_rollouts):
            raise UserError(f"`weights` {DA_KD} needs the teacher's references: give `reference` teacher, and @references for all `stages`")

    @property
    def samples_in_half(self) -> bool:
        """Whether the student samples from a copy in bfloat16. vllm holds it in a precision of its own, and autocast leaves float64 alone."""
        return self.precision == "bf16" and self.engine == "hf" and self.dtype != "float64"


def further_options(training: dict[str, Any] | None, decided: Collection[str], decider: str) -> dict[str, Any]:
    """Check the `training` option of a command that runs distillations, and return it. It may set options of `DistillConfig` not in `decided`.

    decider: the name, in messages, of what sets the options in `decided`. Raises `UserError` for an option that may not be set.
    """
    known = {field.name for field in fields(DistillConfig)}
    for name in training or {}:
        if name in decided or name not in known:
            why = f"the {decider} decides it" if name in decided else "paced_exp.distill has no such option"
            raise UserError(f"`training` may not set {name!r}: {why}")
    return training or {}
