"""The scales of the lab's models of a million parameters: `desk` of each protocol, and `smoke`, which measures nothing."""

from dataclasses import replace

from paced_exp.reproduce.scale import ChosenPools, Made, ProbeVariant, Scale, Setup

LAB_TIERS = ("lab:mid", "lab:hard-a", "lab:hard-b")
# The dense loss: the records were made with it, and a trajectory with the fused one differs by rounding.
LAB_SHARED = {
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
    tiers=LAB_TIERS,
    retention="lab:retention",
    evaluation={"samples": 4},
    shared={**LAB_SHARED, "device": "cpu"},
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
ALIGNED = {"against": "accuracy", "seed": 99, "max_problems": 16_384}
LATER = {"at_steps": "101,201", "method": "uniform"}

# Students of other sizes, by the lab's recipe, taught by the teacher of all: exploratory. Their learning rates are the desk's times 128 over the
# width, and were not selected.
SIZES = {
    "size-0.1m": Setup("runs/lab/student-0.1m/checkpoint", "lab:teacher", 200, 1.3e-3),
    "size-5m": Setup("runs/lab/student-5m/checkpoint", "lab:teacher", 200, 2.5e-4),
}
_SIZE_PROBES = tuple(
    ProbeVariant(
        f"aligned_{name}",
        f"before training, the student of {name.removeprefix('size-').upper()} parameters",
        {**ALIGNED, "per_bin": 300},
        name,
        name.removeprefix("size"),
    )
    for name in SIZES
)

# The second protocol. Rates are chosen by the rule of docs/protocol-v2.md, from the records under results/desk/selection.
DESK = replace(
    DESK_V1,
    name="desk",
    setups={
        "distillation": Setup("lab:student", "lab:teacher", 200, 5e-4),
        "self-distillation": Setup("lab:student", "self", 100, 2e-3),
        "llama": Setup("lab:student-llama", "lab:teacher-llama", 200, 5e-4),
        # A student that can follow the concise prompt; its rate is chosen from the records under results/desk/selection-concise.
        "concise": Setup("runs/lab/student-concise/checkpoint", "self", 100, 1e-4),
        **SIZES,
    },
    protocol=2,
    models="1 M parameters, made here",
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
        ProbeVariant("aligned", "before training", {**ALIGNED, "per_bin": 600}, kernels=""),
        ProbeVariant("aligned_later", "before updates 101 and 201 of unweighted training", {**ALIGNED, "per_bin": 300, **LATER}),
        *_SIZE_PROBES,
    ),
    # Of 46,592 such problems the first protocol's probe counted 11,077 at k = 0 and 8,821 at k = 10; a pool needs 8,192.
    chosen=ChosenPools("lab:train", drawn=48_000, size=10_240),
    made={
        "runs/lab/student-concise/checkpoint": Made("python -m paced_exp.lab pretrain student-concise", "about 40 minutes of one core"),
        "runs/lab/student-0.1m/checkpoint": Made("python -m paced_exp.lab pretrain student-0.1m", "about 8 minutes of one core"),
        "runs/lab/student-5m/checkpoint": Made("python -m paced_exp.lab pretrain student-5m", "about 2 hours of one core"),
    },
)

_TINY_PROBE = {"K": 4, "bins": 5, "per_bin": 4, "max_problems": 200, "candidates": 1, "replicates": 200}
_TINY_ALIGNED = {**ALIGNED, **_TINY_PROBE, "accuracy_limit": 8, "accuracy_samples": 4}

SMOKE = Scale(
    name="smoke",
    setups={
        **{name: Setup(setup.student, setup.teacher, 8, setup.learning_rate) for name, setup in DESK.setups.items()},
        # Shipped models in the places of those that have to be made.
        "concise": Setup("lab:student", "self", 8, 1e-3),
        "size-0.1m": Setup("lab:student", "lab:teacher-llama", 8, 1.3e-3),
        "size-5m": Setup("lab:student-llama", "lab:teacher", 8, 2.5e-4),
    },
    problems="lab:pool",
    limit=192,
    tiers=LAB_TIERS,
    retention="lab:retention",
    evaluation={"samples": 2, "evaluate_limit": 6},
    shared={**LAB_SHARED, "batch": 4, "micro_batch": 4, "max_new_tokens": 64, "warmup": 0, "rollout_every": 2, "device": "cpu"},
    seeds=(1, 1),
    prompt_tokens=30,
    response_tokens=30,
    flops_per_second=(3.5e10, 1.2e10),
    start_seconds=1.0,
    probes=(ProbeVariant("snr_probe", "before updates 1 and 3", {"at_steps": "1,3", "training": {"limit": 200}, **_TINY_PROBE}),),
    alignment=(
        ProbeVariant("aligned", "before training", _TINY_ALIGNED, kernels=""),
        *(replace(variant, options=_TINY_ALIGNED) for variant in _SIZE_PROBES),
    ),
    chosen=ChosenPools("lab:train", drawn=120, size=40, K=2),
    notes=("a budget that shows that everything runs, and measures nothing",),
    policy={"K": 4, "batch": 2, "micro_batch": 8},
    many_samples={"samples": 8, "evaluate_limit": 3},
)
