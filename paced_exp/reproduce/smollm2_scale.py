"""The scale of a real pretrained model, SmolLM2-135M-Instruct, fine-tuned on arithmetic by two adapters: a student and a teacher.

It follows the second protocol with the tables that two cores carry in a day: one pass, no weighting, PACED by both estimates, MaxRL and the weights
measured on the student itself. One probe against accuracy, of 11 bins, gives the SNR by bins, the Gram matrix and those weights. Where a gradient of the
whole model is too dear, `"only": "model.layers.29"` in the probe's options restricts it to the last block.
"""

from paced_exp.reproduce.scale import Made, ProbeVariant, Scale, Setup

_TIERS = ("lab:easier-mid", "lab:easier-hard-a", "lab:easier-hard-b")

SMOLLM2 = Scale(
    name="smollm2",
    models="SmolLM2-135M, fine-tuned on arithmetic",
    about="A pretrained model of 135 million parameters (SmolLM2-135M-Instruct), fine-tuned on arithmetic: most of its arithmetic ability comes from that "
    "fine-tuning, and the adapters that make student and teacher of it are ours. The teacher of distillation reads the problem alone, that of "
    "self-distillation the worked solution too.",
    first_seed=100,
    setups={
        # Its teacher has never read a solution in a prompt, and does worse with one (its card).
        "distillation": Setup("smollm2-student", "smollm2-teacher", 60, 3e-5, {"teacher_prompt": "plain"}),
        "self-distillation": Setup("smollm2-student", "self", 60, 3e-5),
    },
    problems="lab:easier-pool",
    limit=4096,
    tiers=_TIERS,
    retention="lab:facts",
    # 3 x 167 problems, and the 120 facts.
    evaluation={"samples": 4, "evaluate_limit": 167},
    shared={
        "K": 8,
        "candidates": 2,
        "batch": 32,
        "micro_batch": 8,
        "max_new_tokens": 96,
        "warmup": 5,
        "schedule": "linear",
        "teacher_statistics": "topk",
        # Twice as fast as float32 on a processor that multiplies in bfloat16, and slower on one that does not.
        "precision": "bf16",
        "dtype": "bfloat16",
        "device": "cpu",
    },
    seeds=(3, 3),
    prompt_tokens=50,
    response_tokens=35,
    # On one thread of a processor that multiplies in bfloat16, beside other jobs: 9.1e12 FLOPs of training and teacher took about 100 s, and 250
    # tokens were sampled a second.
    flops_per_second=(9e10, 6.7e10),
    start_seconds=30.0,
    probes=(),
    alignment=(
        ProbeVariant(
            "aligned",
            "before training",
            {
                "against": "accuracy",
                "problems": "lab:easier-train",
                "dtype": "float32",
                # As the cells sample; gradients stay in float32.
                "rollout_dtype": "bfloat16",
                "accuracy_problems": ",".join(_TIERS),
                "accuracy_limit": 80,
                "seed": 99,
                "per_bin": 200,
                "max_problems": 8192,
                "candidates": 2,
            },
            kernels="",
        ),
    ),
    selected=True,
    rows={
        "one-pass": ("base", "uniform", "paced", "paced-eb", "aligned"),
        "kernels-one-pass": ("uniform", "paced", "maxrl", "aligned"),
        "self-one-pass": ("base", "uniform", "paced", "aligned"),
        "kernels-self-one-pass": ("uniform", "paced", "maxrl", "aligned"),
    },
    made={
        "smollm2-student": Made(
            "python -m paced_exp.lab finetune smollm2-student",
            "about 45 minutes of a core that multiplies in bfloat16 with --precision bf16, or minutes of a GPU",
        ),
        "smollm2-teacher": Made(
            "python -m paced_exp.lab finetune smollm2-teacher",
            "about 5 hours of a core that multiplies in bfloat16 with --precision bf16, or minutes of a GPU",
        ),
    },
    notes=("a pretrained 135 M model fine-tuned on arithmetic: most arithmetic ability comes from that fine-tuning",),
)
