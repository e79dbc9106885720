"""Trains and evaluates every pair of a learning rate and a number of updates in the grid of a selection."""

import dataclasses
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.json_files import write_checked
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.evaluation.run import evaluate
from paced_exp.training.config import DistillConfig
from paced_exp.training.references_config import references_for
from paced_exp.training.references_run import sample_references
from paced_exp.training.run import distill
from paced_exp.training.selection_grid import SelectionConfig, best_first, read_selection


def select(config: SelectionConfig) -> list[dict[str, Any]]:
    """Train and evaluate every pair that has no record yet. Returns all records of the grid, the best first."""
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
        dtype=training.dtype,
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
    return best_first(records)


def _pair(config: SelectionConfig, base: EvaluateConfig, training: DistillConfig) -> dict[str, Any]:
    out = Path(config.out)
    if training.teacher != "self":
        shared = references_for(training, out=str(out / "references"), cache=str(out / "teacher_cache"))
        sample_references(shared)
        training = dataclasses.replace(training, cache=shared.cache, references=shared.out)
    folder = out / config.name(training.learning_rate, training.steps)
    training = dataclasses.replace(training, out=str(folder))
    trained = distill(training)
    found = evaluate(dataclasses.replace(base, model=str(folder / "model"), against=base.out, out=str(folder / "evaluation")))
    accuracy = {row["source"]: row["mean"]["value"] for row in found["sources"]}
    tiers = [name for name in accuracy if name not in base.retention.split(",")]
    differences = found["against"]["differences"]
    return {
        "kind": "selection",
        "setting": config.setting,
        "learning_rate": training.learning_rate,
        "steps": training.steps,
        "seed": config.seed,
        "accuracy": accuracy,
        "mean_of_tiers": sum(accuracy[name] for name in tiers) / len(tiers),
        "difference_to_base": {row["source"]: row["mean"] for row in differences},
        "tokens_to_base": {row["source"]: row["tokens"] for row in differences},
        "training": trained["training"],
        "config": configs.as_dict(training),
        "provenance": trained["provenance"],
    }
