"""The scales: which models, problems and budget the grids run with. Nothing else in this package knows which scale it is."""

from dataclasses import dataclass, field, replace
from typing import Any

MOST_SEEDS = 20  # of a row that are read; a record of a later seed is not


@dataclass(frozen=True)
class Setup:
    """A student with its teacher, and the budget chosen on its unweighted baseline.

    teacher: a model, or `self`. updates: of the optimiser. learning_rate: its peak; where the scale's rates are selected, the first tried.
    options: of `DistillConfig`, where the setup needs others than its scale.
    """

    student: str
    teacher: str
    updates: int
    learning_rate: float
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProbeVariant:
    """An SNR probe of a scale.

    key: folder of its record under results/SCALE. words: what is probed, for pages. options: of `ProbeConfig`. setup: of the scale, whose
    models and training it has.
    """

    key: str
    words: str
    options: dict[str, Any]
    setup: str = "distillation"


@dataclass(frozen=True)
class Scale:
    """What turns a grid's row into a run.

    setups: by name: distillation, self-distillation, llama, concise. tiers: three evaluation sources, easiest first, with the paper's
    benchmark each stands for. seeds: of main tables, and of the others. shared: options of every run. prompt_tokens, response_tokens:
    typical lengths, for estimates alone. flops_per_second: of one device or CPU thread, (training, sampling), for estimates.
    protocol: 1 (docs/protocol.md) or 2 (docs/protocol-v2.md); its tables are run and printed. first_seed: of every row. curves: measured kernels by
    name, from the records of probes. many_samples: `evaluation` for tables that show pass@k. policy: options
    of every run of `paced_exp.teacher`.
    probes: the SNR probes behind figure 2 and claim C1. robustness: those that ask whether the answer holds for another loss, response, part of
    the model or number of rollouts; no claim rests on them. alignment: those against accuracy; the first gives measured kernels.
    device: cpu (one thread a cell) or cuda. selected: whether records under results/NAME/selection decide the rates (learning_rates.py).
    """

    name: str
    setups: dict[str, Setup]
    problems: str
    limit: int
    tiers: tuple[str, str, str]
    retention: str
    evaluation: dict[str, Any]
    shared: dict[str, Any]
    seeds: tuple[int, int]
    prompt_tokens: int
    response_tokens: int
    flops_per_second: tuple[float, float]
    start_seconds: float
    probes: tuple[ProbeVariant, ...]
    device: str = "cpu"
    selected: bool = False
    notes: tuple[str, ...] = ()
    robustness: tuple[ProbeVariant, ...] = ()
    alignment: tuple[ProbeVariant, ...] = ()
    protocol: int = 2
    first_seed: int = 0
    curves: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    many_samples: dict[str, int] = field(default_factory=lambda: {"samples": 32, "evaluate_limit": 230})

    def seed_range(self, count: int) -> range:
        """The first `count` seeds."""
        return range(self.first_seed, self.first_seed + count)

    @property
    def sources(self) -> tuple[str, ...]:
        """All evaluation sources, the tiers and then retention."""
        return (*self.tiers, self.retention)


BENCHMARKS = ("MATH-500", "AIME 2024", "AIME 2025")  # what the three tiers stand for, in the paper's tables

_LAB_TIERS = ("lab:mid", "lab:hard-a", "lab:hard-b")
# The dense loss: the records were made with it, and a trajectory with the fused one differs by rounding.
_LAB_SHARED = {
    "loss": "dense",
    "K": 8,
    "candidates": 2,
    "batch": 32,
    "micro_batch": 16,
    "max_new_tokens": 128,
    "warmup": 10,
    "schedule": "linear",
}

_BEFORE = "before updates 1 and 20"
_SMALLER = {"per_bin": 500, "max_problems": 200_000}  # a probe of robustness, beside 2,000 a bin where the claim is judged

