"""Choose learning rate and number of updates, on the unweighted baseline alone, before any method is compared.

    python -m paced_exp.training.selection                               # distillation: forward KL on the teacher's references
    python -m paced_exp.training.selection --setting self-distillation   # reverse KL on the student's own rollouts, its initial self as teacher

Every pair of a rate and a number of updates trains once with a seed that no comparison uses, and is evaluated on problems that no comparison
uses (drawn with the same seed). Chosen is the pair with the highest plain mean of the sources' accuracies, retention left out.
A record a pair is written into --records; finished ones are read back.
"""

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp import config as configs
from paced_exp.distill import DistillConfig, distill
from paced_exp.errors import UserError, exit_cleanly
from paced_exp.evaluate import EvaluateConfig, evaluate
from paced_exp.json_files import read_checked, write_checked

SETTINGS: dict[str, dict[str, Any]] = {
    "distillation": {"stages": "forward_kl"},
    "self-distillation": {"stages": "reverse_kl", "teacher": "self"},
}
SHARED_RATE = 3e-4  # of the one update whose references are shared; its weights are not used


@dataclass(frozen=True)
class SelectionConfig:
    """The grid.

    Attributes:
        setting: distillation or self-distillation
        rates: peak learning rates
        steps: numbers of updates
        training: JSON object of further options of paced_exp.distill, such as {"student": "lab:student-llama", "teacher": "lab:teacher-llama"}
        samples: responses a problem in the evaluation
        seed: of training and of the evaluation problems; the comparisons use 0 to 4
        out: folder of the runs
        records: folder of the records
    """

    setting: str = "distillation"
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    steps: tuple[int, ...] = (200,)
    training: dict[str, Any] | None = None
    samples: int = 2
    seed: int = 100
    out: str = "runs/selection"
    records: str = "results/desk/distill/selection"

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise UserError(f"--setting {self.setting} is not known; known: {', '.join(SETTINGS)}")
        if not self.rates or not self.steps:
            raise UserError("--rates and --steps need at least one value each")
        for name in ("rates", "steps"):
            if wrong := [value for value in getattr(self, name) if not 0 < value < math.inf]:
                raise UserError(f"--{name} {wrong[0]} must be positive and finite")

    def name(self, rate: float | None, steps: int | None) -> str:
        """Of a pair's record and run: all that decides it, other options than the defaults as a hash; rate None: a pattern for any."""
        others = [self.training, self.samples]
        digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:8]
        at = "*" if rate is None else f"{rate:g}"
        return f"{self.setting}-lr{at}-steps{steps}-seed{self.seed}" + ("" if others == [None, SelectionConfig.samples] else f"-{digest}")

    def baseline(self) -> DistillConfig:
        """The unweighted training of the setting, whose rate and updates are to be chosen. Raises `UserError` for options that cannot be."""
        decided = {"method": "uniform", "seed": self.seed, **SETTINGS[self.setting]}
        further = self.training or {}
        known = {field.name for field in dataclasses.fields(DistillConfig)} - {"learning_rate", "steps", "epochs", "out", "base_evaluation"}
        for name in further:
            if name in decided or name not in known:
                raise UserError(f"--training may not set {name!r}: the selection decides it, or paced_exp.distill has no such option")
        return DistillConfig(**further, **decided)


def select(config: SelectionConfig) -> list[dict[str, Any]]:
    """Train and evaluate every pair that has no record yet; returns all records of the grid, the best first."""
    training = config.baseline()
    base = EvaluateConfig(
        model=training.student,
        problems=training.evaluate,
        samples=config.samples,
        limit=training.evaluate_limit,
        retention=training.retention,
        columns=training.columns,
        temperature=training.temperature,
        max_new_tokens=training.max_new_tokens,
        engine=training.engine,
        engine_options=training.engine_options,
        device=training.device,
        seed=config.seed,
        out=f"{config.out}/base",
    )
    training = dataclasses.replace(training, evaluate="none")
    records = []
    for steps in config.steps:
        for rate in config.rates:
            path = Path(config.records) / f"{config.name(rate, steps)}.json"
            if not path.exists():
                evaluate(base)
                write_checked(path, _pair(config, base, dataclasses.replace(training, learning_rate=rate, steps=steps)))
            records.append(read_selection(path, config))
    return _best_first(records)


