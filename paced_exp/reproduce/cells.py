"""Cells: a row with a seed, at a scale, as the configuration of one run; and where its record lies.

Rows with equal options are one cell. Its home is the first table that holds it; the record is named after that table and row.
"""

import json
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError
from paced_exp.evaluation.config import EvaluateConfig
from paced_exp.reproduce.grids import BY_NAME, Row, Table, tables_at
from paced_exp.reproduce.scale import Side
from paced_exp.reproduce.scales import SCALES, Scale
from paced_exp.training.config import DistillConfig
from paced_exp.training.teacher_config import TeacherConfig

# Options of where and how a run is made, which change nothing of what comes out of it but rounding. Every scale
# with records trains with `loss` dense, as they were made (scales.py).
NEUTRAL_OPTIONS = (
    "out",
    "device",
    "report_to",
    "pass_rates",
    "references",
    "cache",
    "base_evaluation",
    "against",
    "max_batch_tokens",
    "loss",
)


@dataclass(frozen=True)
class Cell:
    """One run: the training of a row with a seed, by distillation or policy gradient, or the evaluation of an untrained student (whose seed is 0).

    table, row: its home, the first table and row that hold it; its record is named after them. chosen: the pool chosen by pass rate that it trains
    on.
    """

    scale: Scale
    table: str
    row: str
    seed: int
    setup: str
    config: DistillConfig | TeacherConfig | EvaluateConfig
    chosen: Side | None = None

    @property
    def trained(self) -> bool:
        """Whether anything is trained; a base is only evaluated."""
        return not isinstance(self.config, EvaluateConfig)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The configuration without `NEUTRAL_OPTIONS`: a record of the cell must have been made with these options.

        An option that came later (`metadata={"omitted": True}`) is left out at its default, so that keys of earlier cells stay as they are.
        Made once, since the checks of a record ask for it a dozen times: do not change it.
        """
        return {name: value for name, value in configs.without_added(self.config).items() if name not in NEUTRAL_OPTIONS}

    @property
    def key(self) -> str:
        """Equal for equal cells."""
        return json.dumps([self.scale.name, self.options], sort_keys=True)

    @property
    def name(self) -> str:
        """TABLE/ROW-sSEED, or TABLE/base."""
        return f"{self.table}/{self.row}-s{self.seed}" if self.trained else f"{self.table}/{self.row}"

    def path(self, results: Path) -> Path:
        """Where the record lies under `results`."""
        return results / self.scale.name / f"{self.name}.json"

    @property
    def command(self) -> str:
        """The command that makes the record."""
        count = self.seed - self.scale.first_seed + 1 if self.trained else 1
        return f"python -m paced_exp.reproduce --scale {self.scale.name} --table {self.table} --seeds {count}"


def cell_of(scale: Scale, table: Table, row: Row, seed: int) -> Cell:
    """The cell of a row with a seed, under its home."""
    homes = _homes(scale.name, tuple(scale.curves.items()), tuple(BY_NAME))
    here = _make(scale, table, row, seed)
    home_table, home_row = homes[_seedless(here, row)]
    return replace(here, table=home_table, row=home_row)


def cells_of(scale: Scale, table: Table, seeds: int | None = None) -> list[Cell]:
    """All cells of a table, each once, seed by seed, so that an early stop leaves whole seeds; seeds: the scale's number when None."""
    count = seeds if seeds is not None else planned_seeds(scale, table)
    found = [cell_of(scale, table, row, seed) for seed in scale.seed_range(count) for row in table.rows if is_ready(scale, row)]
    return list({cell.key: cell for cell in found}.values())


def planned_seeds(scale: Scale, table: Table) -> int:
    """How many seeds a table's rows have at a scale."""
    usual = scale.seeds[0 if table.main else 1]
    return usual if table.seeds is None else min(usual, table.seeds)


def is_ready(scale: Scale, row: Row) -> bool:
    """Whether a row can be run: the kernel that it weighs by has been measured."""
    return row.curve is None or row.curve in scale.curves


def row_cells(scale: Scale, table: Table, row: Row, seeds: int) -> list[Cell]:
    """The cells of one row, by seed; of an untrained student the only one; none of a row that is not ready."""
    if not is_ready(scale, row):
        return []
    if row.options is None:
        return [cell_of(scale, table, row, 0)]
    return [cell_of(scale, table, row, seed) for seed in scale.seed_range(seeds)]


def base_of(scale: Scale, table: Table, row: Row) -> Cell:
    """The evaluation of the untrained student that a row starts from, on the problems that the table's rows answer."""
    if table.many_samples:
        own = next((base for base in table.rows if base.options is None and base.setup == row.setup and base.prompt == "plain"), None)
        if own is None:
            raise UserError(f"table {table.name} has `many_samples` and needs a row with `options` None for setup {row.setup}")
        return cell_of(scale, table, own, 0)
    return base_cell(scale, row.setup)