# Rates and updates are those that the selection on the unweighted baseline chose (docs/distillation.md, results/desk-v1/distill/selection).
DESK_V1 = Scale(
    name="desk-v1",
    protocol=1,
    setups={
        "distillation": Setup("lab:student", "lab:teacher", 200, 2e-3),
        "self-distillation": Setup("lab:student", "self", 100, 1e-3),
        "llama": Setup("lab:student-llama", "lab:teacher-llama", 200, 2e-3),
        "concise": Setup("lab:student", "self", 100, 1e-3),
    },
    problems="lab:train",
    limit=2000,
    tiers=_LAB_TIERS,
    retention="lab:retention",
    evaluation={"samples": 4},
    shared={**_LAB_SHARED, "device": "cpu"},
    seeds=(5, 3),
    prompt_tokens=30,
    response_tokens=30,
    flops_per_second=(3.5e10, 1.2e10),
    start_seconds=5.0,
    probes=(
        ProbeVariant("snr_probe", _BEFORE, {"at_steps": "1,20", "per_bin": 500, "max_problems": 60_000}),
        ProbeVariant("snr_verdict/qwen3", "Qwen3 architecture", {"per_bin": 2000, "max_problems": 200_000}),
        ProbeVariant("snr_verdict/llama", "Llama architecture", {"per_bin": 2000, "max_problems": 200_000}, "llama"),
    ),
    robustness=(
        ProbeVariant(
            "snr_robustness/reverse-kl",
            "reverse KL on the student's own rollouts",
            {"divergence": "reverse_kl", "response": "rollout", **_SMALLER},
        ),
        ProbeVariant(
            "snr_robustness/cross-entropy",
            "cross-entropy on the worked solution",
            {"divergence": "cross_entropy", "response": "solution", **_SMALLER},
        ),
        ProbeVariant("snr_robustness/last-layer", "forward KL, the last transformer block alone", {"only": "model.layers.3", **_SMALLER}),
        ProbeVariant("snr_robustness/sum", "forward KL, summed over a response's tokens", {"reduction": "sum", **_SMALLER}),
        ProbeVariant("snr_robustness/k40", "forward KL, p from K = 40 rollouts", {"K": 40, "per_bin": 150, "max_problems": 200_000}),
    ),
)

# A seed of their own: the grids' problems are not probed.
_RANGES = {"problems": "lab:train", "seed": 99, "fresh_rollouts": 100, "per_bin": 1250, "family_share": 0.25, "max_problems": 45_000}
_ALIGNED = {"against": "accuracy", "seed": 99, "max_problems": 16_384}
_LATER = {"at_steps": "101,201", "method": "uniform"}

# The second protocol. Rates are chosen by the rule of docs/protocol-v2.md, from the records under results/desk/selection.
DESK = replace(
    DESK_V1,
    name="desk",
    setups={
        "distillation": Setup("lab:student", "lab:teacher", 200, 5e-4),
        "self-distillation": Setup("lab:student", "self", 100, 2e-3),
        "llama": Setup("lab:student-llama", "lab:teacher-llama", 200, 5e-4),
    },
    protocol=2,
    first_seed=100,
    problems="lab:pool",
    limit=16_384,
    evaluation={"samples": 4, "evaluate_limit": 1834},
    seeds=(10, 5),
    # Both architectures by ranges of the pass rate.
    probes=(
        ProbeVariant("snr_ranges/qwen3", "Qwen3 architecture, ranges down to [0, 0.01)", _RANGES),
        ProbeVariant(
            "snr_ranges/llama",
            "Llama architecture, ranges down to [0, 0.01)",
            {**_RANGES, "per_bin": 600, "max_problems": 20_000},
            "llama",
        ),
    ),
    robustness=(),
    # The first gives the rows `aligned` and `fitted` their weights, so it is of the student before training, and of the pool.
    alignment=(
        ProbeVariant("aligned", "before training", {**_ALIGNED, "per_bin": 600}),
        ProbeVariant("aligned_later", "before updates 101 and 201 of unweighted training", {**_ALIGNED, "per_bin": 300, **_LATER}),
    ),
)

SMOKE = Scale(
    name="smoke",
    setups={name: Setup(setup.student, setup.teacher, 8, setup.learning_rate) for name, setup in DESK.setups.items()},
    problems="lab:pool",
    limit=192,
    tiers=_LAB_TIERS,
    retention="lab:retention",
    evaluation={"samples": 2, "evaluate_limit": 6},
    shared={**_LAB_SHARED, "batch": 4, "micro_batch": 4, "max_new_tokens": 64, "warmup": 0, "rollout_every": 2, "device": "cpu"},
    seeds=(1, 1),
    prompt_tokens=30,
    response_tokens=30,
    flops_per_second=(3.5e10, 1.2e10),
    start_seconds=1.0,
    probes=(
        ProbeVariant(
            "snr_probe",
            "before updates 1 and 3",
            {"at_steps": "1,3", "K": 4, "bins": 5, "per_bin": 4, "max_problems": 200, "candidates": 1, "replicates": 200},
        ),
    ),
    alignment=(
        ProbeVariant(
            "aligned",
            "before training",
            {
                **_ALIGNED,
                "K": 4,
                "bins": 5,
                "per_bin": 4,
                "max_problems": 200,
                "candidates": 1,
                "replicates": 200,
                "accuracy_limit": 8,
                "accuracy_samples": 4,
            },
        ),
    ),
    notes=("a budget that shows that everything runs, and measures nothing",),
    policy={"K": 4, "batch": 2, "micro_batch": 8},
    many_samples={"samples": 8, "evaluate_limit": 3},
)

