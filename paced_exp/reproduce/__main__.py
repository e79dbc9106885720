"""Run the grids behind the paper's tables.

    python -m paced_exp.reproduce --list                                     # the tables and their rows
    python -m paced_exp.reproduce --table one-pass --scale desk --seeds 3
    python -m paced_exp.reproduce --all --scale desk --dry-run                  # cells and estimated time, nothing is run
    python -m paced_exp.reproduce --all --scale gpu --minutes 9              # stops in time; the same command goes on

Cells that have a record are skipped. Killed at any moment, the same command continues. Exit status: 0 done, 2 something to mend, 3 time up
with cells left.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from paced_exp.core import config as configs
from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.reproduce.cells import all_cells, cells_of
from paced_exp.reproduce.grids import Table, table_named, tables_at
from paced_exp.reproduce.learning_rates import check_rates, scale_named
from paced_exp.reproduce.options import RecordsOptions
from paced_exp.reproduce.probes import ALIGNMENT, FIGURE, PROBE_TABLES, ROBUSTNESS, probes_of
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.scales import MOST_SEEDS, SCALES, Scale

TIME_UP = 3


@dataclass(frozen=True, kw_only=True)
class GridConfig(RecordsOptions):
    """Grids.

    Attributes:
        table: a table by name or number, figure2, robustness or alignment (the probes); may be repeated
        all: every table, the main ones first, and all probes
        list: print the tables with their rows and stop
        scale: desk (the second protocol), desk-v1 (the first), smollm2, gpu, paper or smoke
        seeds: the first N seeds of every row (by default the scale's, more for main tables than for others)
        jobs: cells at a time (by default the cores, a thread a cell; one on a GPU)
        minutes: stop after so many minutes; the same command goes on
        dry_run: print the cells and the estimated time, and run nothing
        keep: keep the run folders with the trained models under `work`
        work: where runs go
    """

    table: list[str] = field(default_factory=list)
    all: bool = False
    list: bool = False
    scale: str = "desk"
    seeds: int | None = None
    jobs: int | None = None
    minutes: float | None = None
    dry_run: bool = False
    keep: bool = False
    work: Path = Path("runs/reproduce")

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.table) + self.all + self.list != 1:
            raise UserError("give one of `list`, `table` and `all`, and not several: they say what to run")
        self.at_least(1, "seeds", "jobs")
        self.positive("minutes")
        if self.seeds is not None and self.seeds > MOST_SEEDS:
            raise UserError(f"`seeds` {self.seeds} must be at most {MOST_SEEDS}: tables read no more")


@configs.command(GridConfig, "paced_exp.reproduce", __doc__)
def main(config: GridConfig) -> int:
    """Plan and run; returns the exit status."""
    scale = scale_named(config.scale, config.results)
    if config.list:
        print(listing(scale))
        return 0
    if config.all:
        cells, asked = all_cells(scale, config.seeds), list(PROBE_TABLES)
    else:
        chosen = [cells_of(scale, _run_at(scale, name), config.seeds) for name in config.table if name not in PROBE_TABLES]
        asked = [name for name in PROBE_TABLES if name in config.table]
        # Seed by seed, so that an early stop leaves whole seeds, and what the rows of a seed share is made once.
        cells = sorted({cell.key: cell for part in chosen for cell in part}.values(), key=lambda cell: cell.seed)
    probes = [probe for name in asked for probe in probes_of(scale, name)]
    if not cells and not probes:
        why = (
            f"{scale.name} scale declares no probes of {', '.join(asked)}"
            if asked
            else f"{' and '.join(f'table {name}' for name in config.table)} is generated from the configurations by make tables"
        )
        print(f"{why}: nothing to run")
        return 0
    # torch takes seconds to load, and what only lists or refuses should not.
    from paced_exp.reproduce.models_made import words
    from paced_exp.reproduce.run_grid import counted, default_jobs, make_plan, plan_text, run_plan

    # One spelling for one folder: runs name the shared work that they read, and resume only what names the same.
    work = config.work.resolve()
    work = work.relative_to(Path.cwd()) if work.is_relative_to(Path.cwd()) else work
    plan = make_plan(scale, cells, probes, Results(config.results), work)
    jobs = config.jobs or default_jobs(scale)
    if config.dry_run:
        print(plan_text(plan, jobs, work))
        return 0
    if plan.left:
        ready = plan.ready
        if not ready.left:
            raise UserError(words(scale, plan.lacking))
        check_rates(scale, config.results, ready.setups_trained)
        if not run_plan(ready, config.results, work, jobs=jobs, keep=config.keep, minutes=config.minutes):
            print("time is up; the same command goes on")
            return TIME_UP
        if plan.lacking:
            raise UserError(words(scale, plan.lacking))
    print(f"all {counted(len(cells), len(probes))} have their records under {config.results / scale.name}")
    return 0


def _run_at(scale: Scale, name: str) -> Table:
    """A table by name or number, with the rows that the scale runs. Raises `UserError` for one that other scales run."""
    table = table_named(name)
    here = next((one for one in tables_at(scale) if one.name == table.name), None)
    if here is None:
        others = ", ".join(other.name for other in SCALES.values() if table.name in {one.name for one in tables_at(other)})
        raise UserError(f"`table` {name} is not run at {scale.name} scale; it is a table of: {others}; give one of these as `scale`")
    return here


def listing(scale: Scale) -> str:
    """The tables with their rows, and how many cells each adds to those before it."""
    lines, seen = [], set()
    for table in tables_at(scale):
        cells = cells_of(scale, table)
        new = [cell for cell in cells if cell.key not in seen]
        seen |= {cell.key for cell in cells}
        count = f"{len(cells)} cells, {len(new)} of its own" if table.rows else "generated from the configurations"
        lines.append(f"{table.number:>2} {table.name}: {table.title} ({count})")
        lines += [f"      {row.name:<24} {row.label}" for row in table.rows]
    keys = {table: ", ".join(probe.key for probe in probes_of(scale, table)) for table in PROBE_TABLES}
    lines.append(f"   {FIGURE}: gradient SNR against the pass rate, and claim C1 ({len(scale.probes)} probes: {keys[FIGURE]})")
    lines.append(f"   {ROBUSTNESS}: the same for other losses, responses and parts of the model ({keys[ROBUSTNESS] or 'none'})")
    lines.append(f"   {ALIGNMENT}: what a step on each problem does to accuracy, and the weights from it ({keys[ALIGNMENT] or 'none'})")
    lines.append(f"{len(seen)} cells at {scale.name} scale")
    return "\n".join(lines)


if __name__ == "__main__":
    exit_cleanly(lambda: sys.exit(main()))
