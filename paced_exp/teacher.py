"""Train a teacher by policy gradient on its own graded rollouts: GRPO with TRL, and the neighbouring ways to treat errors (docs/neighbours.md).

    python -m paced_exp.teacher                                          # GRPO on lab:student, minutes on two cores
    python -m paced_exp.teacher --advantage w_reinforce --out runs/w     # errors ten times as strong as successes
    python -m paced_exp.teacher --error-penalty 1 --out runs/ace         # ACE: overconfident errors count more
    python -m paced_exp.teacher --group-weight paced --out runs/paced    # PACED's weight of the group's pass rate
    python -m paced_exp.teacher --guide 0.5 --out runs/guide             # Guide: a hint where no rollout is correct
    python -m paced_exp.distill --teacher runs/teacher/model --teacher-prompt plain       # the result as a teacher
    python -m paced_exp.teacher --preset paper --student Qwen/Qwen3-8B --problems hub:open-r1/DAPO-Math-17k-Processed \\
        --max-new-tokens 8192 --precision bf16 --engine vllm --evaluate hub:HuggingFaceH4/MATH-500

Needs TRL (pip install '.[trl]' in a clone of this repository). Writes model/, training/metrics.jsonl, evaluation/ and record.json into --out. After a kill, the
same command continues and ends with the same model.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.training.teacher_config import TeacherConfig


@configs.command(TeacherConfig, "paced_exp.teacher", "Train a teacher by policy gradient (GRPO and its neighbours) on graded rollouts.")
def main(config: TeacherConfig) -> None:
    """Train, and print the evaluation and the summary."""
    from paced_exp.evaluation.table import table
    from paced_exp.integrations.trl.policy_run import train_teacher  # torch and TRL take seconds to load, and a bad option should not

    record = train_teacher(config)
    if record["evaluation"] is not None:
        print(table(record["evaluation"]))
    training = record["training"]
    print(
        f"{training['updates']} updates, {training['rollouts']['responses']} rollouts, {sum(training['flops'].values()):.3g} FLOPs; correct while "
        f"training: {training['first_pass_rate']:.1%} -> {training['last_pass_rate']:.1%}"
    )
    print(Path(config.out) / "model")


if __name__ == "__main__":
    exit_cleanly(main)
