"""The grid of learning rates and numbers of updates that a selection tries, and the record of each pair."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paced_exp.core.errors import UserError
from paced_exp.core.json_files import read_checked
from paced_exp.core.options import RunOptions, check_known
from paced_exp.training.config import DistillConfig, further_options

SETTINGS: dict[str, dict[str, Any]] = {
    "distillation": {"stages": "forward_kl"},
    "self-distillation": {"stages": "reverse_kl", "teacher": "self"},
}


@dataclass(frozen=True, kw_only=True)
class SelectionConfig(RunOptions):
    """The grid.

    Attributes:
        setting: distillation or self-distillation
        rates: peak learning rates to try
        steps: numbers of updates to try
        training: JSON object of further options of paced_exp.distill, such as {"student": "lab:student-llama", "teacher": "lab:teacher-llama"}
        samples: responses per problem in the evaluation
        seed: seed of training and of the evaluation problems; the comparisons use 0 to 4
        out: folder of the runs; the same command resumes them
        records: folder of the records
    """

    setting: str = "distillation"
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    steps: tuple[int, ...] = (200,)
    training: dict[str, Any] | None = None
    samples: int = 2
    seed: int = 100
    out: str = "runs/selection"
    records: str = "results/desk-v1/distill/selection"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("setting", self.setting, tuple(SETTINGS))
        self.at_least(1, "samples")
        if not self.rates or not self.steps:
            raise UserError("`rates` and `steps` need at least one value each")
        for name in ("rates", "steps"):
            if wrong := [value for value in getattr(self, name) if not 0 < value < math.inf]:
                raise UserError(f"`{name}` {wrong[0]} must be positive and finite")

    def name(self, rate: float | None, steps: int | None) -> str:
        """The name of a pair's record and run, with a hash of `training` and `samples` unless these are the defaults. rate None: a pattern for any."""
        others = [self.training, self.samples]
        digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:8]
        at = "*" if rate is None else f"{rate:g}"
        return f"{self.setting}-lr{at}-steps{steps}-seed{self.seed}" + ("" if others == [None, SelectionConfig.samples] else f"-{digest}")

    def baseline(self) -> DistillConfig:
        """The unweighted training of the setting, before the rate and the updates are chosen. Raises `UserError` for invalid options in `training`."""
        decided = {"method": "uniform", "seed": self.seed, **SETTINGS[self.setting]}
        chosen = ("learning_rate", "steps", "epochs", "out", "base_evaluation")
        # Dense where `training` does not name the loss: so it was before there was a choice, and records are found by what they name.
        return DistillConfig(**({"loss": "dense"} | further_options(self.training, (*decided, *chosen), "selection")), **decided)


def finished(config: SelectionConfig) -> list[dict[str, Any]]:
    """The existing records of the setting at any rate, the best first. Nothing is run."""
    paths = [path for steps in config.steps for path in Path(config.records).glob(f"{config.name(None, steps)}.json")]
    return best_first([read_selection(path, config) for path in sorted(paths)])


def read_selection(path: Path, config: SelectionConfig) -> dict[str, Any]:
    """The record of a pair. Raises `UserError` if it is damaged, belongs to another pair, or has impossible numbers."""
    record = read_checked(path, "selection")
    accuracy = record.get("accuracy")
    if not isinstance(accuracy, dict) or not all(_is_share(value) for value in accuracy.values()):
        problem = "accuracy must be shares from 0 to 1"
    elif not (tiers := [value for source, value in accuracy.items() if source not in config.baseline().retention.split(",")]):
        problem = "accuracy has no source but retention"
    elif not _is_share(record.get("mean_of_tiers")) or not math.isclose(record["mean_of_tiers"], sum(tiers) / len(tiers), rel_tol=1e-9):
        problem = f"mean_of_tiers {record.get('mean_of_tiers')!r} is not the mean accuracy without retention, {sum(tiers) / len(tiers)!r}"
    else:
        rate, steps = record.get("learning_rate"), record.get("steps")
        if isinstance(rate, int | float) and isinstance(steps, int) and path.name == f"{config.name(rate, steps)}.json":
            return record
        problem = f"it is the record of rate {rate!r} and {steps!r} updates, but its name says otherwise"
    raise UserError(f"{path} is damaged: {problem}; restore it from git, or delete it and select again")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def best_first(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records sorted by mean accuracy, the highest first; ties go to the lower rate."""
    return sorted(records, key=lambda record: (-record["mean_of_tiers"], record["learning_rate"]))


def line(record: dict[str, Any]) -> str:
    """A record as a line for the terminal."""
    gains = ", ".join(f"{name} {100 * gain['value']:+.1f}" for name, gain in record["difference_to_base"].items())
    return f"rate {record['learning_rate']:<7g} {record['steps']:>4} updates: mean of tiers {record['mean_of_tiers']:.1%}; to the base: {gains}"
