"""Running the cells of some tables: what is missing, what it needs, how long it will take, and doing it."""

import functools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from paced_exp.core.errors import UserError
from paced_exp.core.progress import progress
from paced_exp.reproduce.budget import correction, cost_of, memory_bytes
from paced_exp.reproduce.cells import Cell, all_cells
from paced_exp.reproduce.models_made import lacking, words
from paced_exp.reproduce.probes import Probe
from paced_exp.reproduce.records import Results
from paced_exp.reproduce.run_cell import cell_folder, run_task
from paced_exp.reproduce.scales import Scale
from paced_exp.reproduce.scheduler import Schedule, Task
from paced_exp.reproduce.shared import Shared, shared_by

# What the processes of cells have in common, imported once by their parent.
_PRELOAD = (
    *("torch", "transformers", "paced_exp.training.run", "paced_exp.evaluate", "paced_exp.lab", "paced_exp.reproduce.run_cell"),
    "paced_exp.data.lab.splits",  # reasoning_gym, more than a second; loaded on demand, so that commands without the lab start faster
)


@dataclass(frozen=True)
class Plan:
    """Cells and probes that have no record, and the shared work they need that is not done; seconds: the estimate of each, by name.

    lacking: by model that is not there, the names of the cells and probes that wait for it.
    """

    scale: Scale
    work: Path
    missing: list[Cell]
    probes: list[Probe]
    shared: list[Shared]
    finished: int
    seconds: dict[str, float]
    lacking: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ready(self) -> "Plan":
        """What is left without what waits for a model."""
        waiting = {name for names in self.lacking.values() for name in names}
        missing = [cell for cell in self.missing if cell.name not in waiting]
        needed = {piece.name for cell in missing for piece in shared_by(cell, self.work).values()}
        probes = [probe for probe in self.probes if probe.name not in waiting]
        return replace(self, missing=missing, probes=probes, shared=[piece for piece in self.shared if piece.name in needed], lacking={})

    @property
    def setups_trained(self) -> set[str]:
        """The setups whose learning rates are used."""
        return {cell.setup for cell in self.missing if cell.trained} | {probe.setup for probe in self.probes if probe.trains}

    @property
    def left(self) -> int:
        """Cells and probes without a record."""
        return len(self.missing) + len(self.probes)

    @property
    def total_seconds(self) -> float:
        """Of all that is left, one after the other."""
        return sum(self.seconds.values())


def make_plan(scale: Scale, cells: Sequence[Cell], probes: Sequence[Probe], results: Results, work: Path) -> Plan:
    """What is left of `cells` and `probes`. Raises `UserError` for a record that is damaged or of other options."""
    missing = [cell for cell in cells if results.get(cell) is None]
    shared = {piece.name: piece for cell in missing for piece in shared_by(cell, work).values() if not piece.done}
    factor = correction(scale, all_cells(scale), results)
    unprobed = [probe for probe in probes if probe.record(results.folder) is None]
    tasks: list[Cell | Shared | Probe] = [*shared.values(), *missing, *unprobed]
    seconds = {task.name: factor * cost_of(task, scale).seconds(scale) for task in tasks}
    finished = len(cells) - len(missing) + len(probes) - len(unprobed)
    return Plan(scale, work, missing, unprobed, list(shared.values()), finished, seconds, lacking(scale, [*missing, *unprobed]))