GPU = Scale(
    name="gpu",
    protocol=1,
    setups={
        "distillation": Setup("runs/gpu-scale/student/checkpoint", "runs/gpu-scale/teacher/checkpoint", 300, 3e-4),
        "self-distillation": Setup("runs/gpu-scale/student/checkpoint", "self", 150, 3e-4),
        "llama": Setup("runs/gpu-scale/student-llama/checkpoint", "runs/gpu-scale/teacher-llama/checkpoint", 300, 3e-4),
        "concise": Setup("runs/gpu-scale/student/checkpoint", "self", 150, 3e-4),
    },
    problems="lab:harder-train",
    limit=4000,
    tiers=("lab:harder-mid", "lab:harder-hard-a", "lab:harder-hard-b"),
    retention="lab:retention",
    evaluation={"samples": 8},
    shared={**_LAB_SHARED, "batch": 64, "micro_batch": 64, "max_new_tokens": 192, "device": "cuda"},
    seeds=(5, 3),
    prompt_tokens=35,
    response_tokens=50,
    flops_per_second=(2e13, 5e11),
    start_seconds=15.0,
    probes=(ProbeVariant("snr_probe", _BEFORE, {"at_steps": "1,20", "per_bin": 500, "max_problems": 40_000}),),
    device="cuda",
    selected=True,
    notes=("the models are pretrained, and the rates selected, by runs/gpu.sh",),
)

# The paper's hyper-parameters (paper/reported.json). Not given there, chosen here: batch 128, 200 updates, bf16, teacher statistics of the
# 64 likeliest tokens, sampling at temperature 1.
_PAPER_RATE = 1e-7
# The paper's problems are published without worked solutions: its larger teachers solve them unaided, and a self-teacher is given other ones.
_UNAIDED = {"teacher_prompt": "plain", "fallback": "drop"}
_SOLVED = {"problems": "hub:knoveleng/open-s1"}
PAPER = Scale(
    name="paper",
    protocol=1,
    setups={
        "distillation": Setup("Qwen/Qwen3-1.7B", "Qwen/Qwen3-8B", 200, _PAPER_RATE, _UNAIDED),
        "self-distillation": Setup("Qwen/Qwen2.5-Math-7B-Instruct", "self", 200, _PAPER_RATE, _SOLVED),
        "llama": Setup("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", 200, _PAPER_RATE, _UNAIDED),
        "concise": Setup("Qwen/Qwen3-1.7B", "self", 200, _PAPER_RATE),
    },
    problems="hub:open-r1/DAPO-Math-17k-Processed",
    limit=17_000,
    tiers=("hub:HuggingFaceH4/MATH-500", "hub:HuggingFaceH4/aime_2024", "hub:yentinglin/aime_2025"),
    retention="hub:cais/mmlu/all:test",
    evaluation={"samples": 8, "evaluate_limit": 2000},
    shared={
        "K": 8,
        "candidates": 4,
        "batch": 128,
        "micro_batch": 1,
        "max_new_tokens": 8192,
        "warmup": 10,
        "schedule": "cosine",
        "precision": "bf16",
        "dtype": "bfloat16",
        "teacher_statistics": "topk",
        "engine": "vllm",
        "device": "cuda",
    },
    seeds=(5, 3),
    prompt_tokens=200,
    response_tokens=3000,
    flops_per_second=(4e14, 1e14),
    start_seconds=120.0,
    probes=(ProbeVariant("snr_probe", _BEFORE, {"at_steps": "1,20", "per_bin": 200, "max_problems": 17_000}),),
    device="cuda",
    policy={"preset": "paper", "precision": "bf16", "engine": "vllm"},
    notes=(
        "the paper's teacher of table 1 is Qwen3-8B after GRPO, which is not published: Qwen3-8B itself stands in",
        "DAPO-Math-17k is published without worked solutions: teachers of tables 1, 5 and 12 read the plain prompt, and problems that they do not "
        "solve are dropped; self-distillation takes open-s1, 18,615 problems with solutions",
        "responses are cut at 8,192 tokens in training as in rollouts; the paper trains on up to 16,384",
    ),
)

SCALES = {scale.name: scale for scale in (DESK, DESK_V1, GPU, PAPER, SMOKE)}
