"""The options of a distillation, group by group."""

import math
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from paced_exp.core.errors import UserError
from paced_exp.core.options import Options
from paced_exp.evaluation.config import LAB_TIERS
from paced_exp.losses.divergences import divergence
from paced_exp.rollouts.options import TeacherOptions
from paced_exp.rollouts.stopping import Adaptive
from paced_exp.training.masks import parse_mask
from paced_exp.training.segments import parse_recompute
from paced_exp.training.stages import parse_stages
from paced_exp.weighting import Weighting

STEPS = 200  # updates when neither `steps` nor `epochs` is given
DA_KD = "da-kd"  # the value of `weights` that is not the name of a file


@dataclass(frozen=True, kw_only=True)
class WeightingOptions(Weighting):
    """The weights.

    Attributes:
        weights: in place of method: a file with each problem's weight (.jsonl, .csv or .parquet, as paced weights writes), or da-kd: the student's cross-entropy on the reference over the teacher's
        weight_by: loss (weights multiply the loss) or sampling (problems are drawn in proportion to their weights)
        pass_rates: pass_rates.parquet of the same student, or your own counts (.jsonl or .csv with problem_id, k and K); measured before training when left out
        recompute: when pass rates are measured again: never, stages (where a new stage begins), or a number (every so many updates)
        adaptive: stop rollouts for pass rates early where a weight is certain: mean (as exact on average as K for all), largest (none less exact than K's worst), or off
    """

    weights: str | None = None
    weight_by: Literal["loss", "sampling"] = "loss"
    pass_rates: str | None = None
    recompute: str = "stages"
    adaptive: Adaptive = field(default="off", metadata={"omitted": True})  # as `_later`

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_recompute(self.recompute)
        if self.weights is not None:
            if self.weighting() != Weighting():
                raise UserError(
                    f"`weights` {self.weights} already determines the weights; leave out `method` {self.method} and its options"
                )
            if self.pass_rates is not None:
                raise UserError(f"`pass_rates` {self.pass_rates} has no effect where `weights` is given; give one of them")
            if self.recompute.isdigit():
                raise UserError(f"`recompute` {self.recompute} has no effect where `weights` is given; leave it out")
        if self.adaptive != "off":
            self._check_adaptive()

    def _check_adaptive(self) -> None:
        if not self.needs_pass_rates:
            cause = f"`weights` {self.weights}" if self.weights is not None else f"`method` {self.method}"
            raise UserError(f"`adaptive` {self.adaptive} has no effect with {cause}, which needs no pass rates; leave it out")
        if len(self._powers) != 1:
            raise UserError(
                f"`adaptive` {self.adaptive} cannot tell when a weight of `method` {self.method} is certain, as it is no product of powers of p and 1-p; "
                "take paced, grpo or focal, or leave it out"
            )
        if self.estimate not in ("empirical_bayes", "posterior"):
            raise UserError(
                f"`estimate` {self.estimate} does not suit `adaptive` {self.adaptive}: where rollouts stop early, k/K is biased; take empirical_bayes, "
                "which the rule is made for, or posterior"
            )

    @property
    def exponents(self) -> tuple[float, float]:
        """(i, j) of the weights p^i (1-p)^j that `adaptive` makes exact."""
        ((_, i, j),) = self._powers
        return i, j

    @property
    def _powers(self) -> tuple[tuple[float, float, float], ...]:
        return self.weighting().kernel(np.full(1, 2)).powers  # K only gives maxrl an order, with which it has several powers

    @property
    def needs_pass_rates(self) -> bool:
        """Whether the weights are computed from pass rates."""
        return self.weights is None and super().needs_pass_rates

    def weighting(self) -> Weighting:
        """The weight scheme without the other options."""
        return Weighting(**{option.name: getattr(self, option.name) for option in fields(Weighting)})


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """The loss.

    Attributes:
        stages: stages of the training, DIVERGENCE[@references|@rollouts]:FRACTION joined by commas; the divergences are forward_kl, reverse_kl, jsd, akl and cross_entropy
        jsd_beta: parameter of jsd, from 0 to 1: 0 is forward KL, 1 is reverse KL, and in between is the generalised Jensen-Shannon divergence
        loss_temperature: divides the logits of both models in the loss
        loss: fused (from hidden states, without logits of a whole micro-batch; needs plain linear heads) or dense (from all logits); they agree to rounding
        loss_chunk: tokens whose logits (dense: softmaxes) are held at a time; chosen by the vocabulary's size (dense: all of a micro-batch) when left out
        supervise: response tokens that the loss covers: all, steps (before the boxed answer), answer (from the box on), or first:F (the first fraction F)
    """

    stages: str = "forward_kl"
    jsd_beta: float = 0.5
    loss_temperature: float = 1.0
    loss: Literal["fused", "dense"] = field(default="fused", metadata={"earlier": "dense"})
    loss_chunk: int | None = None
    supervise: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "loss_chunk")
        divergence("jsd", jsd_beta=self.jsd_beta)  # checked even if no stage is jsd, since a value out of range is a mistake
        self.positive("loss_temperature")
        for stage in parse_stages(self.stages):
            divergence(stage.divergence, jsd_beta=self.jsd_beta)
        parse_mask(self.supervise, lambda ids: "")


