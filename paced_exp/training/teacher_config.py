"""The configuration of the training of a teacher: policy gradient on its own graded rollouts (GRPO and its neighbours)."""

from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

from paced_exp.core.errors import UserError
from paced_exp.core.options import Options, RunOptions
from paced_exp.data.options import LimitedProblemOptions
from paced_exp.rollouts.options import EngineOptions, StudentOptions
from paced_exp.training.options import FinalEvaluationOptions
from paced_exp.weighting.advantages import GROUP_WEIGHTS, Scheme

KIND = "teacher"
# What options that are left out become. `paper`: the GRPO of PACED's teacher. `lab`: minutes on two cores. Its rate lies between 5e-4, which lost nothing in
# 24 updates, and 1e-4; at 2e-3 lab:student lost accuracy in 20 (one seed, first trials). What it gains: results/teacher/lab.json.
PRESETS: dict[str, dict[str, Any]] = {
    "lab": {"kl": 0.001, "learning_rate": 3e-4, "batch": 16, "micro_batch": 128, "steps": 120, "max_grad_norm": 1.0},
    "paper": {"kl": 0.001, "learning_rate": 1e-6, "batch": 128, "micro_batch": 8, "epochs": 2.0, "max_grad_norm": 1.0},
}


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(Options):
    """The policy gradient.

    Attributes:
        advantage: how rewards of 0 and 1 become advantages: grpo, dr_grpo, maxrl, psr (correct rollouts only), nsr (wrong ones only) or w_reinforce
        positive_weight: weight of correct rollouts in w_reinforce
        error_penalty: strength of ACE: negative advantages times 1 + strength x softplus(log pi/pi_ref); 0 leaves them as they are
        group_weight: kernel by which a problem's advantages are weighted, at the pass rate of its own group: uniform, paced, hard_filter, gaussian, grpo, maxrl or focal
        guide: share of the worked solution's lines, never the last, given as a hint to problems without a correct rollout, which are rolled out again (Guide); 0 gives none
        clip: PPO's epsilon, for the record; with one update for each set of rollouts the ratio is 1, and no value clips anything
        kl: weight of the KL divergence from the model before training; 0.001 when left out
    """

    advantage: Scheme = "grpo"
    positive_weight: float = 0.1
    error_penalty: float = 0.0
    group_weight: str = "uniform"
    guide: float = 0.0
    clip: float = 0.2
    kl: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "positive_weight", "error_penalty", "kl")
        self.positive("clip")
        if not 0 <= self.guide <= 1:
            raise UserError(f"`guide` {self.guide} must be from 0 (no hint) to 1 (all lines of work but the last)")
        if self.guide and self.group_weight != "uniform":
            raise UserError(
                f"`guide` {self.guide:g} replaces failed rollouts by hinted ones, whose pass rate `group_weight` {self.group_weight} would take for the "
                "student's; give one of them"
            )
        if self.positive_weight != PolicyOptions.positive_weight and self.advantage != "w_reinforce":
            raise UserError(
                f"`positive_weight` {self.positive_weight:g} only applies to `advantage` w_reinforce; leave it out with {self.advantage}"
            )
        if self.error_penalty and self.advantage == "psr":
            raise UserError("`error_penalty` has no effect with `advantage` psr, which has no negative advantages; leave it out")
        if self.error_penalty and self.kl == 0:
            raise UserError("`error_penalty` compares with the model before training, which `kl` 0 does not keep; give `kl` above 0")
        if self.group_weight not in GROUP_WEIGHTS:
            raise UserError(f"`group_weight` {self.group_weight} is not known; known: {', '.join(GROUP_WEIGHTS)}")


@dataclass(frozen=True, kw_only=True)
class PolicyUpdateOptions(Options):
    """The updates. An option that is left out is the preset's.

    Attributes:
        preset: lab (120 updates of 16 problems at rate 3e-4) or paper (2 passes, 128 problems an update, rate 1e-6)
        steps: number of updates
        epochs: number of passes over the problems, instead of steps
        batch: problems per update, each with its group of K rollouts
        micro_batch: rollouts in memory at once; must divide batch x K
        learning_rate: peak learning rate of AdamW
        schedule: learning-rate schedule: constant, or a linear or cosine decay to zero
        warmup: updates of linear warm-up
        max_grad_norm: norm to which gradients are clipped
        checkpoint_every: updates between checkpoints
        precision: float32, or bf16 (autocast; weights and updates stay in float32)
    """

    preset: Literal["lab", "paper"] = "lab"
    steps: int | None = None
    epochs: float | None = None
    batch: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: int = 0
    max_grad_norm: float | None = None
    checkpoint_every: int = 20
    precision: Literal["float32", "bf16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "steps", "batch", "micro_batch", "checkpoint_every")
        self.at_least(0, "warmup")
        self.positive("epochs", "learning_rate", "max_grad_norm")
        if self.steps is not None and self.epochs is not None:
            raise UserError(f"`steps` {self.steps} and `epochs` {self.epochs:g} both say how long to train; give one of them")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(
    StudentOptions, LimitedProblemOptions, PolicyOptions, PolicyUpdateOptions, FinalEvaluationOptions, EngineOptions, RunOptions
):
    """What is trained to be a teacher, and how.

    Attributes:
        student: lab:NAME, smollm2, a folder, a GGUF file, or a hub id of the model that is trained
        K: rollouts per problem and update, the group G of GRPO
        temperature: sampling temperature of the rollouts, above 0
        samples: responses per problem in the evaluation; pass@k is estimated for every k up to it
        seed: seed of everything random except the evaluation, whose seed is 0
    """

    samples: int = 32
    evaluate_limit: int | None = 200
    out: str = "runs/teacher"

    def __post_init__(self) -> None:
        self.positive("temperature")
        chosen = PRESETS.get(self.preset, {})
        for name, value in chosen.items():
            if name == "micro_batch" and self.batch and self.K > 0:
                value = gcd(value, self.batch * self.K)  # so that another `batch` or `K` needs no word about it
            if getattr(self, name) is None and not (name in ("steps", "epochs") and (self.steps or self.epochs)):
                object.__setattr__(self, name, value)  # as if it had been given, so that the run's config.yaml has it
        super().__post_init__()
        self.at_least(2, "K", why=": advantages compare the rollouts of a problem")
        if self.batch and self.micro_batch and self.batch * self.K % self.micro_batch:
            raise UserError(
                f"`micro_batch` {self.micro_batch} must divide the {self.batch * self.K} rollouts of an update (`batch` {self.batch} x `K` {self.K})"
            )
