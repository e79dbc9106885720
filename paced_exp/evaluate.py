"""Evaluate a model on problems: mean@n, pass@k and response length with 95 % intervals, and a comparison with another model.

    python -m paced_exp.evaluate                                             # the lab's student on the lab's three tiers and retention
    python -m paced_exp.evaluate --model runs/distill/model --against lab:student
    python -m paced_exp.evaluate --model Qwen/Qwen3-1.7B --problems hub:HuggingFaceH4/MATH-500,hub:HuggingFaceH4/aime_2024 \\
        --samples 8 --max-new-tokens 8192 --device cuda

Writes problems.parquet, rollouts.parquet (every sample with its text and seed, so that any number can be graded again), scores.parquet and
record.json into --out. After a kill, the same command continues.
"""

from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import exit_cleanly
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.table import table


@configs.command(EvaluateConfig, "paced_exp.evaluate", "mean@n, pass@k and length of a model's responses, with intervals.")
def main(config: EvaluateConfig) -> None:
    """Evaluate and print the table."""
    from paced_exp.evaluation.run import evaluate  # torch takes seconds to load, and a bad option should not

    print(table(evaluate(config)))
    print(Path(config.out) / "record.json")


if __name__ == "__main__":
    exit_cleanly(main)