def default_jobs(scale: Scale) -> int:
    """As many cells at a time as there are cores, a thread each; one on a GPU."""
    if scale.device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_plan(plan: Plan, results: Path, work: Path, *, jobs: int, keep: bool, minutes: float | None) -> bool:
    """Run what is left, showing progress on stderr. True when all is done, False when the time was up first.

    Raises `UserError` at the end, naming every cell that failed; the others have their records.
    """
    for option, folder in (("`results`", results), ("`work`", work)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"{option} {folder} cannot be written ({error.strerror}); name a folder that can") from error
    logs = work / plan.scale.name / "logs"
    pending = {piece.name for piece in plan.shared}

    def task(made_of: Cell | Shared | Probe, after: tuple[str, ...]) -> Task:
        log = logs / f"{made_of.name.replace('/', '--').replace(' ', '-')}.log"
        return Task(made_of.name, functools.partial(run_task, made_of, results, work, keep), plan.seconds[made_of.name], log, after)

    tasks = [task(piece, (piece.after.name,) if piece.after is not None and piece.after.name in pending else ()) for piece in plan.shared]
    for cell in plan.missing:
        tasks.append(task(cell, tuple(piece.name for piece in shared_by(cell, work).values() if piece.name in pending)))
    # A probe is the longest of all tasks: begun first, it leaves no core idle at the end.
    tasks = [task(probe, ()) for probe in plan.probes] + _interleaved(tasks)
    threads = 1 if plan.scale.device == "cpu" else None
    schedule = Schedule(tasks, jobs=jobs, threads=threads, preload=_PRELOAD)
    with progress(len(tasks), "tasks", f"{plan.scale.name} scale") as bar:

        def show(state: Schedule) -> None:
            bar.set_postfix_str(f"{duration(state.seconds_left)} left, running {', '.join(state.running) or 'nothing'}", refresh=False)
            bar.update(len(state.done) + len(state.failed) - bar.n)
            bar.refresh()

        finished = schedule.run(show, None if minutes is None else time.monotonic() + 60 * minutes)
    if schedule.failed:
        for name, reason in schedule.failed.items():
            print(f"failed: {name}: {reason}", file=sys.stderr)
        raise UserError(
            f"{len(schedule.failed)} of {len(tasks)} tasks failed (see above); the same command runs these again, and only these"
        )
    return finished


def _interleaved(tasks: list[Task]) -> list[Task]:
    """The tasks with every piece of shared work moved to just before the first cell that needs it, and the cells in the order they had.

    Finished cells then come early, those of the main tables first.
    """
    by_name = {task.name: task for task in tasks}
    needed = {name for task in tasks for name in task.after}
    ordered: dict[str, Task] = {}
    for task in tasks:
        if task.name not in needed:
            ordered |= {name: by_name[name] for name in task.after if name not in ordered}
            ordered[task.name] = task
    return list(ordered.values())


def plan_text(plan: Plan, jobs: int, work: Path) -> str:
    """The plan for people: each task with its estimate, memory where it matters, and the sum."""
    on_gpu = plan.scale.device != "cpu"
    lines = [f"{'estimate':>10}  {'memory':>8}  task" if on_gpu else f"{'estimate':>10}  task"]
    tasks: list[Shared | Probe | Cell] = [*plan.shared, *plan.probes, *plan.missing]
    for task in tasks:
        needed = f"{memory_bytes(task) / 1e9:.0f} GB" if isinstance(task, Cell) else ""
        lines.append(f"{duration(plan.seconds[task.name]):>10}  " + (f"{needed:>8}  " if on_gpu else "") + task.name)
    left = f"{counted(len(plan.missing), len(plan.probes))} to run, {plan.finished} have their records; {len(plan.shared)} pieces of shared work"
    if on_gpu:
        lines.append(f"{left}; about {_hours(plan.total_seconds / 3600)} GPU hours")
    else:
        lines.append(
            f"{left}; about {duration(max(plan.total_seconds / jobs, max(plan.seconds.values(), default=0.0)))} with --jobs {jobs}"
        )
    notes = (*plan.scale.notes, plan.scale.waiting, words(plan.scale, plan.lacking))
    lines += [f"note: {note}" for note in notes if note]
    started = [cell.name for cell in plan.missing if cell_folder(cell, work).exists()]
    if started:
        lines.append(f"begun and to be resumed: {', '.join(started)}")
    return "\n".join(lines)


def _hours(hours: float) -> str:
    """Three figures, and no power of ten for thousands."""
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.3g}"


def counted(cells: int, probes: int) -> str:
    """What there is of both: 3 cells, 1 probe, 3 cells and 1 probe."""
    parts = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((cells, "cell"), (probes, "probe")) if count]
    return " and ".join(parts) or "0 cells"


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 7.5 min, 3.1 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