def finished(config: SelectionConfig) -> list[dict[str, Any]]:
    """The records that there are of the setting, whatever their rate, the best first. Nothing is run."""
    paths = [path for steps in config.steps for path in Path(config.records).glob(f"{config.name(None, steps)}.json")]
    return _best_first([read_selection(path, config) for path in sorted(paths)])


def read_selection(path: Path, config: SelectionConfig) -> dict[str, Any]:
    """The record of a pair. Raises `UserError` for one that is damaged, of another pair, or whose numbers cannot be."""
    record = read_checked(path, "selection")
    accuracy = record.get("accuracy")
    if not isinstance(accuracy, dict) or not all(_is_share(value) for value in accuracy.values()):
        problem = "accuracy must be shares from 0 to 1"
    elif not (tiers := [value for source, value in accuracy.items() if source not in config.baseline().retention.split(",")]):
        problem = "accuracy names no tier"
    elif not _is_share(record.get("mean_of_tiers")) or not math.isclose(record["mean_of_tiers"], sum(tiers) / len(tiers), rel_tol=1e-9):
        problem = f"mean_of_tiers {record.get('mean_of_tiers')!r} is not the mean of its tiers, {sum(tiers) / len(tiers)!r}"
    else:
        rate, steps = record.get("learning_rate"), record.get("steps")
        if isinstance(rate, int | float) and isinstance(steps, int) and path.name == f"{config.name(rate, steps)}.json":
            return record
        problem = f"it is of rate {rate!r} and {steps!r} updates, and its name is of others"
    raise UserError(f"{path} is damaged: {problem}; restore it from git, or delete it and select again")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _best_first(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: (-record["mean_of_tiers"], record["learning_rate"]))


def _pair(config: SelectionConfig, base: EvaluateConfig, training: DistillConfig) -> dict[str, Any]:
    out = Path(config.out)
    if training.teacher != "self":
        # One update on every problem alike makes all references and the teacher's statistics over them, for all pairs.
        shared = dataclasses.replace(
            training, learning_rate=SHARED_RATE, steps=1, cache=str(out / "teacher_cache"), out=str(out / "references")
        )
        distill(shared)
        training = dataclasses.replace(training, cache=shared.cache, references=shared.out)
    folder = out / config.name(training.learning_rate, training.steps)
    training = dataclasses.replace(training, out=str(folder))
    trained = distill(training)
    found = evaluate(dataclasses.replace(base, model=str(folder / "model"), against=base.out, out=str(folder / "evaluation")))
    accuracy = {row["source"]: row["mean"]["value"] for row in found["sources"]}
    tiers = [name for name in accuracy if name not in base.retention.split(",")]
    differences = {row["source"]: row["mean"] for row in found["against"]["differences"]}
    return {
        "kind": "selection",
        "setting": config.setting,
        "learning_rate": training.learning_rate,
        "steps": training.steps,
        "seed": config.seed,
        "accuracy": accuracy,
        "mean_of_tiers": sum(accuracy[name] for name in tiers) / len(tiers),
        "difference_to_base": differences,
        "training": trained["training"],
        "config": configs.as_dict(training),
        "provenance": trained["provenance"],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: run the grid, print it, the best first."""
    config = configs.parse(SelectionConfig, argv, "paced_exp.training.selection", "Learning rate and updates, on the unweighted baseline.")
    for record in select(config):
        print(line(record))


def line(record: dict[str, Any]) -> str:
    """A record for people."""
    gains = ", ".join(f"{name} {100 * gain['value']:+.1f}" for name, gain in record["difference_to_base"].items())
    return f"rate {record['learning_rate']:<7g} {record['steps']:>4} updates: mean of tiers {record['mean_of_tiers']:.1%}; to the base: {gains}"


if __name__ == "__main__":
    exit_cleanly(lambda: main(sys.argv[1:]))
