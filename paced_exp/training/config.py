"""The options of a distillation."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.evaluation.config import LAB_TIERS

KIND = "distillation"


STEPS = 200  # updates where neither `steps` nor `epochs` is given


@dataclass(frozen=True)
class DistillConfig:
    """What to distil and how.

    Attributes:
        student: lab:NAME, a folder, or a hub id
        teacher: likewise, reading the student's tokens; or `self`, the student itself
        teacher_update: of a teacher that is the student itself: frozen, live, or ema
        ema_decay: share of itself that an ema teacher keeps at an update
        teacher_prompt: what the teacher reads before the response: privileged (the expert solution), plain, or concise
        problems: lab:SPLIT, a .jsonl or .parquet file, hub:NAME, or several joined by commas
        limit: at most so many problems of each source, drawn at random by the seed from a file or the hub; all of them when left out (the lab: the first of its stream, by default the split's size)
        columns: JSON object from a problem's field (id, prompt, answer, solution) to the column of your file that holds it
        skip_long: leave out the problems whose prompt and longest response exceed the model's context, instead of refusing all
        method: of weighting: uniform, paced, hard_filter, gaussian or grpo
        alpha: exponent of the pass rate in paced
        beta: exponent of the failure rate in paced
        estimate: of paced's weight from k of K: plugin (the paper's), unbiased, posterior or empirical_bayes (recommended: docs/weights.md)
        lo: smallest pass rate that the hard filter keeps
        hi: largest pass rate that the hard filter keeps
        sigma: width of the gaussian; matched to paced's spread when left out
        weight_by: loss (weighted in it) or sampling (problems drawn in proportion to their weights)
        pass_rates: pass_rates.parquet of the same student, or counts of your own (.jsonl with problem_id, k, K a line); rolled out here when left out
        K: rollouts a problem, from which its pass rate is estimated
        recompute: pass rates again: never, stages (at their boundaries), or a number of updates
        stages: DIVERGENCE[@references|@rollouts]:FRACTION joined by commas; forward_kl, reverse_kl, jsd, akl or cross_entropy
        jsd_beta: 0 forward KL, 1 reverse KL, between them the generalised Jensen-Shannon divergence
        loss_temperature: divides the logits of both models in the loss
        loss_chunk: tokens whose softmaxes are held at a time; all of a micro-batch when left out
        supervise: response tokens with a loss: all, steps, answer, or first:F
        reference: teacher (sampled with the expert solution in its context) or solution (the worked solution itself)
        candidates: teacher responses sampled a problem; the first correct one is the reference
        fallback: solution (the worked one stands in where no candidate is correct) or drop
        references: folder of another run, whose references of the same teacher are read first
        teacher_statistics: of a frozen teacher on references: live, exact (all logits, cached), topk (with a tail bucket, cached), or auto: exact up to 4,096 tokens in the vocabulary, else topk
        top_k: tokens a position that topk keeps
        cache: folder of the cache, which runs may share; in the run's folder when left out
        steps: updates; 200 when neither this nor epochs is given
        epochs: passes over the problems of positive weight, instead of steps
        batch: problems an update
        micro_batch: problems in memory at once on each device, a divisor of the batch
        learning_rate: peak, of AdamW; the default was chosen for the lab's models (docs/distillation.md), billions of parameters want about 1e-6
        schedule: of the learning rate: constant, linear or cosine (both to zero)
        warmup: updates of linear warm-up, at the start of every stage
        weight_decay: of AdamW
        max_grad_norm: gradients are clipped to this norm
        rollout_every: updates that share one set of on-policy rollouts; 1 is strictly on-policy
        temperature: of rollouts and references
        max_new_tokens: longest response; a rollout cut there counts as failed
        checkpoint_every: updates between checkpoints
        precision: float32, or bf16 (autocast, weights and updates in float32)
        report_to: none, tensorboard or wandb
        training_arguments: JSON object of further transformers.TrainingArguments, such as {"fsdp": "full_shard"}
        evaluate: problems to evaluate on, as `problems`; none to skip
        samples: responses a problem in the evaluation
        evaluate_limit: at most so many evaluation problems of each source, drawn as for limit
        retention: evaluation sources on which a drop counts as forgetting
        base_evaluation: folder of the student's finished evaluation with the same options; evaluated here when left out
        engine: of rollouts, references and evaluation: hf (transformers) or vllm
        engine_options: JSON object for vllm, such as {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.3}
        device: auto, cpu, cuda, cuda:N
        dtype: of the teacher: auto (float32 on a CPU), float32, bfloat16 or float64; the student trains in float32, or float64 if that is given
        seed: of everything random but the evaluation, whose seed is 0
        out: folder of the run; the same command resumes it
    """

    student: str = "lab:student"
    teacher: str = "lab:teacher"
    teacher_update: str = "frozen"
    ema_decay: float = 0.99
    teacher_prompt: Literal["privileged", "plain", "concise"] = "privileged"
    problems: str = "lab:train"
    limit: int | None = None
    columns: dict[str, str] | None = None
    skip_long: bool = False
    method: str = "paced"
    alpha: float = 1.0
    beta: float = 1.0
    estimate: str = "plugin"
    lo: float = 0.2
    hi: float = 0.8
    sigma: float | None = None
    weight_by: str = "loss"
    pass_rates: str | None = None
    K: int = 8
    recompute: str = "stages"
    stages: str = "forward_kl"
    jsd_beta: float = 0.5
    loss_temperature: float = 1.0
    loss_chunk: int | None = None
    supervise: str = "all"
    reference: str = "teacher"
    candidates: int = 2
    fallback: Literal["solution", "drop"] = "solution"
    references: str | None = None
    teacher_statistics: str = "auto"
    top_k: int = 64
    cache: str | None = None
    steps: int | None = None
    epochs: float | None = None
    batch: int = 32
    micro_batch: int = 16
    learning_rate: float = 2e-3
    schedule: str = "linear"
    warmup: int = 10
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    rollout_every: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 128
    checkpoint_every: int = 50
    precision: str = "float32"
    report_to: str = "none"
    training_arguments: dict[str, Any] | None = None
    evaluate: str = LAB_TIERS
    samples: int = 4
    evaluate_limit: int | None = None
    retention: str = "lab:retention"
    base_evaluation: str | None = None
    engine: str = "hf"
    engine_options: dict[str, Any] | None = None
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    out: str = "runs/distill"

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_names()
        from paced_exp.rollouts.options import check_engine

        check_engine(self.engine, self.engine_options)
        from paced_exp.losses.divergences import divergence
        from paced_exp.training.masks import parse_mask
        from paced_exp.training.segments import parse_recompute
        from paced_exp.training.stages import parse_stages

        for stage in parse_stages(self.stages):
            divergence(stage.divergence, jsd_beta=self.jsd_beta)
        self.weighting()
        parse_recompute(self.recompute)
        parse_mask(self.supervise, lambda ids: "")
        if self.batch % self.micro_batch:
            raise UserError(f"`micro_batch` {self.micro_batch} must divide `batch` {self.batch}")

    def _check_numbers(self) -> None:
        whole = "limit K loss_chunk candidates top_k steps batch micro_batch rollout_every max_new_tokens checkpoint_every samples evaluate_limit"
        for name in whole.split():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"`{name}` {value} must be at least 1")
        for name in ("temperature", "loss_temperature", "epochs", "learning_rate", "max_grad_norm"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"`{name}` {getattr(self, name)} must be positive and finite")
        for name in ("warmup", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"`{name}` {getattr(self, name)} must be at least 0")
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"`steps` {self.steps} and `epochs` {self.epochs:g} both say how long to train; give one of them")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"`ema_decay` {self.ema_decay} must be at least 0 and below 1")

    def _check_names(self) -> None:
        known = {
            "teacher_update": ("frozen", "live", "ema"),
            "teacher_prompt": ("privileged", "plain", "concise"),
            "weight_by": ("loss", "sampling"),
            "reference": ("teacher", "solution"),
            "fallback": ("solution", "drop"),
            "teacher_statistics": ("auto", "live", "exact", "topk"),
            "schedule": ("constant", "linear", "cosine"),
            "precision": ("float32", "bf16"),
            "report_to": ("none", "tensorboard", "wandb"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise UserError(f"`{name}` {getattr(self, name)} is not known; known: {', '.join(values)}")
        if self.report_to != "none" and find_spec(self.report_to) is None:
            raise UserError(f"`report_to` {self.report_to} needs a package that is not installed: pip install {self.report_to}")
        if self.teacher != "self" and self.teacher_update != "frozen":
            raise UserError(
                f"`teacher_update` {self.teacher_update} needs `teacher` self; {self.teacher} is another model and stays frozen"
            )

    def weighting(self) -> Any:
        """The weight scheme. Raises `UserError` for an unknown method, listing the known ones."""
        from paced_exp.weighting import Weighting

        return Weighting(self.method, self.alpha, self.beta, self.estimate, self.lo, self.hi, self.sigma)
