"""Models that a scale's runs need and that must be made first: which of them are not there, and what waits for them."""

from collections.abc import Sequence
from pathlib import Path

from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.models.lab_checkpoints import ADAPTERS, adapter_path
from paced_exp.reproduce.cells import Cell
from paced_exp.reproduce.probes import Probe
from paced_exp.reproduce.scale import Scale
from paced_exp.training.teacher_config import TeacherConfig


def is_there(model: str) -> bool:
    """Whether a folder, or a shipped adapter, has its model."""
    if model in ADAPTERS:
        return (adapter_path(model) / "adapter_config.json").exists()
    return (Path(model) / "config.json").exists()


def models_of(task: Cell | Probe) -> tuple[str, ...]:
    """The models that a task loads, as its configuration names them."""
    config = task.config
    if isinstance(config, EvaluateConfig):
        return (config.model,)
    return (config.student,) if isinstance(config, TeacherConfig) else (config.student, config.teacher)


def lacking(scale: Scale, tasks: Sequence[Cell | Probe]) -> dict[str, list[str]]:
    """The models that are not there, in the scale's order, each with the names of the tasks that wait for it; of others than `made`, none."""
    gone = [model for model in scale.made if not is_there(model)]
    found = {model: [task.name for task in tasks if model in models_of(task)] for model in gone}
    return {model: names for model, names in found.items() if names}


def words(scale: Scale, missing: dict[str, list[str]]) -> str:
    """One line that says what is missing and what makes it."""
    parts = []
    for model, names in missing.items():
        what = names[0] if len(names) == 1 else f"{len(names)} tasks"
        parts.append(
            f"{what} {'waits' if len(names) == 1 else 'wait'} for {model}, which is not there; make it first: {scale.made[model].command}"
        )
        parts[-1] += f" ({scale.made[model].cost})"
    return "; ".join(parts)
