"""The options of a probe, and of the training between two of them."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import RunOptions
from paced_exp.data.options import ProblemOptions
from paced_exp.losses.divergences import divergence
from paced_exp.probe.accuracy_options import AccuracyOptions
from paced_exp.probe.ranges import LEAST_FRESH, SCREENED
from paced_exp.rollouts.options import EngineOptions, StudentOptions, TeacherOptions
from paced_exp.training.config import DistillConfig, further_options

KIND = "snr_probe"
# Options of the training between two probes that the probe decides: those of these groups it hands on.
_SHARED = [field.name for group in (StudentOptions, TeacherOptions, ProblemOptions, EngineOptions) for field in fields(group)] + ["seed"]
_DECIDED = (*_SHARED, "method", "stages", "reference", "steps", "evaluate", "out")


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(StudentOptions, TeacherOptions, ProblemOptions, AccuracyOptions, EngineOptions, RunOptions):
    """What is probed and how.

    Attributes:
        bins: pass-rate bins of equal width; K + 1 of them give each k its own
        per_bin: problems wanted in each bin
        max_problems: budget of problems rolled out to fill the bins
        fresh_rollouts: 100 or more further rollouts of each problem with k <= 1 or k >= K - 1, to fill ranges down to [0, 0.01) in place of bins; 0 for none
        family_share: with fresh rollouts, largest share of a range's problems that one family may have, such as 0.2; 1 for no limit
        divergence: forward_kl, reverse_kl, cross_entropy, jsd or akl, on the response
        response: reference (of the teacher), solution (the worked solution) or rollout (a new one of the student)
        reduction: how the losses of a response's tokens are reduced: mean or sum
        loss: fused (from hidden states, without logits of a whole batch; needs plain linear heads) or dense (from all logits); they agree to rounding
        checkpointing: compute activations again in the backward pass rather than hold them: a third more time, and memory for longer responses
        only: a module or parameter to which gradients are restricted, such as model.layers.3; by default the whole model
        temperature: sampling temperature of rollouts and references, above 0
        teacher_prompt: what the teacher reads before the response: privileged (the expert solution) or plain
        batch_tokens: padded tokens in a gradient batch
        sketch_size: dimensions of the gradient sketches behind intervals and nulls, at least 64; point estimates are exact
        replicates: draws of the null without a common direction (random signs)
        at_steps: updates before which the probe runs, such as 1,20; the student is trained in between
        method: weighting method in that training: uniform, paced, hard_filter, gaussian, grpo, maxrl or focal
        training: JSON object of further options of paced_exp.distill for that training, such as {"learning_rate": 0.001}
        rollouts_from: folder of an earlier probe of the same student and problems, whose rollouts and references are used again
        rollout_dtype: precision in which the hf engine samples rollouts and references: auto (that of the models), float32, bfloat16 or float64
    """

    K: int = 10
    bins: int = 11
    per_bin: int = 100
    max_problems: int = 20_000
    fresh_rollouts: int = 0
    family_share: float = 1.0
    divergence: str = "forward_kl"
    response: Literal["reference", "solution", "rollout"] = "reference"
    reduction: Literal["mean", "sum"] = "mean"
    loss: Literal["fused", "dense"] = field(default="fused", metadata={"earlier": "dense"})
    checkpointing: bool = False
    only: str | None = None
    teacher_prompt: Literal["privileged", "plain"] = "privileged"
    candidates: int = 4
    batch_tokens: int = 4096
    sketch_size: int = 4096
    replicates: int = 2000
    at_steps: str = "1"
    method: str = "paced"
    training: dict[str, Any] | None = None
    rollouts_from: str | None = None
    rollout_dtype: Literal["auto", "float32", "bfloat16", "float64"] = field(default="auto", metadata={"omitted": True})
    out: str = "runs/snr_probe"

    def __post_init__(self) -> None:
        self.positive("temperature", why=": at 0 a pass rate is 0 or 1 only")
        super().__post_init__()
        self.at_least(1, "max_problems", "batch_tokens")
        self.at_least(2, "bins")
        self.at_least(3, "per_bin")  # an interval needs as many
        self.at_least(
            64, "sketch_size", why=": the inner products of a sketch of m numbers are wrong by about 1/sqrt(m) of the norms"
        )  # below, what is drawn from inner products is noise of the sketch
        self.at_least(100, "replicates")
        divergence(self.divergence)
        if self.rollout_dtype != "auto" and self.engine != "hf":
            raise UserError(
                f"`rollout_dtype` {self.rollout_dtype} applies to `engine` hf alone; {self.engine} samples in `dtype`: leave it out"
            )
        if self.against == "accuracy" and self.temperature != 1:
            raise UserError(
                f"`temperature` {self.temperature} with `against` accuracy must be 1: the gradient of accuracy is that of the distribution sampled from"
            )
        self._check_ranges()
        steps = parse_steps(self.at_steps)
        if steps[-1] > 1:
            self.training_until(steps[-1])
        elif self.method != "paced" or self.training is not None:
            raise UserError(
                "`method` and `training` only apply to the updates between probes: give `at_steps` beyond 1, such as `at_steps` 1,20"
            )

    def _check_ranges(self) -> None:
        if self.fresh_rollouts == 0:
            if self.family_share != 1:
                raise UserError(
                    f"`family_share` {self.family_share} only applies to ranges: give `fresh_rollouts` too, such as {LEAST_FRESH}"
                )
            return
        if self.fresh_rollouts < LEAST_FRESH:
            raise UserError(
                f"`fresh_rollouts` {self.fresh_rollouts} must be 0, or at least {LEAST_FRESH}: fewer cannot tell a pass rate of 0.01 from one of 0.03"
            )
        if self.K not in SCREENED:
            raise UserError(
                f"`K` {self.K} must be from {SCREENED[0]} to {SCREENED[-1]} with `fresh_rollouts`: a screen that tells both ends from a middle"
            )
        if self.bins != type(self).bins:
            raise UserError(f"`bins` {self.bins} does not apply with `fresh_rollouts`, whose ranges are fixed; leave it out")
        if not 0 < self.family_share <= 1:
            raise UserError(f"`family_share` {self.family_share} must be above 0 and at most 1")

    def training_until(self, step: int) -> DistillConfig:
        """The training up to the probe of update `step` > 1: the probe's divergence and responses, a constant rate.

        A rate that falls to zero at the end would make the student at update 20 depend on how many updates follow; `training` may set it
        and all else that the probe does not decide. Raises `UserError` for options that cannot be.
        """
        shared = {name: getattr(self, name) for name in _SHARED}
        # With the loss that the gradients at its end are taken with.
        options = shared | {"schedule": "constant", "loss": self.loss} | further_options(self.training, _DECIDED, "probe")
        return DistillConfig(
            method=self.method,
            stages=f"{self.divergence}@{'rollouts' if self.response == 'rollout' else 'references'}",
            reference="solution" if self.response == "solution" else "teacher",
            steps=step - 1,
            evaluate="none",
            out=f"{self.out}/training-{step - 1:06d}",
            **options,
        )


def parse_steps(text: str) -> list[int]:
    """Updates from "1,20". Raises `UserError` unless they are ascending whole numbers of at least 1."""
    parts = [part.strip() for part in text.split(",")]
    steps = [int(part) for part in parts if part.isdecimal()]
    if len(steps) < len(parts) or steps[0] < 1 or steps != sorted(set(steps)):
        raise UserError(f"`at_steps` {text} must be ascending whole numbers of at least 1 joined by commas, such as 1,20")
    return steps
