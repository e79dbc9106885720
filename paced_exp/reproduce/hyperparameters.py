"""The table of hyper-parameters of each protocol, generated from the configurations of the cells, with the paper's beside them."""

from typing import Any

from paced_exp.reproduce.cells import cell_of
from paced_exp.reproduce.grids import main_table, tables_at
from paced_exp.reproduce.printed_table import NONE, PrintedTable, Value
from paced_exp.reproduce.reported import Reported
from paced_exp.reproduce.scales import Scale
from paced_exp.training.config import DistillConfig

_SHOWN = {
    "student": "student",
    "teacher": "teacher",
    "problems": "training problems",
    "limit": "their number",
    "K": "rollouts a problem, K",
    "temperature": "temperature of rollouts and references",
    "alpha": "α",
    "beta": "β",
    "candidates": "candidates a reference",
    "stages": "loss",
    "steps": "updates",
    "batch": "problems an update",
    "learning_rate": "learning rate",
    "schedule": "schedule",
    "warmup": "warm-up updates",
    "weight_decay": "weight decay",
    "max_grad_norm": "gradient norm clipped at",
    "rollout_every": "updates that share on-policy rollouts",
    "max_new_tokens": "longest response",
    "precision": "precision",
    "samples": "samples an evaluation problem",
}
_SETUPS = ("distillation", "self-distillation", "llama")
_IN_PAPER = {
    "K": "rollouts_K",
    "temperature": "rollout_temperature",
    "alpha": "alpha",
    "beta": "beta",
    "learning_rate": "learning_rate",
    "problems": "data",
    "max_new_tokens": "max_response_tokens_training",
}


def hyperparameter_table(scale: Scale, reported: Reported) -> PrintedTable:
    """A column a setup of the scale, from the very configurations that its PACED cells run with; and the paper's distillation."""
    declared = next(table for table in tables_at(scale) if not table.rows)
    configs = []
    setups = tuple(setup for setup in _SETUPS if setup in scale.setups)
    for setup in setups:
        table = main_table(scale.protocol, setup)
        config = cell_of(scale, table, table.row("paced"), 0).config
        assert isinstance(config, DistillConfig)
        configs.append(config)
    rows = []
    for name, words in _SHOWN.items():
        values = [Value(_text(getattr(config, name))) for config in configs]
        rows.append((Value(words), *values, Value(_paper(name, reported))))
    head = ("hyper-parameter", *setups, "paper, distillation")
    notes = (f"{scale.name} scale; generated from the configurations of the cells.", *scale.notes)
    return PrintedTable(f"{scale.name}-hyper-parameters", f"Table {declared.number}. {declared.title}", head, tuple(rows), notes)


def _paper(name: str, reported: Reported) -> str:
    setup = reported.setup
    if name in ("student", "teacher"):
        return str(setup["distillation"][name])
    if name == "stages":
        return str(setup["distillation"]["loss"])
    return _text(setup[_IN_PAPER[name]]) if name in _IN_PAPER else NONE


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    plain = isinstance(value, str) and "/" not in value and ":" not in value
    return str(value).replace("_kl", " KL").replace("_", " ") if plain else str(value)
