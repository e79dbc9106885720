"""The options of a distillation, group by group."""

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import Options
from paced_exp.evaluation.config import LAB_TIERS
from paced_exp.losses.divergences import divergence
from paced_exp.rollouts.options import TeacherOptions
from paced_exp.training.masks import parse_mask
from paced_exp.training.segments import parse_recompute
from paced_exp.training.stages import parse_stages
from paced_exp.weighting import Weighting

DA_KD = "da-kd"  # in place of a file of weights


@dataclass(frozen=True, kw_only=True)
class WeightingOptions(Weighting):
    """The weights.

    Attributes:
        weights: file of the weight of each problem (.jsonl, .csv or .parquet, as paced weights writes), in place of method; or da-kd: student's over teacher's cross-entropy on the reference
        weight_by: loss (weighted in it) or sampling (problems drawn in proportion to their weights)
        pass_rates: pass_rates.parquet of the same student, or counts of your own (.jsonl or .csv with problem_id, k and K); rolled out here when left out
        recompute: pass rates again: never, stages (at their boundaries), or a number of updates
    """

    weights: str | None = None
    weight_by: Literal["loss", "sampling"] = "loss"
    pass_rates: str | None = None
    recompute: str = "stages"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_recompute(self.recompute)
        if self.weights is not None:
            if self.weighting() != Weighting():
                raise UserError(f"`weights` {self.weights} holds the weights themselves; leave out `method` {self.method} and its options")
            if self.pass_rates is not None:
                raise UserError(
                    f"`pass_rates` {self.pass_rates} plays no part where `weights` holds the weights themselves; give one of them"
                )
            if self.recompute.isdigit():
                raise UserError(
                    f"`recompute` {self.recompute} plays no part where `weights` holds the weights themselves: they stay as they are"
                )

    @property
    def needs_pass_rates(self) -> bool:
        """Whether the weights are made from pass rates."""
        return self.weights is None and super().needs_pass_rates

    def weighting(self) -> Weighting:
        """The weight scheme alone."""
        return Weighting(**{option.name: getattr(self, option.name) for option in fields(Weighting)})


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options):
    """The loss.

    Attributes:
        stages: DIVERGENCE[@references|@rollouts]:FRACTION joined by commas; forward_kl, reverse_kl, jsd, akl or cross_entropy
        jsd_beta: 0 forward KL, 1 reverse KL, between them the generalised Jensen-Shannon divergence
        loss_temperature: divides the logits of both models in the loss
        loss: fused (from hidden states, without logits of a whole micro-batch; needs plain linear heads) or dense (from all logits); they agree to rounding
        loss_chunk: tokens whose logits (dense: softmaxes) are held at a time; chosen by the vocabulary's size (dense: all of a micro-batch) when left out
        supervise: response tokens with a loss: all, steps, answer, or first:F
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
        divergence("jsd", jsd_beta=self.jsd_beta)  # checked even where no stage is jsd: an option out of range is a mistake
        self.positive("loss_temperature")
        for stage in parse_stages(self.stages):
            divergence(stage.divergence, jsd_beta=self.jsd_beta)
        parse_mask(self.supervise, lambda ids: "")


@dataclass(frozen=True, kw_only=True)
class TrainingTeacherOptions(TeacherOptions):
    """The teacher, its references and its part in training.

    Attributes:
        teacher: lab:NAME, a folder, or a hub id, reading the student's tokens; or `self`, the student itself
        teacher_update: of a teacher that is the student itself: frozen, live, or ema
        ema_decay: share of itself that an ema teacher keeps at an update
        reference: teacher (sampled, the teacher reading its prompt) or solution (the worked solution itself)
        references: folder of another run, whose references of the same teacher are read first
        teacher_statistics: of a frozen teacher on references: live, exact (all logits, cached), topk (with a tail bucket, cached), or auto: exact up to 4,096 tokens in the vocabulary, else topk
        top_k: tokens a position that topk keeps
        cache: folder of the cache, which runs may share; in the run's folder when left out
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
            raise UserError(
                f"`teacher_update` {self.teacher_update} needs `teacher` self; {self.teacher} is another model and stays frozen"
            )


@dataclass(frozen=True, kw_only=True)
class UpdateOptions(Options):
    """The updates.

    Attributes:
        steps: updates; 200 when neither this nor epochs is given
        epochs: passes over the problems of positive weight, instead of steps
        regime: multi-pass (problems come again when all were visited) or one-pass (no problem is visited twice; refused where they do not suffice)
        accounting: of updates: equal-updates (problems of weight zero are passed over) or as-published (they stay in the batch, without a loss)
        batch: problems an update
        micro_batch: problems in memory at once on each device, a divisor of the batch
        learning_rate: peak, of AdamW; the default was chosen for the lab's models (docs/distillation.md), billions of parameters want about 1e-6
        schedule: of the learning rate: constant, linear or cosine (both to zero)
        warmup: updates of linear warm-up, at the start of every stage
        weight_decay: of AdamW
        max_grad_norm: gradients are clipped to this norm
        rollout_every: updates that share one set of on-policy rollouts; 1 is strictly on-policy
        checkpoint_every: updates between checkpoints
        precision: float32, or bf16 (autocast, weights and updates in float32)
        report_to: none, tensorboard or wandb
        training_arguments: JSON object of further transformers.TrainingArguments, such as {"fsdp": "full_shard"}
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
    report_to: Literal["none", "tensorboard", "wandb"] = "none"
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
                f"`epochs` {self.epochs:g} visits problems again, which `regime` one-pass does not; give at most 1, or multi-pass"
            )
        if self.batch % self.micro_batch:
            raise UserError(f"`micro_batch` {self.micro_batch} must divide `batch` {self.batch}")
        if self.report_to != "none" and find_spec(self.report_to) is None:
            raise UserError(f"`report_to` {self.report_to} needs a package that is not installed: pip install {self.report_to}")


@dataclass(frozen=True, kw_only=True)
class FinalEvaluationOptions(Options):
    """The evaluation that follows.

    Attributes:
        evaluate: problems to evaluate on, as `problems`; none to skip
        samples: responses a problem in the evaluation
        evaluate_limit: at most so many evaluation problems of each source, drawn as for limit
        retention: evaluation sources on which a drop counts as forgetting
        base_evaluation: folder of the student's finished evaluation with the same options; evaluated here when left out
    """

    evaluate: str = LAB_TIERS
    samples: int = 4
    evaluate_limit: int | None = None
    retention: str = "lab:retention"
    base_evaluation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "samples", "evaluate_limit")
