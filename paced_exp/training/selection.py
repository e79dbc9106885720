"""Choose learning rate and number of updates, on the unweighted baseline alone, before any method is compared.

    python -m paced_exp.training.selection                               # distillation: forward KL on the teacher's references
    python -m paced_exp.training.selection --setting self-distillation   # reverse KL on the student's own rollouts, its initial self as teacher

Every pair of a rate and a number of updates trains once with a seed that no comparison uses, and is evaluated on problems that no comparison
uses (drawn with the same seed). Chosen is the pair with the highest plain mean of the three tiers' accuracies; retention does not count.
A record a pair is written into --records; finished ones are read back.
"""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp import config as configs
from paced_exp.distill import DistillConfig, distill
from paced_exp.errors import UserError, exit_cleanly
from paced_exp.evaluate import LAB_TIERS, EvaluateConfig, evaluate
from paced_exp.run_folder import read_json, write_json

SETTINGS: dict[str, dict[str, Any]] = {
    "distillation": {"stages": "forward_kl"},
    "self-distillation": {"stages": "reverse_kl", "teacher": "self"},
}
TIERS = tuple(LAB_TIERS.split(",")[:3])


@dataclass(frozen=True)
class SelectionConfig:
    """The grid.

    Attributes:
        setting: distillation or self-distillation
        rates: peak learning rates
        steps: numbers of updates
        samples: responses a problem in the evaluation
        seed: of training and of the evaluation problems; the comparisons use 0 to 4
        out: folder of the runs
        records: folder of the records
    """

    setting: str = "distillation"
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    steps: tuple[int, ...] = (200,)
    samples: int = 2
    seed: int = 100
    out: str = "runs/selection"
    records: str = "results/desk/distill/selection"

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise UserError(f"--setting {self.setting} is not known; known: {', '.join(SETTINGS)}")
        if not self.rates or not self.steps:
            raise UserError("--rates and --steps need at least one value each")


def select(config: SelectionConfig) -> list[dict[str, Any]]:
    """Train and evaluate every pair that has no record yet; returns all records of the grid, the best first."""
    out = Path(config.out)
    base = EvaluateConfig(samples=config.samples, seed=config.seed, out=str(out / "base"))
    records = []
    for steps in config.steps:
        for rate in config.rates:
            path = Path(config.records) / f"{config.setting}-lr{rate:g}-steps{steps}-seed{config.seed}.json"
            if not path.exists():
                evaluate(base)
                write_json(path, _pair(config, base, rate, steps))
            records.append(read_json(path))
    return sorted(records, key=lambda record: -record["mean_of_tiers"])


def _pair(config: SelectionConfig, base: EvaluateConfig, rate: float, steps: int) -> dict[str, Any]:
    out = Path(config.out)
    training = DistillConfig(method="uniform", seed=config.seed, evaluate="none", **SETTINGS[config.setting])
    if training.teacher != "self":
        # One update on every problem alike makes all references and the teacher's statistics over them, for all pairs.
        shared = out / "references"
        training = dataclasses.replace(training, cache=str(out / "teacher_cache"))
        distill(dataclasses.replace(training, steps=1, out=str(shared)))
        training = dataclasses.replace(training, references=str(shared))
    folder = out / f"{config.setting}-lr{rate:g}-steps{steps}"
    training = dataclasses.replace(training, learning_rate=rate, steps=steps, out=str(folder))
    trained = distill(training)
    found = evaluate(dataclasses.replace(base, model=str(folder / "model"), against=base.out, out=str(folder / "evaluation")))
    accuracy = {row["source"]: row["mean"]["value"] for row in found["sources"]}
    differences = {row["source"]: row["mean"] for row in found["against"]["differences"]}
    return {
        "kind": "selection",
        "setting": config.setting,
        "learning_rate": rate,
        "steps": steps,
        "seed": config.seed,
        "accuracy": accuracy,
        "mean_of_tiers": sum(accuracy[name] for name in TIERS) / len(TIERS),
        "difference_to_base": differences,
        "training": trained["training"],
        "config": configs.as_dict(training),
        "provenance": trained["provenance"],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: run the grid, print it, the best first."""
    config = configs.parse(SelectionConfig, argv, "paced_exp.training.selection", "Learning rate and updates, on the unweighted baseline.")
    for record in select(config):
        gains = ", ".join(f"{name} {100 * gain['value']:+.1f}" for name, gain in record["difference_to_base"].items())
        print(
            f"rate {record['learning_rate']:<7g} {record['steps']:>4} updates: mean of tiers {record['mean_of_tiers']:.1%}; to the base: {gains}"
        )


if __name__ == "__main__":
    exit_cleanly(lambda: main(sys.argv[1:]))
