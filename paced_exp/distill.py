"""Distil a teacher into a student, with each problem weighted by the student's pass rate.

    python -m paced_exp.distill                                       # PACED on the lab's models, evaluation included, minutes
    python -m paced_exp.distill --method uniform --out runs/uniform   # the unweighted baseline
    python -m paced_exp.distill --teacher self --stages reverse_kl    # self-distillation on the student's own rollouts
    python -m paced_exp.distill --stages forward_kl:0.5,reverse_kl:0.5                    # the paper's two stages
    python -m paced_exp.distill --teacher self --teacher-prompt concise --method uniform --stages reverse_kl   # concise (OPSDC)
    accelerate launch -m paced_exp.distill --student Qwen/Qwen3-1.7B --teacher Qwen/Qwen3-8B --problems hub:open-r1/DAPO-Math-17k-Processed \\
        --teacher-prompt plain --fallback drop --max-new-tokens 8192 --micro-batch 1 --precision bf16 --teacher-statistics topk --evaluate hub:HuggingFaceH4/MATH-500

It measures the student's pass rates, computes weights, makes the teacher's references, trains and evaluates. Writes model/, metrics.jsonl (in
training/), evaluation/ and record.json into --out. After a kill, the same command continues and ends with the same model. With --dry-run MACHINE,
such as h100 or 8xh100, it prints memory and hours there, refuses what cannot fit, and runs nothing.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.training.config import DistillConfig


def _plan(config: DistillConfig, machine: str) -> str:
    from paced_exp.training.plan import plan

    return plan(config, machine)


@configs.with_dry_run(DistillConfig, "paced_exp.distill", "Weighted distillation of a teacher into a student.", _plan)
def main(config: DistillConfig) -> None:
    """Distil, and print the evaluation and the summary."""
    from paced_exp.evaluation.table import table
    from paced_exp.training.run import distill  # torch takes seconds to load, and a bad option should not
    from paced_exp.training.summary import summary

    record = distill(config)
    if not record:
        return
    if record["evaluation"] is not None:
        print(table(record["evaluation"]))
    print(summary(record))
    print(Path(config.out) / "model")


if __name__ == "__main__":
    exit_cleanly(main)
