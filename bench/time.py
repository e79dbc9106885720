"""Where the time goes: processor seconds of the parts of a default probe and a default distillation, now and at an earlier commit.

    python -m bench.time                                  # both commands at both, into results/bench/time.json
    python -m bench.time --before COMMIT --only probe     # another commit, one command

Every run is a process of its own with one thread, whose package is that of the commit; runs take turns. Processor seconds say what a busy machine's
clock cannot. What the runs found, the probe's rollouts and the distillation's weights and references, is compared: a faster run must find the same.
With --only, what the record has of the other command stays, if it was measured against the same commit with the same options.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from paced_exp.core.errors import UserError, exit_cleanly
from paced_exp.core.json_files import read_checked, read_object, write_checked
from paced_exp.core.run_folder import provenance

HERE = Path(__file__).resolve().parent.parent
OUT = HERE / "results" / "bench" / "time.json"
KIND = "bench_time"
BEFORE = "0ade405"  # neither a fused loss, nor rows that rollouts share while they drew the same tokens
COMMANDS = {"probe": "paced_exp.snr_probe", "distill": "paced_exp.distill"}
FOUND = {"probe": ("rollouts", "references"), "distill": ("weights", "references")}  # of a record: what sampling decides
# The parts that a reader asks for, in order of their work; what is in none of them is the rest.
NAMES = ("student's rollouts", "teacher's references", "grading", "gradients", "training", "evaluation", "loading and estimates")


def name_of(stage: str, part: str) -> str:
    """The reader's name of a stage and part of `bench.parts`."""
    if part == "grading":
        return "grading"
    if part == "training":
        return "training"
    for start, name in (("evaluation", "evaluation"), ("gradients", "gradients")):
        if stage.startswith(start):
            return name
    if stage in ("rollouts", "pass rates"):
        return "student's rollouts"
    if stage == "references" or part == "sampling":
        return "teacher's references"
    return "loading and estimates"


@contextmanager
def tree_of(commit: str | None) -> Iterator[Path]:
    """A folder with the package at `commit`; this one for None."""
    if commit is None:
        yield HERE
        return
    with tempfile.TemporaryDirectory(prefix="paced-before-") as folder:
        packed = subprocess.run(["git", "-C", str(HERE), "archive", commit_of(commit)], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
        yield Path(folder)


def measure(tree: Path, command: str, options: Sequence[str]) -> dict[str, Any]:
    """Processor seconds by name of one run with the package in `tree`, and what it found."""
    with tempfile.TemporaryDirectory(prefix="paced-time-") as folder:
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        run, parts = Path(folder) / "run", Path(folder) / "parts.json"
        done = subprocess.run(
            [sys.executable, "-P", str(HERE / "bench" / "parts.py"), str(parts), COMMANDS[command], *options, "--out", str(run)],
            cwd=tree,
            env=os.environ | threads | {"PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"{COMMANDS[command]} in {tree} stopped with status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        seconds = dict.fromkeys(NAMES, 0.0)
        for row in json.loads(parts.read_text()):
            seconds[name_of(row["stage"], row["part"])] += row["seconds"]
        record = read_object(run / "record.json")
        return {"seconds": seconds, "found": {name: record[name] for name in FOUND[command]}}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(prog="bench.time", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help=f"the commit to compare with ({BEFORE})")
    parser.add_argument("--only", nargs="+", choices=[*COMMANDS], default=[*COMMANDS], help="commands to measure")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each")
    parser.add_argument("--options", default="", help="further options of the commands, in one word, for a quick look")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        raise UserError(f"--rounds {arguments.rounds} must be at least 1")
    commit = commit_of(arguments.before)
    settings = {"before": commit, "rounds": arguments.rounds, "options": arguments.options}
    rows, same = kept(arguments.out, settings, arguments.only)
    with tree_of(arguments.before) as before, tree_of(None) as now:
        trees = {"before": before, "now": now}
        for command in arguments.only:
            runs: dict[str, list[dict[str, Any]]] = {when: [] for when in trees}
            for number in range(arguments.rounds):
                for when, tree in trees.items() if number % 2 == 0 else reversed(trees.items()):
                    runs[when].append(measure(tree, command, arguments.options.split()))
            for when, made in runs.items():
                rows += [
                    {"command": command, "when": when, "part": name, "seconds": median(run["seconds"][name] for run in made)}
                    for name in NAMES
                ]
            first, *others = (run["found"] for made in runs.values() for run in made)
            same[command] = all(found == first for found in others)
            if not same[command]:
                print(f"{command}: {runs['before'][0]['found']} before, {runs['now'][0]['found']} now", file=sys.stderr)
    print_table(rows)
    content = {"kind": KIND, "settings": settings, "threads": 1, "same_results": same, "rows": rows, "provenance": provenance(0)}
    write_checked(arguments.out, content)
    print(arguments.out)


def commit_of(name: str) -> str:
    """The commit's hash. Raises `UserError` for a name that this repository has no commit of."""
    found = subprocess.run(["git", "-C", str(HERE), "rev-parse", f"{name}^{{commit}}"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise UserError(f"--before {name} is no commit of this repository ({found.stderr.strip().splitlines()[0]:.200})")
    return found.stdout.strip()


def kept(out: Path, settings: dict[str, Any], only: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, bool]]:
    """What an earlier record with the same settings has of other commands: its rows, and whether results were the same."""
    record = read_checked(out, KIND) if out.exists() else {}
    if record.get("settings") != settings:
        return [], {}
    rows = [row for row in record["rows"] if row["command"] not in only]
    return rows, {command: value for command, value in record["same_results"].items() if command not in only}


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Processor seconds of each part, before and now."""
    print(f"{'command':<8} {'part':<22} {'before s':>9} {'now s':>8} {'ratio':>6}")
    for command in dict.fromkeys(row["command"] for row in rows):
        seconds = {(row["when"], row["part"]): row["seconds"] for row in rows if row["command"] == command}
        for name in (*NAMES, "all"):
            before, now = (
                sum(seconds[when, part] for part in NAMES) if name == "all" else seconds[when, name] for when in ("before", "now")
            )
            if before or now:
                print(f"{command:<8} {name:<22} {before:>9.1f} {now:>8.1f} {now / before if before else float('nan'):>6.2f}")


if __name__ == "__main__":
    exit_cleanly(main)
