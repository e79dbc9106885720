"""The scales of larger models, for GPUs: `gpu`, pairs of 27 million parameters that runs/gpu.sh pretrains, and `paper`, the paper's own pairs.

Both follow the second protocol. Nothing was run at them yet.
"""

from typing import Any

from paced_exp.reproduce.desk_scales import ALIGNED, LAB_SHARED, LATER
from paced_exp.reproduce.scale import Made, ProbeVariant, Scale, Setup

# As the desk's pool, twice as large, with levels up to 8. 200 updates of 64 problems are the same share of it as 200 of 32 are of the desk's.
_HARDER_TIERS = ("lab:harder-mid", "lab:harder-hard-a", "lab:harder-hard-b")
_HARDER_RANGES = {"problems": "lab:harder-train", "seed": 99, "fresh_rollouts": 100, "family_share": 0.25}
_HARDER_ALIGNED = {**ALIGNED, "accuracy_problems": ",".join(_HARDER_TIERS)}

GPU = Scale(
    name="gpu",
    models="27 M parameters, made here",
    first_seed=100,
    setups={
        "distillation": Setup("runs/gpu-scale/student/checkpoint", "runs/gpu-scale/teacher/checkpoint", 200, 3e-4),
        "self-distillation": Setup("runs/gpu-scale/student/checkpoint", "self", 100, 3e-4),
        "llama": Setup("runs/gpu-scale/student-llama/checkpoint", "runs/gpu-scale/teacher-llama/checkpoint", 200, 3e-4),
    },
    problems="lab:harder-pool",
    limit=32_768,
    tiers=_HARDER_TIERS,
    retention="lab:retention",
    evaluation={"samples": 4, "evaluate_limit": 1834},
    shared={**LAB_SHARED, "batch": 64, "micro_batch": 64, "max_new_tokens": 192, "device": "cuda"},
    seeds=(5, 3),
    prompt_tokens=35,
    response_tokens=50,
    flops_per_second=(2e13, 5e11),
    start_seconds=15.0,
    probes=(
        ProbeVariant(
            "snr_ranges/qwen3",
            "Qwen3 architecture, ranges down to [0, 0.01)",
            {**_HARDER_RANGES, "per_bin": 1250, "max_problems": 45_000},
        ),
        ProbeVariant(
            "snr_ranges/llama",
            "Llama architecture, ranges down to [0, 0.01)",
            {**_HARDER_RANGES, "per_bin": 600, "max_problems": 20_000},
            "llama",
        ),
    ),
    alignment=(
        ProbeVariant("aligned", "before training", {**_HARDER_ALIGNED, "per_bin": 600}, kernels=""),
        ProbeVariant("aligned_later", "before updates 101 and 201 of unweighted training", {**_HARDER_ALIGNED, "per_bin": 300, **LATER}),
    ),
    device="cuda",
    selected=True,
    notes=("the models are pretrained, and the rates selected, by runs/gpu.sh",),
    made={
        f"runs/gpu-scale/{name}/checkpoint": Made(
            f"python -m paced_exp.lab pretrain gpu-{name} --device cuda --workers 8 --out runs/gpu-scale/{name}",
            "on a GPU, or all of them by runs/gpu.sh",
        )
        for name in ("teacher", "student", "teacher-llama", "student-llama")
    },
)

# The paper's hyper-parameters (paper/reported.json). Not given there, chosen here: batch 32, 150 updates (100 in self-distillation), bf16, teacher statistics of the
# 64 likeliest tokens, sampling at temperature 1. One pass decides batch and updates: 150 x 32 is 28 % of the problems, and the longest
# unweighted row takes 72 % of them, which leaves room for weights of zero and for problems that no teacher solves.
_PAPER_RATE = 1e-7
# The paper's problems are published without worked solutions: its larger teachers solve them unaided, and a self-teacher is given other ones.
_UNAIDED = {"teacher_prompt": "plain", "fallback": "drop"}
_SOLVED = {"problems": "hub:knoveleng/open-s1"}
_PAPER_RANGES: dict[str, Any] = {"seed": 99, "fresh_rollouts": 100}
# 12,000 problems of MATH that are not in MATH-500.
_PAPER_ALIGNED = {
    "against": "accuracy",
    "seed": 99,
    "accuracy_problems": "hub:nlile/hendrycks-MATH-benchmark:train",
    "per_bin": 100,
    "max_problems": 6000,
}
PAPER = Scale(
    name="paper",
    models="the paper's pairs",
    first_seed=100,
    setups={
        "distillation": Setup("Qwen/Qwen3-1.7B", "Qwen/Qwen3-8B", 150, _PAPER_RATE, _UNAIDED),
        "self-distillation": Setup("Qwen/Qwen2.5-Math-7B-Instruct", "self", 100, _PAPER_RATE, _SOLVED),
        "llama": Setup("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", 150, _PAPER_RATE, _UNAIDED),
    },
    problems="hub:open-r1/DAPO-Math-17k-Processed",
    limit=17_000,
    tiers=("hub:HuggingFaceH4/MATH-500", "hub:HuggingFaceH4/aime_2024", "hub:yentinglin/aime_2025"),
    retention="hub:cais/mmlu/all:test",
    evaluation={"samples": 8, "evaluate_limit": 2000},
    shared={
        "K": 8,
        "candidates": 4,
        "batch": 32,
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
    probes=(
        ProbeVariant("snr_ranges/qwen3", "Qwen3-1.7B, ranges down to [0, 0.01)", {**_PAPER_RANGES, "per_bin": 200, "max_problems": 6000}),
        ProbeVariant(
            "snr_ranges/llama", "Llama-3.1-8B, ranges down to [0, 0.01)", {**_PAPER_RANGES, "per_bin": 100, "max_problems": 2000}, "llama"
        ),
    ),
    alignment=(
        ProbeVariant("aligned", "before training", _PAPER_ALIGNED, kernels=""),
        ProbeVariant(
            "aligned_later", "before updates 76 and 151 of unweighted training", {**_PAPER_ALIGNED, **LATER, "at_steps": "76,151"}
        ),
    ),
    device="cuda",
    policy={"preset": "paper", "precision": "bf16", "engine": "vllm"},
    notes=(
        "the paper's teacher of table 1 is Qwen3-8B after GRPO, which is not published: Qwen3-8B itself stands in",
        "DAPO-Math-17k is published without worked solutions: teachers of distillation read the plain prompt, and problems that they do not "
        "solve are dropped; self-distillation takes open-s1, 18,615 problems with solutions",
        "the paper prints neither batch nor updates: batch 32 with 150 updates, 100 in self-distillation, lets no problem be visited twice",
        "responses are cut at 8,192 tokens in training as in rollouts; the paper trains on up to 16,384",
    ),
)