def base_cell(scale: Scale, setup: str) -> Cell:
    """The evaluation of the untrained student of a setup, on the scale's `evaluation`."""
    # Tables with `many_samples` last: a setup may stand in such tables alone.
    rows = [(table, row) for table in sorted(tables_at(scale), key=lambda table: table.many_samples) for row in table.rows]
    found = [(table, row) for table, row in rows if row.options is None and row.setup == setup and row.prompt == "plain"]
    if not found:
        raise UserError(f"no table evaluates the untrained student of setup {setup}; give one of its tables a row with `options` None")
    return cell_of(scale, *found[0], 0)


def all_cells(scale: Scale, seeds: int | None = None) -> list[Cell]:
    """The cells of all tables that the scale runs, each once, main tables first."""
    ordered = sorted(tables_at(scale), key=lambda table: not table.main)
    return list({cell.key: cell for table in ordered for cell in cells_of(scale, table, seeds)}.values())


@cache
def _homes(scale_name: str, curves: tuple[tuple[str, str], ...], declared: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    scale = replace(SCALES[scale_name], curves=dict(curves))
    homes: dict[str, tuple[str, str]] = {}
    del declared  # part of the cache's key alone: what is declared later may be a home
    for table in tables_at(scale):
        for row in table.rows:
            if is_ready(scale, row):
                homes.setdefault(_seedless(_make(scale, table, row, 0), row), (table.name, row.name))
    return homes


def _seedless(cell: Cell, row: Row) -> str:
    """Neither the seed nor the setup's rate: the homes are found before that may be known. A rate of the row's own counts."""
    left_out = ("seed",) if "learning_rate" in (row.options or {}) else ("seed", "learning_rate")
    options = {name: value for name, value in cell.options.items() if name not in left_out}
    return json.dumps(options | {"trained": cell.trained}, sort_keys=True)


def _make(scale: Scale, table: Table, row: Row, seed: int) -> Cell:
    setup = scale.setups.get(row.setup)
    if setup is None:
        raise UserError(
            f"table {table.name}, row {row.name}: scale {scale.name} has no setup {row.setup}; it has {', '.join(scale.setups)}"
        )
    problems = ",".join(scale.sources)
    tokens = scale.shared["max_new_tokens"]
    evaluation = scale.many_samples if table.many_samples else scale.evaluation
    if row.options is None:
        samples, limit = evaluation["samples"], evaluation.get("evaluate_limit")
        config: DistillConfig | EvaluateConfig = EvaluateConfig(
            model=setup.student,
            problems=problems,
            prompt=row.prompt,
            samples=samples,
            limit=limit,
            retention=scale.retention,
            max_new_tokens=tokens,
            engine=scale.shared.get("engine", EvaluateConfig.engine),
            dtype=scale.shared.get("dtype", EvaluateConfig.dtype),
            device=scale.device,
        )
        return Cell(scale, table.name, row.name, 0, row.setup, config)
    steps = max(1, round(setup.updates * row.updates))
    if row.command == "teacher":
        policy = TeacherConfig(
            student=setup.student,
            problems=scale.problems,
            limit=round(scale.limit * row.pool),
            steps=steps,
            evaluate=problems,
            retention=scale.retention,
            seed=seed,
            max_new_tokens=tokens,
            device=scale.device,
            **evaluation,
            **scale.policy,
            **row.options,
        )
        return Cell(scale, table.name, row.name, seed, row.setup, policy)
    recompute = {} if row.recompute_every is None else {"recompute": str(max(1, round(steps * row.recompute_every)))}
    options: dict[str, Any] = {
        "student": setup.student,
        "teacher": setup.teacher,
        "problems": scale.problems,
        "limit": round(scale.limit * row.pool),
        "steps": steps,
        "learning_rate": setup.learning_rate,
        "evaluate": problems,
        "retention": scale.retention,
        "seed": seed,
        **evaluation,
        **scale.shared,
        **recompute,
        **setup.options,
        **row.options,
        **({} if row.curve is None else {"curve": scale.curves[row.curve]}),
    }
    if row.chosen is not None:
        if scale.chosen is None:
            raise UserError(f"table {table.name}, row {row.name}: scale {scale.name} declares no pools chosen by pass rate")
        options |= {"problems": scale.chosen.words(row.chosen), "limit": scale.chosen.size}
    return Cell(scale, table.name, row.name, seed, row.setup, DistillConfig(**options), row.chosen)
