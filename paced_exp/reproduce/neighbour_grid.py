"""The table `neighbours`: methods that answer PACED's question, which problems and which errors deserve gradient, on the lab. Exploratory.

All rows start from the same student and answer the same problems 32 times each, for pass@k. Distillations take one pass with the teacher's
references, as table 22 does. Policy gradients take 0.6 of its updates, of 16 problems with 8 rollouts each, and no teacher. TFLOPs tell the rest:
neither the updates nor the compute are equal between the two halves. docs/neighbours.md says what each method is.
"""

from typing import Any

from paced_exp.reproduce.columns import forgetting, mean_of_tiers, pass_at, retention, unsolved
from paced_exp.reproduce.declared import Row, Table, declare
from paced_exp.reproduce.second_grids import ONE_PASS, PACED, UNIFORM

_HALF = "first:0.5"
_POLICY_UPDATES = 0.6  # of the setup's


def _distilled(name: str, label: str, **options: Any) -> Row:
    return Row(name, label, {**ONE_PASS, **options})


def _policy(name: str, label: str, **options: Any) -> Row:
    """Compared with GRPO, and GRPO with the untrained student: distillations have other data and compute."""
    return Row(name, label, options, updates=_POLICY_UPDATES, command="teacher", against="base" if name == "grpo" else "grpo")


# CLASSP's steps shrink as gradients add up: it needs a rate of its own. Of 0.03, 0.1 and 0.3 the best that costs at most 2 points of retention, on
# seed 90 (results/desk/selection-classp), as the desk's rates were chosen.
_CLASSP = {"forgetting": "classp", "learning_rate": 0.1}
# Of three strengths each the one that keeps most retention among those that cost at most 1 point of accuracy, on seed 90 (results/desk/selection-forgetting).
_EWC = {"forgetting": "ewc", "forgetting_strength": 10.0}
_KL = {"forgetting": "kl", "forgetting_strength": 0.3}

declare(
    Table(
        36,
        "neighbours",
        "Neighbouring methods, one pass, 32 samples a problem",
        (
            Row("base", "Base", None),
            _distilled("uniform", "distillation, no weighting", **UNIFORM),
            _distilled("paced", "distillation, PACED", **PACED),
            _distilled("uniform-half", "no weighting, first half of the tokens", **UNIFORM, supervise=_HALF),
            _distilled("paced-half", "PACED, first half of the tokens", **PACED, supervise=_HALF),
            _distilled("uniform-steps", "no weighting, steps without the answer", **UNIFORM, supervise="steps"),
            _distilled("paced-steps", "PACED, steps without the answer", **PACED, supervise="steps"),
            _distilled("ewc", "no weighting, EWC", **UNIFORM, **_EWC),
            _distilled("kl", "no weighting, KL to the start", **UNIFORM, **_KL),
            _distilled("classp", "no weighting, CLASSP", **UNIFORM, **_CLASSP),
            _policy("grpo", "GRPO"),
            _policy("dr-grpo", "Dr. GRPO", advantage="dr_grpo"),
            _policy("grpo-paced", "GRPO, PACED's weight of the group", group_weight="paced"),
            _policy("maxrl", "MaxRL", advantage="maxrl"),
            _policy("ace", "GRPO with ACE", error_penalty=1.0),
            _policy("psr", "PSR, correct rollouts only", advantage="psr"),
            _policy("nsr", "NSR, wrong rollouts only", advantage="nsr"),
            _policy("w-reinforce", "W-REINFORCE", advantage="w_reinforce"),
            _policy("guide", "Guide, half of the solution as a hint", guide=0.5),
        ),
        "uniform",
        (mean_of_tiers, pass_at, unsolved, retention, forgetting),
        many_samples=True,
        seeds=3,
    )
)