@dataclass(frozen=True, kw_only=True)
class TrainingTeacherOptions(TeacherOptions):
    """The teacher and its references in training.

    Attributes:
        teacher: lab:NAME, smollm2, a folder, a GGUF file, or a hub id; it must read the student's tokens; or `self`, the student itself
        teacher_update: how a teacher that is the student itself changes: frozen (stays as before training), live (is the student), or ema (moving average of the student)
        ema_decay: decay of the ema teacher, the share of its own weights that it keeps at each update
        reference: where references come from: teacher (sampled from it) or solution (the problem's worked solution)
        references: folder of another run with the same teacher, whose references are used before any is sampled
        teacher_statistics: cached predictions of a frozen teacher on references: live (none), exact (all logits), topk (top_k and a tail bucket), auto (exact up to a vocabulary of 4,096, else topk)
        top_k: number of tokens that topk keeps at each position
        cache: folder of the cache, which several runs may share; in the run's folder when left out
    """

    candidates: int = 2
    teacher_update: Literal["frozen", "live", "ema"] = "frozen"
    ema_decay: float = 0.99
    reference: Literal["teacher", "solution"] = "teacher"
    references: str | None = None
    teacher_statistics: Literal["auto", "live", "exact", "topk"] = "auto"
    top_k: int = 64
    cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "top_k")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"`ema_decay` {self.ema_decay} must be at least 0 and below 1")
        if self.teacher != "self" and self.teacher_update != "frozen":
            raise UserError(f"`teacher_update` {self.teacher_update} only applies to `teacher` self; {self.teacher} is frozen")


@dataclass(frozen=True, kw_only=True)
class UpdateOptions(Options):
    """The updates.

    Attributes:
        steps: number of updates; 200 when neither this nor epochs is given
        epochs: number of passes over the problems of positive weight, instead of steps; with one-pass, problems that do not fill a last update are left out
        regime: multi-pass (problems are visited again after all were visited) or one-pass (no problem is visited twice; refused if there are too few)
        accounting: what happens to problems of weight zero: equal-updates (they are skipped, and others fill the batch) or as-published (they stay in the batch, without a loss)
        batch: problems per update
        micro_batch: problems in memory at once on each device; must divide the batch
        learning_rate: peak learning rate of AdamW; the default was chosen for the lab's models (docs/distillation.md), models of billions of parameters need about 1e-6
        schedule: learning-rate schedule: constant, or a linear or cosine decay to zero
        warmup: updates of linear warm-up at the start of every stage
        weight_decay: weight decay of AdamW
        max_grad_norm: norm to which gradients are clipped
        rollout_every: number of updates that share one set of the student's rollouts; 1 is strictly on-policy
        checkpoint_every: updates between checkpoints
        precision: float32, or bf16 (autocast, and rollouts of a copy in bfloat16; weights and updates stay in float32)
        report_to: tracker that the scalars of each update go to: none, tensorboard, wandb or trackio; WANDB_MODE=offline and trackio keep them here
        training_arguments: JSON object of further transformers.TrainingArguments, such as {"fsdp": true}
    """

    steps: int | None = None
    epochs: float | None = None
    regime: Literal["multi-pass", "one-pass"] = "multi-pass"
    accounting: Literal["equal-updates", "as-published"] = "equal-updates"
    batch: int = 32
    micro_batch: int = 16
    learning_rate: float = 2e-3
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: int = 10
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    rollout_every: int = 8
    checkpoint_every: int = 50
    precision: Literal["float32", "bf16"] = "float32"
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    training_arguments: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "steps", "batch", "micro_batch", "rollout_every", "checkpoint_every")
        self.at_least(0, "warmup", "weight_decay")
        self.positive("epochs", "learning_rate", "max_grad_norm")
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"`steps` {self.steps} and `epochs` {self.epochs:g} both say how long to train; give one of them")
        if self.regime == "one-pass" and self.epochs is not None and self.epochs > 1:
            raise UserError(
                f"`epochs` {self.epochs:g} visits problems more than once, which `regime` one-pass forbids; give at most 1, or take multi-pass"
            )
        if self.batch % self.micro_batch:
            raise UserError(f"`micro_batch` {self.micro_batch} must divide `batch` {self.batch}")
        if self.report_to != "none" and find_spec(self.report_to) is None:
            raise UserError(f"`report_to` {self.report_to} needs a package that is not installed: pip install {self.report_to}")

    def updates(self, problems: int) -> int:
        """How many updates there are with so many problems to train on. In one pass, epochs count whole batches alone; else they are rounded up."""
        if self.epochs is None:
            return self.steps or STEPS
        batches = self.epochs * problems / self.batch
        return max(1, math.floor(batches) if self.regime == "one-pass" else math.ceil(batches))


