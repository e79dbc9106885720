"""All benchmarks, small, in one table: ratios to peers, each measured in one run, with their spread.

    python -m bench                              # a quarter of an hour at most on two idle cores, into results/bench.json
    python -m bench --dry-run                    # how long each part takes
    python -m bench --only rollouts adaptive     # these parts; the others stay in the record as they were

A part that cannot run (a peer that is not installed, a clone without the earlier commit) is a line that says why. Each benchmark by itself, at full size,
writes its own record: bench/README.md.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.whole import PARTS, RUN, Part
from paced_exp.core.errors import exit_cleanly
from paced_exp.core.json_files import read_checked, read_json, write_checked
from paced_exp.core.run_folder import provenance

OUT = Path(__file__).resolve().parent.parent / "results" / "bench.json"
KIND = "bench"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts, print the table, write the record after each."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--dry-run", action="store_true", help="only say how long the parts take")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    chosen = {name: PARTS[name] for name in PARTS if name in arguments.only}
    print(", ".join(f"{name} {part.seconds} s" for name, part in chosen.items()))
    print(f"about {sum(part.seconds for part in chosen.values()) / 60:.0f} minutes on two idle cores", flush=True)
    if arguments.dry_run:
        return
    made: dict[str, Any] = read_checked(arguments.out, KIND)["parts"] if arguments.out.exists() else {}
    print(f"{'part':<10} {'what':<66} {'to':<28} {'ratio':>6} {'spread':>13}")
    for name, part in chosen.items():
        made[name] = {**measured(part), "provenance": provenance(0)}  # of its own: parts may come from several runs
        print_part(name, made[name])
        record = {name: made[name] for name in PARTS if name in made}
        write_checked(arguments.out, {"kind": KIND, "parts": record, "provenance": provenance(0)})
    print(arguments.out)


def measured(part: Part) -> dict[str, Any]:
    """A part's rows, and what it took by the clock and of processors; in place of rows the reason, if it could not run."""
    began, before = time.perf_counter(), _processors()
    with tempfile.TemporaryDirectory(prefix="paced-bench-") as folder:
        run, out = Path(folder) / "run", Path(folder) / "record.json"
        commands = [[*part.before, "--out", str(run)]] if part.before else []
        commands.append([part.module, *(str(run) if word == RUN else word for word in part.arguments), "--out", str(out)])
        found: dict[str, Any] = {}
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-m", *command], capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"}
            )
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
                found = {"not_run": lines[-1].removeprefix("error: ")}
                break
        else:
            record = read_json(out)
            found = {"rows": part.rows(record), "contenders_not_run": record.get("not_run", {})}
    seconds = {"seconds": round(time.perf_counter() - began, 1), "processor_seconds": round(_processors() - before, 1)}
    return {"command": " ".join((part.module, *part.arguments)), **found, **seconds}


def _processors() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_part(name: str, made: dict[str, Any]) -> None:
    """The lines of a part."""
    if "not_run" in made:
        print(f"{name:<10} not run: {made['not_run']}", flush=True)
    for row in made.get("rows", ()):
        spread = "" if row["low"] is None else f"{row['low']:.3f} {row['high']:.3f}"
        print(f"{name:<10} {row['what']:<66} {row['to']:<28} {row['ratio']:>6.3f} {spread:>13}", flush=True)
    for what, why in made.get("contenders_not_run", {}).items():
        print(f"{name:<10} {what:<66} not run: {why}", flush=True)
    print(f"{name:<10} took {made['processor_seconds']:.0f} s of processors, {made['seconds']:.0f} s by the clock", flush=True)


if __name__ == "__main__":
    exit_cleanly(main)
