"""Roll out a student on a set of problems and estimate its pass rates.

    python -m paced_exp.rollout                                             # the lab's student on the lab's training problems
    python -m paced_exp.rollout --student Qwen/Qwen3-1.7B --problems hub:HuggingFaceH4/MATH-500 -K 8 --max-new-tokens 4096 --device cuda

Writes problems.parquet, rollouts.parquet, pass_rates.parquet and record.json into --out. After a kill, the same command continues.

With --adaptive, problems whose weight is certain stop early; the summary says what that saved. With --shard, this is a part of a run on several
machines, which paced_exp.merge joins. docs/rollouts.md has both.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.rollouts.config import RolloutConfig


@configs.command(RolloutConfig, "paced_exp.rollout", "Rollouts of a student and its pass rates.")
def main(config: RolloutConfig) -> None:
    """Roll out and print the summary."""
    from paced_exp.rollouts.run import roll_out  # torch takes seconds to load, and a bad option should not
    from paced_exp.rollouts.summary import table

    _, record = roll_out(config)
    print(table(record))
    for name in ("rollouts.parquet", "pass_rates.parquet"):
        print(Path(config.out) / name)


if __name__ == "__main__":
    exit_cleanly(main)
