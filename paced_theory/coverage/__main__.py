"""Simulate the coverage of every interval that this project prints, and judge it by what the project promises.

    python -m paced_theory.coverage                   a few data sets a setting: seconds, finds gross faults only
    python -m paced_theory.coverage --full --jobs 2   the record results/theory/coverage.json: about 20 minutes on two cores

A full run can be killed and started again: finished settings are kept beside the record until it is written. `--study WORD` runs the
studies whose name holds the word; with --full it renews their rows and keeps the record's others. Exit status: 0 where every promise is kept, within simulation
error; 1 where one is missed; 2 for wrong use; 130 when interrupted.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from paced_theory.coverage import record
from paced_theory.coverage.study import Covered, Setting

RECORD = Path("results/theory/coverage.json")
SEED = 20260312


class Progress:
    """A line on stderr: share of the work, time left. The work of a setting is estimated from two data sets of it."""

    def __init__(self, work: float, jobs: int) -> None:
        self.work, self.jobs, self.done, self.start, self.shown = work, jobs, 0.0, time.monotonic(), 0.0

    def advance(self, work: float, name: str) -> None:
        """Count one setting as finished."""
        self.done += work
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if not terminal and now - self.shown < 30 and self.done < self.work:
            return
        self.shown = now
        elapsed = now - self.start
        left = elapsed * (self.work - self.done) / self.done if self.done > 0 else math.inf
        text = f"coverage {self.done / max(self.work, 1e-9):4.0%}, {elapsed / 60:.1f} min, about {left / 60:.1f} min left: {name}"
        print(f"\r\x1b[K{text[:120]}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def simulate_all(todo: Sequence[tuple[Setting, int]], jobs: int, partial: Path | None, source: str) -> list[Covered]:
    """Run settings in `jobs` processes of one thread each, appending each finished row to `partial`. Rows come in order of `todo`."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by the processes started below when they load numpy
    rows: dict[tuple[str, str], Covered] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=record.leave_interrupts_to_the_parent)
    try:
        trials = {
            (s.study, s.name): pool.submit(record.simulate_named, (s.study, s.name), 2, SEED)
            for s, replicates in todo
            if partial is not None
        }
        work = {(s.study, s.name): replicates * (trials[s.study, s.name].result()[1] / 2 if trials else 1.0) for s, replicates in todo}
        progress = Progress(sum(work.values()), jobs)
        waiting = {pool.submit(record.simulate_named, (s.study, s.name), replicates, SEED): (s.study, s.name) for s, replicates in todo}
        for finished in as_completed(waiting):
            key = waiting[finished]
            rows[key] = finished.result()[0]
            if partial is not None:
                record.append_row(partial, rows[key], SEED, source)
            progress.advance(work[key], " ".join(key))
        progress.close()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [rows[s.study, s.name] for s, _ in todo]


def full(chosen: Sequence[Setting], declared: Sequence[Setting], jobs: int, out: Path) -> list[Covered]:
    """The record's run: what an interrupted one has finished is taken over, rows of studies not chosen are kept. Returns the chosen rows."""
    source, partial = record.source_hash(), out.with_name(f"{out.stem}.partial.jsonl")
    kept = {
        key: row
        for key, row in record.load_rows(partial).items()
        if row["seed"] == SEED and row["source"] == source and any(key == (s.study, s.name) and row["replicates"] == s.full for s in chosen)
    }
    if kept:
        print(f"{len(kept)} of {len(chosen)} settings were finished by an interrupted run and are kept ({partial})", file=sys.stderr)
    new = simulate_all([(s, s.full) for s in chosen if (s.study, s.name) not in kept], jobs, partial, source)
    rows = {key: (record.as_covered(row), source) for key, row in kept.items()} | {(row.study, row.setting): (row, source) for row in new}
    everything = dict(rows)
    if out.exists():
        old = {(row["study"], row["setting"]): (record.as_covered(row), row["source"]) for row in json.loads(out.read_text())["settings"]}
        everything = old | rows
    ordered = [everything[s.study, s.name] for s in declared if (s.study, s.name) in everything]
    record.write_record(out, [row for row, _ in ordered], [hash_ for _, hash_ in ordered], SEED)
    partial.unlink(missing_ok=True)
    return [rows[s.study, s.name][0] for s in chosen]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="paced_theory.coverage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="the size of the record, which is written to --out")
    parser.add_argument("--study", default="", metavar="WORD", help="only the studies whose name holds this word")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=RECORD, help=f"where --full writes its record (default {RECORD})")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {arguments.jobs}")
    declared = record.settings()
    chosen = [s for s in declared if arguments.study in s.study and (arguments.full or s.quick > 0)]
    if not chosen:
        parser.error(f"--study {arguments.study!r} is in no study's name; studies: {', '.join(sorted({s.study for s in declared}))}")
    try:
        if arguments.full:
            rows = full(chosen, declared, arguments.jobs, arguments.out)
        else:
            rows = simulate_all([(s, s.quick) for s in chosen], arguments.jobs, None, "")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the settings that are finished", file=sys.stderr)
        return 130
    print(record.table(rows))
    missed = [row for row in rows if record.judge(row).verdict == "missed"]
    print(f"\n{len(rows)} settings, {len(missed)} below what is required" + (f"; record in {arguments.out}" if arguments.full else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