def _later(default: Any) -> Any:
    """An option that cells and their records leave out at its default: it was added after cells had been run, whose keys must not change."""
    return field(default=default, metadata={"omitted": True})


# Which methods against forgetting read an option, where not all do.
_METHODS_OF = {
    "forgetting_strength": ("ewc", "kl"),
    "rehearsal_batch": ("kl",),
    "classp_power": ("classp",),
    "classp_threshold": ("classp",),
}


@dataclass(frozen=True, kw_only=True)
class ForgettingOptions(Options):
    """What counters forgetting.

    Attributes:
        forgetting: none; ewc or kl (a penalty on moving parameters that matter for rehearsal, or on the KL divergence from the student before training); or classp (an optimiser in place of AdamW)
        forgetting_strength: weight of the penalty of ewc or kl; in ewc it multiplies half the Fisher-weighted squared distance
        rehearsal: problems that stand for what must be kept, given as for problems; the student's own responses to them, sampled before training, are read
        rehearsal_limit: at most so many of these problems
        rehearsal_batch: of these problems in each update of kl
        classp_power: classp slows a parameter down as |gradient|^p adds up; its authors take 1, and 2 is AdaGrad
        classp_threshold: classp leaves a parameter alone whose squared gradient is not above this
    """

    forgetting: Literal["none", "ewc", "kl", "classp"] = _later("none")
    forgetting_strength: float = _later(1.0)
    rehearsal: str = _later("lab:rehearsal")
    rehearsal_limit: int | None = _later(256)
    rehearsal_batch: int = _later(8)
    classp_power: float = _later(1.0)
    classp_threshold: float = _later(1e-8)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "rehearsal_limit", "rehearsal_batch")
        self.at_least(0, "forgetting_strength", "classp_threshold")
        self.positive("classp_power")
        if self.forgetting == "none":
            for option in fields(ForgettingOptions):
                if (value := getattr(self, option.name)) != option.default:
                    raise UserError(
                        f"`{option.name}` {value} has no effect with `forgetting` none; leave it out, or give ewc, kl or classp"
                    )
        for name, of in _METHODS_OF.items():
            if self.forgetting not in ("none", *of) and (value := getattr(self, name)) != getattr(ForgettingOptions, name):
                raise UserError(f"`{name}` {value:g} only applies to `forgetting` {' and '.join(of)}; leave it out with {self.forgetting}")


@dataclass(frozen=True, kw_only=True)
class FinalEvaluationOptions(Options):
    """The evaluation after training.

    Attributes:
        evaluate: problems to evaluate on, given as for problems; none skips the evaluation
        samples: responses per problem in the evaluation
        evaluate_limit: at most so many evaluation problems of each source, drawn as for limit
        retention: evaluation sources on which a drop of accuracy counts as forgetting
        base_evaluation: folder of a finished evaluation of the student with the same options; when left out, the student is evaluated too
    """

    evaluate: str = LAB_TIERS
    samples: int = 4
    evaluate_limit: int | None = None
    retention: str = "lab:retention"
    base_evaluation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "samples", "evaluate_limit")
