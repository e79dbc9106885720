"""Run the grids behind the paper's tables.

    python -m paced_exp.reproduce --list                                     # the tables and their rows
    python -m paced_exp.reproduce --table distillation --scale desk --seeds 5
    python -m paced_exp.reproduce --all --scale desk --dry-run               # cells and estimated time, nothing is run
    python -m paced_exp.reproduce --all --scale gpu --minutes 9              # stops in time; the same command goes on

Cells that have a record are skipped. Killed at any moment, the same command continues. Exit status: 0 done, 2 something to mend, 3 time up
with cells left.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.reproduce.scales import MOST_SEEDS, Scale

TIME_UP = 3


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: python -m paced_exp.reproduce --help)")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m paced_exp.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print the tables with their rows and stop")
    what.add_argument(
        "--table", action="append", metavar="NAME", help="a table by name or number, figure2 or robustness (the probes); may be repeated"
    )
    what.add_argument("--all", action="store_true", help="every table, the main ones first, and all probes")
    parser.add_argument("--scale", default="desk", help="desk, gpu, paper or smoke (default desk)")
    parser.add_argument("--seeds", type=int, help="seeds 0 .. N-1 of every row (default: the scale's, 5 for main tables and 3 for others)")
    parser.add_argument("--jobs", type=int, help="cells at a time (default: the cores, a thread a cell; one on a GPU)")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes; the same command goes on")
    parser.add_argument("--dry-run", action="store_true", help="print the cells and the estimated time, and run nothing")
    parser.add_argument("--keep", action="store_true", help="keep the run folders with the trained models under --work")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where records go (default results)")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="where runs go (default runs/reproduce)")
    arguments = parser.parse_args(argv)
    for name in ("seeds", "jobs", "minutes"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name} {value} must be {'positive' if name == 'minutes' else 'at least 1'}")
    if arguments.seeds is not None and arguments.seeds > MOST_SEEDS:
        raise UserError(f"--seeds {arguments.seeds} must be at most {MOST_SEEDS}: tables read no more")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: parse, plan, run; returns the exit status."""
    arguments = _parse(argv)
    from paced_exp.reproduce.cells import all_cells, cells_of
    from paced_exp.reproduce.grids import table_named
    from paced_exp.reproduce.learning_rates import check_rates, scale_named
    from paced_exp.reproduce.probes import TABLES, probes_of
    from paced_exp.reproduce.records import Results
    from paced_exp.reproduce.run_grid import counted, default_jobs, make_plan, plan_text, run_plan

    scale = scale_named(arguments.scale, arguments.results)
    if arguments.list:
        print(listing(scale))
        return 0
    if arguments.all:
        cells, asked = all_cells(scale, arguments.seeds), list(TABLES)
    else:
        chosen = [cells_of(scale, table_named(name), arguments.seeds) for name in arguments.table if name not in TABLES]
        asked = [name for name in TABLES if name in arguments.table]
        cells = list({cell.key: cell for part in chosen for cell in part}.values())
    probes = [probe for name in asked for probe in probes_of(scale, name)]
    results = Results(arguments.results)
    # One spelling for one folder: runs name the shared work that they read, and resume only what names the same.
    work = arguments.work.resolve()
    work = work.relative_to(Path.cwd()) if work.is_relative_to(Path.cwd()) else work
    if not cells and not probes and asked:
        print(f"{scale.name} scale declares no probes of {', '.join(asked)}: nothing to run")
        return 0
    if not cells and not probes:
        print("table 6 is generated from the configurations by make tables: nothing to run")
        return 0
    plan = make_plan(scale, cells, probes, results, work)
    jobs = arguments.jobs or default_jobs(scale)
    if arguments.dry_run:
        print(plan_text(plan, jobs, work))
        return 0
    if plan.left:
        check_rates(scale, arguments.results)
    if plan.left and not run_plan(plan, arguments.results, work, jobs=jobs, keep=arguments.keep, minutes=arguments.minutes):
        print("time is up; the same command goes on")
        return TIME_UP
    print(f"all {counted(len(cells), len(probes))} have their records under {arguments.results / scale.name}")
    return 0


def listing(scale: Scale) -> str:
    """The tables with their rows, and how many cells each adds to those before it."""
    from paced_exp.reproduce.cells import cells_of
    from paced_exp.reproduce.grids import TABLES
    from paced_exp.reproduce.probes import FIGURE, ROBUSTNESS

    lines, seen = [], set()
    for table in TABLES:
        cells = cells_of(scale, table)
        new = [cell for cell in cells if cell.key not in seen]
        seen |= {cell.key for cell in cells}
        count = f"{len(cells)} cells, {len(new)} of its own" if table.rows else "generated from the configurations"
        lines.append(f"{table.number:>2} {table.name}: {table.title} ({count})")
        lines += [f"      {row.name:<24} {row.label}" for row in table.rows]
    lines.append(f"   {FIGURE}: gradient SNR against the pass rate, and claim C1 ({len(scale.probes)} probes: {', '.join(scale.probes)})")
    lines.append(f"   {ROBUSTNESS}: the same for other losses, responses and parts of the model ({', '.join(scale.robustness) or 'none'})")
    lines.append(f"{len(seen)} cells at {scale.name} scale")
    return "\n".join(lines)


def _entry() -> None:
    if status := main(sys.argv[1:]):
        sys.exit(status)


if __name__ == "__main__":
    exit_cleanly(_entry)
